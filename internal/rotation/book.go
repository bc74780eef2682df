package rotation

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// book is one look's facts put in order: the project's credentials, each a
// line of keys, and what speaks for each key. It is built once per decision
// and depends on no order of the facts' slices and maps.
type book struct {
	Facts
	records []Record          // by id, which is by time
	made    map[string]Record // by the id of the key that was made
	names   []string          // of Paths, sorted
	lines   []*line           // by name; only open fills them
}

// line is one credential: the keys that Sinch lists for it, newest first, and
// what Vault's path holds.
type line struct {
	name    string
	path    Path
	inScope bool
	foreign bool // the path holds something that we did not write
	keys    []*KeyView
	// current is the listed key that the path's newest version names.
	current *KeyView
	// standing is the key to rotate away from: the current one, else the one
	// to adopt, else, where Vault names none any more, the newest superseded.
	standing *KeyView
}

// index sorts the facts.
func index(f Facts) *book {
	b := &book{Facts: f, made: map[string]Record{}, names: slices.Sorted(maps.Keys(f.Paths))}
	for _, id := range slices.Sorted(maps.Keys(f.Records)) {
		r := f.Records[id]
		b.records = append(b.records, r)
		if r.NewKeyID != "" {
			b.made[r.NewKeyID] = r
		}
	}
	return b
}

// open puts the facts in order and classifies every listed key.
func open(f Facts) *book {
	b := index(f)
	lines := map[string]*line{}
	for _, name := range b.known() {
		lines[name] = b.newLine(name)
	}
	for _, k := range f.Keys {
		l := lines[b.credential(k)]
		l.keys = append(l.keys, &KeyView{Key: k, Credential: l.name, InScope: l.inScope, Own: f.Own[k.ID]})
	}
	for _, name := range slices.Sorted(maps.Keys(lines)) {
		l := lines[name]
		slices.SortFunc(l.keys, newestFirst)
		b.classify(l)
		b.lines = append(b.lines, l)
	}
	return b
}

// known names every credential that a key, a record or a path speaks of.
func (b *book) known() []string {
	names := slices.Clone(b.names)
	for _, k := range b.Keys {
		names = append(names, b.credential(k))
	}
	for _, r := range b.records {
		names = append(names, r.Credential)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (b *book) newLine(name string) *line {
	path, looked := b.Paths[name]
	if !looked {
		path.Err = "it was not looked at"
	}
	l := &line{name: name, path: path, inScope: b.Scope.Contains(b.Project, name)}
	l.foreign = path.Err == "" && !b.vouched(name, path)
	return l
}

// vouched reports whether we wrote what the path holds: its metadata says so,
// or its newest readable version carries the rotation id of a record or of a
// listed key. A path that holds nothing needs no voucher; one of which all is
// deleted is ours if we ever worked on the credential, for then it may be
// what moving the path on has left.
func (b *book) vouched(name string, p Path) bool {
	if p.Managed || p.Current.Number == 0 {
		return true
	}
	for _, v := range slices.Backward(p.versions()) {
		if v.Readable {
			return v.RotationID != "" && b.knowsRotation(v.RotationID)
		}
	}
	return slices.ContainsFunc(b.records, func(r Record) bool { return r.Credential == name })
}

func (b *book) knowsRotation(id string) bool {
	if _, ok := b.Records[id]; ok {
		return true
	}
	return slices.ContainsFunc(b.Keys, func(k Key) bool { return ParseName(k.DisplayName).RotationID == id })
}

// lineOf returns the line that a key belongs to, and its view; nil if the key
// is not listed.
func (b *book) lineOf(keyID string) (*line, *KeyView) {
	for _, l := range b.lines {
		for _, v := range l.keys {
			if v.ID == keyID {
				return l, v
			}
		}
	}
	return nil, nil
}

// listed reports whether Sinch lists the key.
func (b *book) listed(keyID string) bool {
	return slices.ContainsFunc(b.Keys, func(k Key) bool { return k.ID == keyID })
}

// holds returns the line's keys in one of the states.
func (l *line) holds(states ...KeyState) []*KeyView {
	var found []*KeyView
	for _, v := range l.keys {
		if slices.Contains(states, v.State) {
			found = append(found, v)
		}
	}
	return found
}

// vanished returns the key that Vault names and Sinch does not list; empty if
// there is none.
func (b *book) vanished(l *line) string {
	if id := l.path.Current.KeyID; !l.foreign && id != "" && !b.listed(id) {
		return id
	}
	return ""
}

// versions are all of the path's versions, ascending.
func (p Path) versions() []Version {
	if p.Current.Number == 0 {
		return p.Older
	}
	return append(slices.Clone(p.Older), p.Current)
}

// named reports whether any version that could be read names the key.
func (p Path) named(keyID string) bool {
	return slices.ContainsFunc(p.versions(), func(v Version) bool { return v.names(keyID) })
}

// names reports whether the version names the key, which only a version that
// could be read does.
func (v Version) names(keyID string) bool { return keyID != "" && v.KeyID == keyID }

func newestFirst(a, b *KeyView) int {
	if c := b.CreatedAt.Compare(a.CreatedAt); c != 0 {
		return c
	}
	return strings.Compare(a.ID, b.ID)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
