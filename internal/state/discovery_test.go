package state_test

import (
	"maps"
	"testing"
	"time"

	"github.com/google/uuid"

	"rotator/internal/state"
)

// turn asks for the turn to discover.
func (g *rig) turn(d state.Discovery) state.Turn {
	g.Helper()
	turn, err := g.BeginDiscovery(g.Context(), d)
	g.must(err)
	return turn
}

func (g *rig) wantTurn(d state.Discovery, want state.Turn) {
	g.Helper()
	if got := g.turn(d); got != want {
		g.Errorf("turn %d, want %d", got, want)
	}
}

// TestDiscoveryTurns: of those who ask after the same tick one has the turn,
// and a silent one loses it.
func TestDiscoveryTurns(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	tick := g.now()
	first := state.Discovery{Parent: "p", Owner: uuid.New(), Length: time.Minute, Since: tick}
	second, other := first, first
	second.Owner, other.Owner, other.Parent = uuid.New(), uuid.New(), "q"
	g.wantTurn(first, state.Ours)
	g.wantTurn(second, state.Other)
	g.wantTurn(other, state.Ours) // of another parent
	g.must(g.GoOnDiscovery(g.Context(), first))
	g.must(g.EndDiscovery(g.Context(), first, true))
	g.wantTurn(second, state.Done)

	// The next tick; whoever had it fails, or falls silent.
	second.Since = g.now()
	g.wantTurn(second, state.Ours)
	g.must(g.EndDiscovery(g.Context(), second, false))
	first.Since = second.Since
	g.wantTurn(first, state.Ours)
	g.exec(`UPDATE rotator.discovery SET expires_at = now() - interval '1 second'`)
	g.wantTurn(second, state.Ours)
	g.must(g.GoOnDiscovery(g.Context(), first)) // too late, and changes nothing
	g.must(g.EndDiscovery(g.Context(), first, true))
	g.wantTurn(first, state.Other)
	g.must(g.EndDiscovery(g.Context(), second, true))
	g.wantTurn(first, state.Done)
}

// TestPause: one pause at a time; nobody claims during it but who ignores it.
func TestPause(t *testing.T) {
	t.Parallel()
	g := newRig(t, "a")
	g.wantPause("")
	g.wantApplied(state.ResumeAll(), false)
	g.wantApplied(state.PauseAll("silence", "alice@desk"), true)
	g.wantApplied(state.PauseAll("again", "bob@desk"), false)
	g.wantPause("silence")
	if l := g.claim(g.claiming()); l != nil {
		t.Errorf("%s was claimed during a pause", l.Project.ID)
	}
	if l := g.claim(g.claiming(func(c *state.Claiming) { c.Paused = true })); l == nil {
		t.Error("nothing was claimed by who ignores the pause")
	}
	g.expire("a")
	g.wantApplied(state.ResumeAll(), true)
	g.wantPause("")
	if l := g.claim(g.claiming()); l == nil {
		t.Error("nothing was claimed after the pause")
	}
}

func (g *rig) wantApplied(c state.Change, want bool) {
	g.Helper()
	applied, err := g.Apply(g.Context(), c)
	g.must(err)
	if applied != want {
		g.Errorf("applied: %t, want %t", applied, want)
	}
}

// wantPause checks the reason of the pause that is on; "" is none.
func (g *rig) wantPause(reason string) {
	g.Helper()
	p, err := g.Paused(g.Context())
	g.must(err)
	if (p == nil) != (reason == "") || p != nil && (p.Reason != reason || p.Actor != "alice@desk" || p.Since.IsZero()) {
		g.Errorf("pause %+v, want %q", p, reason)
	}
}

// TestLastTick: the newest tick of scheduled runs; what people ask for has none.
func TestLastTick(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	want := func(want time.Time) {
		g.Helper()
		got, err := g.LastTick(g.Context())
		g.must(err)
		if !got.Equal(want) {
			t.Errorf("last tick %s, want %s", got, want)
		}
	}
	want(time.Time{})
	tick := time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC)
	for _, at := range []time.Time{tick, tick.Add(-time.Hour), {}} {
		g.wantApplied(state.StartRun(state.Begun{ID: uuid.New(), Trigger: "schedule", Actor: "a", Host: "h", Tick: at}), true)
	}
	want(tick)
}

func TestStatus(t *testing.T) {
	t.Parallel()
	g := newRig(t, "a", "b", "c")
	l := g.lease("a")
	g.must(g.Release(g.Context(), state.Release{Lease: g.lease("b"), NextCheck: g.now().Add(time.Hour), Failed: true, Step: "create", Error: "refused"}))
	g.wantApplied(state.PauseAll("silence", "alice@desk"), true)
	g.wantApplied(state.StartRun(state.Begun{ID: g.run, Trigger: "manual", Actor: "a", Host: "h"}), true)
	_, err := g.Beat(g.Context(), l.Owner, "h", "k1", time.Minute)
	g.must(err)
	st, err := g.Status(g.Context(), 10)
	g.must(err)
	if st.Projects.Known != 3 || st.Projects.Leased != 1 || st.Projects.Failing != 1 || st.Projects.Due < 2 {
		t.Errorf("projects: %+v", st.Projects)
	}
	if st.Pause == nil || st.Pause.Reason != "silence" || len(st.Runs) != 1 || st.Runs[0].ID != g.run || st.Runs[0].FinishedAt != nil {
		t.Errorf("pause %+v, runs %+v", st.Pause, st.Runs)
	}
	if len(st.Leases) != 1 || st.Leases[0].Project != "a" || st.Leases[0].Owner != l.Owner || len(st.Processes) != 1 || st.Processes[0].AuthKeyID != "k1" {
		t.Errorf("leases %+v, processes %+v", st.Leases, st.Processes)
	}
	if len(st.Failing) != 1 || st.Failing[0].Project != "b" || st.Failing[0].Step != "create" || st.Failing[0].Error != "refused" {
		t.Errorf("failing: %+v", st.Failing)
	}
}

// TestDiscover: what Sinch lists is noted whole, also what it lists twice, and
// the newest word counts.
func TestDiscover(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	created := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	labels := map[string]string{`a "quoted" label`: `{},\\`, "rotator.max-age": "30d"}
	first := state.Discovered{ID: "p", ParentID: "parent", Name: "Old, {name}", CreatedAt: &created}
	g.must(g.Discover(t.Context(), []state.Discovered{first, {ID: "q"}, first}))
	first.Name, first.Labels = "New", labels
	g.must(g.Discover(t.Context(), []state.Discovered{first}))
	p := g.lease("p").Project
	if p.ParentID != "parent" || p.Name != "New" || !maps.Equal(p.Labels, labels) || p.CreatedAt == nil || !p.CreatedAt.Equal(created) {
		t.Errorf("noted %+v", p)
	}
	if q := g.lease("q").Project; q.CreatedAt != nil || len(q.Labels) > 0 {
		t.Errorf("noted %+v", q)
	}
}
