package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"rotator/internal/rotation"
	"rotator/internal/sinch"
	"rotator/internal/state"
	"rotator/internal/vault"
)

// looker gathers what is: Sinch's listing, Vault's paths, our own records.
// It changes nothing, so `plan` and `keys` use it as runs do.
type looker struct {
	*Runner
	self    selfAt
	request rotation.Request
}

// view is what one look at a project showed.
type view struct {
	rotation.Facts
	failures  map[string]int // failed attempts in a row, by credential
	versions  map[string]int // newest version, by credential, for check-and-set
	effective rotation.Effective
	known     []string // ids of keys that were listed before
}

// look gathers the facts about a project, of which the database may have been
// asked already.
func (l *looker) look(ctx context.Context, p state.Project, m *state.Memory) (*view, error) {
	listing, err := l.Keys.ListKeys(ctx, p.ID)
	if err != nil {
		return nil, failedAt("list", fmt.Errorf("listing access keys: %w", err))
	}
	v := &view{failures: map[string]int{}, versions: map[string]int{}}
	v.Complete, v.Request = true, l.request
	v.Project = rotation.Project{ID: p.ID, Name: p.Name, Labels: p.Labels}
	l.label(v)
	v.Onboard = l.Onboard
	for _, k := range listing.Keys {
		v.Keys = append(v.Keys, rotation.Key{ID: k.ID, DisplayName: k.DisplayName, CreatedAt: k.CreatedAt})
	}
	if p.ID == l.self.project {
		v.SelfName = l.self.credential
	}
	if err := l.recall(ctx, v, m); err != nil {
		return nil, failedAt("database", err)
	}
	l.clocks(v)
	if err := l.readPaths(ctx, v); err != nil {
		return nil, err
	}
	return v, l.missing(ctx, v)
}

// block forbids every deletion; the first reason stands.
func (v *view) block(guard, reason string) {
	if v.Blocked.Guard == "" {
		v.Blocked = rotation.Block{Guard: guard, Reason: reason}
	}
}

// label applies the subproject's labels to policy and scope.
func (l *looker) label(v *view) {
	v.effective = rotation.ApplyLabels(l.Policy, v.Project.Labels, l.Labels)
	v.Policy = v.effective.Policy
	if !v.effective.Excluded {
		v.Scope = l.Scope
	}
}

// recall adds what the database knows.
func (l *looker) recall(ctx context.Context, v *view, m *state.Memory) error {
	var keys, ids []string
	for _, k := range v.Keys {
		keys = append(keys, k.ID)
		if id := rotation.ParseName(k.DisplayName).RotationID; id != "" {
			ids = append(ids, id)
		}
	}
	if m == nil {
		all, err := l.State.Recall(ctx, v.Project.ID)
		if err != nil {
			return err //nolint:wrapcheck // state says what it was doing
		}
		m = all[0]
	}
	if err := l.State.Complete(ctx, m, keys, ids); err != nil {
		return err //nolint:wrapcheck // as above
	}
	v.Now, v.Own, v.known = m.Now(), m.Own, m.Known
	if l.Identity.KeyID() != "" {
		v.Own[l.Identity.KeyID()] = true
	}
	v.Records = make(map[string]rotation.Record, len(m.Rotations))
	for _, r := range m.Rotations {
		rec := rotation.Record{
			ID: r.ID, Credential: r.Credential, OldKeyID: r.OldKeyID, NewKeyID: r.NewKeyID,
			Trigger: rotation.Trigger(r.Trigger), State: rotation.State(r.State), Overlap: r.Overlap, StartedAt: r.StartedAt,
		}
		if r.PublishedAt != nil {
			rec.PublishedAt = *r.PublishedAt
		}
		v.Records[r.ID] = rec
	}
	v.NotBefore = map[string]time.Time{}
	for _, c := range m.Credentials {
		v.failures[c.Name] = c.Failures
		if c.NotBefore != nil {
			v.NotBefore[c.Name] = *c.NotBefore
		}
	}
	return nil
}

// clocks forbids deleting while this host, Postgres and Sinch disagree about
// the time: ages and overlaps could not be trusted.
func (l *looker) clocks(v *view) {
	local := l.Now()
	skew := v.Now.Sub(local)
	if sinchSkew, ok := l.Identity.ServerSkew(); ok && sinchSkew.Abs() > l.MaxSkew {
		v.block("clock_skew", fmt.Sprintf("Sinch's clock differs from this host's by %s, more than ROTATOR_MAX_CLOCK_SKEW=%s; set this host's clock (NTP)", sinchSkew.Round(time.Second), l.MaxSkew))
	}
	if skew.Abs() > l.MaxSkew {
		v.block("clock_skew", fmt.Sprintf("Postgres' clock differs from this host's by %s, more than ROTATOR_MAX_CLOCK_SKEW=%s; set the clocks (NTP)", skew.Round(time.Second), l.MaxSkew))
	}
}

