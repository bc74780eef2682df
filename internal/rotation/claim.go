package rotation

import (
	"slices"
	"time"
)

// Credentials names the credentials in scope whose Vault paths must be read
// before Decide can tell what their keys are: those that a listed key or a
// record speaks of, and the one to onboard with. Facts.Paths may be empty.
func Credentials(f Facts) []string {
	f.Paths = nil
	names := index(f).known()
	if f.Onboard != "" {
		names = append(names, f.Onboard)
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool {
		return !f.Scope.Contains(f.Project, name)
	})
}

// NeedsHistory reports whether the older versions of a credential's path must
// be read too: Sinch lists keys for it beside the one that the path's newest
// version names, and only older versions can tell what those are.
func NeedsHistory(f Facts, credential string) bool {
	current := f.Paths[credential].Current.KeyID
	f.Paths = nil
	b := index(f)
	return slices.ContainsFunc(f.Keys, func(k Key) bool {
		return k.ID != current && b.credential(k) == credential
	})
}

// credential says whose key this is. Vault is asked first, since it decides
// what consumers use, whatever the key is called at Sinch.
func (b *book) credential(k Key) string {
	natural := b.natural(k)
	names := append([]string{natural}, b.names...)
	for _, name := range names {
		if b.Paths[name].Current.names(k.ID) {
			return name
		}
	}
	for _, name := range names {
		if b.Paths[name].named(k.ID) {
			return name
		}
	}
	return natural
}

// natural says whose key this is by our records, else by its name. Records
// come first: a display name may have been cut, or changed by a person.
func (b *book) natural(k Key) string {
	if r, ok := b.made[k.ID]; ok {
		return r.Credential
	}
	name := ParseName(k.DisplayName)
	if r, ok := b.Records[name.RotationID]; ok {
		return r.Credential
	}
	for _, r := range slices.Backward(b.records) {
		if r.OldKeyID == k.ID {
			return r.Credential
		}
	}
	return name.Credential
}

// maker returns the rotation of this installation that made the key, and
// whether there is one. A name alone is enough only while the record does not
// know its key: else a name given to another key would make that an orphan.
func (b *book) maker(k Key) (Record, bool) {
	if r, ok := b.made[k.ID]; ok {
		return r, true
	}
	r, ok := b.Records[ParseName(k.DisplayName).RotationID]
	return r, ok && r.NewKeyID == ""
}

// successor returns the last published rotation that replaced the key, and
// when that was published.
func (b *book) successor(l *line, k Key) (last Record, at time.Time, ok bool) {
	for _, r := range b.records {
		if r.OldKeyID != k.ID {
			continue
		}
		if published, done := r.published(l.path); done && !published.Before(at) {
			last, at, ok = r, published, true
		}
	}
	return last, at, ok
}

// published reports when the rotation's key reached its path, and whether it
// did. After a crash between that and our own note of it, any readable
// version that names the key or carries the rotation's id is proof.
func (r Record) published(p Path) (time.Time, bool) {
	if r.State == Published && !r.PublishedAt.IsZero() {
		return r.PublishedAt, true
	}
	for _, v := range p.versions() {
		if v.names(r.NewKeyID) || (v.Readable && v.KeyID != "" && v.RotationID == r.ID) {
			return v.CreatedAt, true
		}
	}
	return r.StartedAt, r.State == Published
}
