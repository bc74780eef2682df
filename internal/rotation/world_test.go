package rotation_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"rotator/internal/rotation"
)

// world is a project at Sinch, its Vault paths and our database, in memory,
// with runs that carry out what Decide plans, as badly as chance has it. What
// a key truly is, it knows from having made it, not from the planner.
type world struct {
	t     fataler
	now   time.Time
	facts rotation.Facts // all but Now, Keys and Gone
	keys  map[string]*truth
	late  []*truth // creates without an answer that have yet to arrive
	calm  bool     // nothing fails
	luck  *rand.Rand

	serial int
	warned bool // a plan has warned of slots
}

// fataler is what a test and a property have in common.
type fataler interface {
	Fatalf(format string, args ...any)
}

// truth is a key as it is.
type truth struct {
	rotation.Key
	credential string
	rotation   string // that made it; empty for a person's
	alien      bool   // not ours to delete, ever
	consumed   bool   // some version named it, or people use it
	replacedAt time.Time
	overlap    time.Duration
}

func (w *world) id(prefix string) string {
	w.serial++
	return fmt.Sprintf("%s%012d", prefix, w.serial)
}

// add lists a key.
func (w *world) add(name, credential string, age time.Duration) *truth {
	k := &truth{Key: rotation.Key{ID: w.id("k"), DisplayName: name, CreatedAt: w.now.Add(-age)}, credential: credential}
	w.keys[k.ID] = k
	return k
}

// look gathers the facts, in an order that means nothing.
func (w *world) look() rotation.Facts {
	f := w.facts
	f.Now, f.Complete, f.Keys = w.now, true, nil
	for _, id := range slices.Sorted(maps.Keys(w.keys)) {
		f.Keys = append(f.Keys, w.keys[id].Key)
	}
	f.Records = w.remembered()
	f.Paths = maps.Clone(w.facts.Paths)
	for _, name := range rotation.Credentials(f) {
		f.Paths[name] = w.facts.Paths[name]
	}
	return f
}

// remembered are the records that Facts asks for, and no others.
func (w *world) remembered() map[string]rotation.Record {
	records := map[string]rotation.Record{}
	named := map[string]bool{}
	for _, k := range w.keys {
		named[rotation.ParseName(k.DisplayName).RotationID] = true
	}
	for id, r := range w.facts.Records {
		ended := r.State == rotation.Published || r.State == rotation.Failed
		if !ended || named[id] || w.keys[r.NewKeyID] != nil || w.keys[r.OldKeyID] != nil {
			records[id] = r
		}
	}
	return records
}

// run is one run: it looks and acts until nothing more can be done.
func (w *world) run() {
	for _, k := range w.late {
		w.keys[k.ID] = k
	}
	w.late = nil
	tried := map[string]bool{}
	for range 5 {
		w.settle()
		plan := rotation.Decide(w.look())
		w.warned = w.warned || len(plan.Warnings) > 0
		again := false
		for _, s := range plan.Steps {
			id := fmt.Sprint(s.Action, s.Credential, s.Key.ID)
			if tried[id] {
				continue
			}
			tried[id] = true
			if w.chance(20) {
				return // crashed
			}
			again = w.take(s) || again
		}
		if !again {
			return
		}
	}
}

func (w *world) chance(percent int) bool {
	return !w.calm && w.luck.IntN(100) < percent
}

// upTo is some time up to d.
func (w *world) upTo(d time.Duration) time.Duration {
	return time.Duration(w.luck.Int64N(int64(d) + 1))
}

func (w *world) take(s rotation.Step) bool {
	switch s.Action {
	case rotation.Rotate:
		w.rotate(s)
		return true
	case rotation.Retire, rotation.DeleteOrphan:
		w.remove(s)
		return true
	case rotation.Skip, rotation.Refuse:
	}
	return false
}

// settle notes how unfinished rotations ended, as the first act of a run.
func (w *world) settle() {
	for id, r := range w.facts.Records {
		p := w.facts.Paths[r.Credential]
		for _, v := range append(slices.Clone(p.Older), p.Current) {
			if v.Readable && v.RotationID == id && r.State != rotation.Published && !w.chance(30) {
				r.State, r.NewKeyID, r.PublishedAt = rotation.Published, v.KeyID, v.CreatedAt
			}
		}
		w.facts.Records[id] = r
	}
}