// readPaths reads the Vault path of each credential that matters.
func (l *looker) readPaths(ctx context.Context, v *view) error {
	v.Paths = map[string]rotation.Path{}
	for _, name := range rotation.Credentials(v.Facts) {
		path, err := l.readPath(ctx, v, name)
		if err != nil {
			if lostForGood(ctx, err) {
				return failedAt("vault_read", err)
			}
			path = rotation.Path{Err: message(err)}
		}
		v.Paths[name] = path
		v.versions[name] = path.Current.Number
	}
	return nil
}

func (l *looker) readPath(ctx context.Context, v *view, name string) (rotation.Path, error) {
	var out rotation.Path
	if strings.ContainsRune(name, 0) {
		return out, errors.New("the key's name holds a NUL character, which Postgres cannot store; rename the key in the Sinch dashboard")
	}
	path, err := l.Secrets.Path(v.Project.ID, name)
	if err != nil {
		return out, err //nolint:wrapcheck // vault says what is wrong with the name
	}
	ctx = within(ctx, func(s *scope) { s.cred = name })
	newest, err := l.Secrets.Read(ctx, path)
	if errors.Is(err, vault.ErrNotFound) {
		return out, nil
	}
	if err != nil {
		return out, fmt.Errorf("reading Vault: %w", err)
	}
	out.Current = version(newest)
	out.Managed = newest.Custom["managed_by"] == "rotator"
	v.Paths[name] = out
	if !rotation.NeedsHistory(v.Facts, name) {
		return out, nil
	}
	return l.readHistory(ctx, path, out)
}

// readHistory adds the older versions.
func (l *looker) readHistory(ctx context.Context, path string, out rotation.Path) (rotation.Path, error) {
	meta, err := l.Secrets.Metadata(ctx, path)
	if err != nil {
		return out, fmt.Errorf("reading Vault's versions: %w", err)
	}
	for _, m := range meta.Versions {
		if m.Number >= out.Current.Number {
			continue
		}
		older := rotation.Version{Number: m.Number, CreatedAt: m.CreatedAt}
		if !m.Deleted && !m.Destroyed {
			s, err := l.Secrets.ReadVersion(ctx, path, m.Number)
			if err != nil && !errors.Is(err, vault.ErrNotFound) {
				return out, fmt.Errorf("reading Vault's version %d: %w", m.Number, err)
			}
			if err == nil {
				older = version(s)
			}
		}
		out.Older = append(out.Older, older)
	}
	slices.SortFunc(out.Older, func(a, b rotation.Version) int { return a.Number - b.Number })
	return out, nil
}

func version(s vault.Secret) rotation.Version {
	v := rotation.Version{Number: s.Version, CreatedAt: s.CreatedAt, Readable: !s.Deleted && !s.Destroyed}
	if v.Readable {
		v.KeyID, v.RotationID = s.Data.KeyID, s.Data.RotationID
	}
	return v
}

// missing asks after each key that should be listed and is not: the one that
// a path names, and those that were listed before. Gone is only what a GET
// says is gone; a key that a GET still shows proves the listing incomplete.
func (l *looker) missing(ctx context.Context, v *view) error {
	expected := v.known
	for _, p := range v.Paths {
		if p.Current.KeyID != "" {
			expected = append(expected, p.Current.KeyID)
		}
	}
	for _, k := range v.Keys {
		expected = slices.DeleteFunc(expected, func(id string) bool { return id == k.ID })
	}
	slices.Sort(expected)
	v.Gone = map[string]bool{}
	for _, id := range slices.Compact(expected) {
		_, err := l.Keys.GetKey(ctx, v.Project.ID, id)
		switch {
		case errors.Is(err, sinch.ErrNotFound):
			v.Gone[id] = true
		case err == nil:
			v.Complete = false
			v.block("incomplete_listing", fmt.Sprintf("Sinch's list lacks key %s although the key exists; run again later, nothing is deleted until the list is whole", id))
		default:
			return failedAt("get", fmt.Errorf("asking after key %s: %w", id, err))
		}
	}
	return nil
}
