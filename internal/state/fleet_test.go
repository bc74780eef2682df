package state_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"rotator/internal/state"
)

func (g *rig) fleet() *state.Fleet {
	g.Helper()
	f, err := g.Fleet(g.Context())
	g.must(err)
	return f
}

func (g *rig) wantFleet(when string, want *state.Fleet) {
	g.Helper()
	if diff := cmp.Diff(want, g.fleet(), cmpopts.EquateEmpty(), cmpopts.EquateApproxTime(time.Millisecond)); diff != "" {
		g.Errorf("%s (-want +got):\n%s", when, diff)
	}
}

// TestFleet: keys count as their newest snapshots have them; what is gone does
// not.
func TestFleet(t *testing.T) {
	t.Parallel()
	g := newRig(t, "a", "b", "gone", "idle")
	g.wantFleet("at first", &state.Fleet{})

	now := g.now()
	key := func(id, credential, state string, left time.Duration) (k state.SeenKey) {
		k.ID, k.Credential, k.State, k.CreatedAt = id, credential, state, now.Add(-time.Hour)
		if left != 0 {
			deadline := now.Add(left)
			k.Deadline = &deadline
		}
		return k
	}
	a := g.lease("a")
	g.apply(a.Snapshot([]state.SeenKey{
		key("a1", "api", "current", time.Hour), key("a2", "api", "superseded", -time.Minute), key("a3", "api", "orphan", time.Hour),
		key("a4", "mail", "adopted", -time.Hour), key("a5", "theirs", "unmanaged", 0), key("a6", "web", "held", -time.Hour), key("a7", "web", "current", 2*time.Hour),
		key("a8", "old", "orphan", -time.Hour),
	}, []byte{1}))
	g.apply(a.KeyGone("a8"))
	b := g.lease("b")
	g.apply(b.Snapshot([]state.SeenKey{key("b1", "api", "current", 3*time.Hour)}, []byte{1}))
	gone := g.lease("gone")
	g.apply(gone.Snapshot([]state.SeenKey{key("g1", "api", "orphan", -time.Hour)}, []byte{1}))
	g.exec(`UPDATE rotator.project SET gone_at = now() WHERE id = 'gone'`)
	g.expire("b")
	g.apply(state.PauseAll("test", "alice"))

	want := &state.Fleet{
		Keys: []state.FleetKeys{
			{"a", "adopted", 1},
			{"a", "current", 2},
			{"a", "held", 1},
			{"a", "orphan", 1},
			{"a", "superseded", 1},
			{"a", "unmanaged", 1},
			{"b", "current", 1},
		},
		Deadlines: []state.FleetDeadline{
			{"a", "api", now.Add(time.Hour)},
			{"a", "mail", now.Add(-time.Hour)},
			{"a", "web", now.Add(2 * time.Hour)},
			{"b", "api", now.Add(3 * time.Hour)},
		},
		Orphans: 1, Overdue: 3, Leases: 1, Paused: true,
	}
	g.wantFleet("with keys", want)

	g.apply(state.ResumeAll())
	// A shorter max age moves deadlines at the next look.
	b = g.lease("b")
	g.apply(b.Snapshot([]state.SeenKey{key("b1", "api", "current", -time.Minute)}, []byte{2}))
	want.Deadlines[3].At, want.Overdue, want.Leases, want.Paused = now.Add(-time.Minute), 4, 2, false
	g.wantFleet("with a shorter max age", want)
}

// TestFleetAfterARotation: the new key is the current one at once, not only
// from the next look on, which then looks anew.
func TestFleetAfterARotation(t *testing.T) {
	t.Parallel()
	g := newRig(t, "a")
	l := g.lease("a")
	at := g.now()
	soon, later := at.Add(time.Hour), at.Add(90*24*time.Hour)
	old := state.SeenKey{ID: "k1", Credential: "api", State: "current", CreatedAt: g.now(), Deadline: &soon}
	g.apply(l.Snapshot([]state.SeenKey{old}, []byte{1}))
	g.apply(l.PlanRotation(newRotation(first, "api", "k1")))
	g.apply(l.RotationPublished(publication(first, "k2", func(p *state.Publication) {
		p.Seen, p.Replaced = state.SeenKey{ID: "k2", Credential: "api", State: "current", CreatedAt: g.now(), Deadline: &later}, "k1"
		p.At, p.Overlap = at, time.Hour
	})))
	g.wantFleet("after the rotation", &state.Fleet{
		Keys:      []state.FleetKeys{{"a", "current", 1}, {"a", "superseded", 1}},
		Deadlines: []state.FleetDeadline{{"a", "api", later}}, Leases: 1,
	})
	if n := g.count(`SELECT count(*) FROM rotator.access_key WHERE key_id = 'k1' AND retire_at = $1`, soon); n != 1 {
		t.Error("the old key's row does not say when it goes")
	}
	if n := g.count(`SELECT count(*) FROM rotator.project WHERE snapshot_sha256 IS NULL`); n != 1 {
		t.Error("the next look may take the old snapshot for its own")
	}
}