// rotate carries out a rotation up to wherever it fails.
func (w *world) rotate(s rotation.Step) {
	if len(w.keys) >= rotation.KeyCap {
		w.t.Fatalf("rotating %s in a full project", s.Credential)
	}
	living := 0
	for _, k := range w.keys {
		if k.credential != s.Credential || k.alien {
			continue
		}
		living++
		if k.rotation != "" && !k.consumed {
			w.t.Fatalf("rotating %s although key %s of a failed rotation is listed", s.Credential, k.ID)
		}
	}
	if living > 1 && w.calm { // else a deletion may have failed for days
		w.t.Fatalf("rotating %s, which has %d keys", s.Credential, living)
	}
	r := rotation.Record{
		ID: w.id("0"), Credential: s.Credential, OldKeyID: s.Key.ID, Trigger: s.Trigger,
		Overlap: s.Overlap, State: rotation.Planned, StartedAt: w.now,
	}
	w.facts.Records[r.ID] = r
	if w.chance(10) {
		return // the create was lost before it was applied
	}
	k := w.add(rotation.DisplayName(s.Credential, r.ID), s.Credential, 0)
	k.rotation = r.ID
	if w.chance(10) {
		if w.chance(50) {
			delete(w.keys, k.ID)
			w.late = append(w.late, k)
		}
		return
	}
	r.NewKeyID, r.State = k.ID, rotation.Created
	w.facts.Records[r.ID] = r
	if w.chance(10) {
		r.State = rotation.Failed // it never worked
		w.facts.Records[r.ID] = r
		return
	}
	w.now = w.now.Add(w.upTo(verify))
	w.publish(s.Credential, r, k)
}

func (w *world) publish(credential string, r rotation.Record, k *truth) {
	p := w.facts.Paths[credential]
	for _, old := range w.keys {
		if old.credential == credential && old.consumed && !old.alien && old.replacedAt.IsZero() {
			old.replacedAt, old.overlap = w.now, r.Overlap
		}
	}
	if p.Current.Number > 0 {
		p.Older = append(slices.Clone(p.Older), p.Current)
	}
	p.Managed = true
	p.Current = rotation.Version{Number: p.Current.Number + 1, CreatedAt: w.now, Readable: true, KeyID: k.ID, RotationID: r.ID}
	w.facts.Paths[credential] = p
	k.consumed = true
	if w.chance(20) {
		return // crashed before it was noted
	}
	r.State, r.PublishedAt = rotation.Published, w.now
	w.facts.Records[r.ID] = r
}

// remove asks the guards again and deletes a key, if it truly may go.
func (w *world) remove(s rotation.Step) {
	if _, _, ok := rotation.GuardDelete(w.look(), s.Key); !ok {
		return
	}
	k := w.keys[s.Key.ID]
	switch {
	case len(w.keys) == 1:
		w.t.Fatalf("deleting the last key, %s", k.ID)
	case k.alien:
		w.t.Fatalf("deleting %q, which is not ours", k.DisplayName)
	case w.facts.Own[k.ID]:
		w.t.Fatalf("deleting our own key %s", k.ID)
	case k.consumed && k.replacedAt.IsZero():
		w.t.Fatalf("deleting %s, which consumers use", k.ID)
	case k.consumed && w.now.Before(k.replacedAt.Add(k.overlap)):
		w.t.Fatalf("deleting %s within its overlap", k.ID)
	}
	p := w.facts.Paths[k.credential]
	p.Older = slices.Clone(p.Older)
	for i, v := range p.Older {
		if v.KeyID == k.ID { // destroyed before the key goes
			p.Older[i] = rotation.Version{Number: v.Number, CreatedAt: v.CreatedAt}
		}
	}
	w.facts.Paths[k.credential] = p
	if w.chance(20) {
		return // crashed between the two
	}
	delete(w.keys, k.ID)
}
