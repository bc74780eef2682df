package rotation_test

import (
	"slices"
	"testing"
	"time"

	"rotator/internal/rotation"
)

const day = rotation.Day

// noon is the present of every table test.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// ago is noon less so many days.
func ago(days float64) time.Time { return noon.Add(-time.Duration(days * float64(day))) }

// The two rotations that most tests are about, and one of another installation.
const (
	first   = "0f00000000001"
	second  = "0f00000000002"
	foreign = "0f0000000000v"
)

// facts builds what the planner sees; every method adds to it.
type facts struct{ rotation.Facts }

// newFacts is an empty project: max age 90 days, overlap 7, margin 2, so due
// at 81; everything in scope.
func newFacts(t *testing.T) *facts {
	t.Helper()
	f := &facts{rotation.Facts{
		Now:      noon,
		Project:  rotation.Project{ID: "p1", Name: "Payments"},
		Policy:   rotation.Policy{MaxAge: 90 * day, Overlap: 7 * day, Margin: 2 * day},
		Complete: true,
		Scope:    rotation.Scope{Include: patterns(t, "*")},
		Paths:    map[string]rotation.Path{}, Records: map[string]rotation.Record{},
		Gone: map[string]bool{}, Own: map[string]bool{}, NotBefore: map[string]time.Time{},
	}}
	return f
}

func patterns(t *testing.T, text string) []rotation.Pattern {
	t.Helper()
	p, err := rotation.ParsePatterns(text)
	if err != nil {
		t.Fatalf("ParsePatterns(%q): %v", text, err)
	}
	return p
}

// key lists a key, so many days old.
func (f *facts) key(id, name string, age float64) *facts {
	f.Keys = append(f.Keys, rotation.Key{ID: id, DisplayName: name, CreatedAt: ago(age)})
	return f.path("")
}

// path makes sure that every listed key's path was looked at; with a name it
// gives that path, managed by us, its versions, the last being the newest.
func (f *facts) path(credential string, versions ...rotation.Version) *facts {
	for _, name := range rotation.Credentials(f.Facts) {
		if _, ok := f.Paths[name]; !ok {
			f.Paths[name] = rotation.Path{}
		}
	}
	if credential == "" {
		return f
	}
	p := rotation.Path{Managed: true}
	for i, v := range versions {
		v.Number = i + 1
		if i == len(versions)-1 {
			p.Current = v
		} else {
			p.Older = append(p.Older, v)
		}
	}
	f.Paths[credential] = p
	return f
}

// names is a version written so many days ago that names a key.
func names(key, rotationID string, age float64) rotation.Version {
	return rotation.Version{Readable: true, KeyID: key, RotationID: rotationID, CreatedAt: ago(age)}
}

// unreadable is a deleted or destroyed version.
func unreadable(age float64) rotation.Version { return rotation.Version{CreatedAt: ago(age)} }

// record adds a rotation; a published one with the policy's overlap.
func (f *facts) record(r rotation.Record, age float64) *facts {
	r.StartedAt = ago(age)
	if r.State == rotation.Published {
		r.PublishedAt = ago(age)
	}
	if r.Trigger == "" {
		r.Trigger = rotation.Scheduled
	}
	if r.Overlap == 0 && r.Trigger != rotation.Compromised {
		r.Overlap = f.Policy.Overlap
	}
	f.Records[r.ID] = r
	return f.path("")
}

// pair is the usual case: key k1, made by the first rotation, was replaced by
// k2 of the second so many days ago.
func pair(t *testing.T, handover float64) *facts {
	t.Helper()
	return newFacts(t).
		key("k1", "api~"+first, handover+80).key("k2", "api~"+second, handover).
		record(rotation.Record{ID: first, Credential: "api", NewKeyID: "k1", State: rotation.Published}, handover+80).
		record(rotation.Record{ID: second, Credential: "api", OldKeyID: "k1", NewKeyID: "k2", State: rotation.Published}, handover).
		path("api", names("k1", first, handover+80), names("k2", second, handover))
}

// with changes the facts in a way that has no method.
func (f *facts) with(change func(*rotation.Facts)) *facts {
	change(&f.Facts)
	return f
}

// said is a step in short: action, credential, key, guard.
func said(plan rotation.Plan) []string {
	out := []string{}
	for _, s := range plan.Steps {
		text := string(s.Action) + " " + s.Credential + " " + s.Key.ID
		if s.Guard != "" {
			text += " " + s.Guard
		}
		out = append(out, text)
	}
	return out
}

// states are the listed keys' states in short, sorted by key.
func states(plan rotation.Plan) []string {
	out := []string{}
	for _, v := range plan.Keys {
		out = append(out, v.ID+" "+string(v.State)+" "+v.Credential)
	}
	slices.Sort(out)
	return out
}
