package state_test

import (
	"slices"
	"testing"
	"time"

	"rotator/internal/state"
)

// leases claims so many projects at once.
func (g *rig) leases(most int) (all []*state.Lease, ids []string) {
	g.Helper()
	all, err := g.Claim(g.Context(), g.claiming(), most)
	g.must(err)
	for _, l := range all {
		ids = append(ids, l.Project.ID)
	}
	return all, ids
}

// TestClaimSeveral: several projects come in the order in which single claims
// would have had them: failing ones last, else the one that has waited longest.
func TestClaimSeveral(t *testing.T) {
	t.Parallel()
	g := newRig(t, "a", "b", "c", "d", "e", "f")
	g.exec(`UPDATE rotator.project SET next_check_at = now() - interval '2 hours' WHERE id IN ('e', 'f')`)
	g.exec(`UPDATE rotator.project SET next_check_at = now() - interval '1 day', failures = 3 WHERE id = 'b'`)
	g.exec(`UPDATE rotator.project SET next_check_at = now() - interval '1 hour' WHERE id = 'd'`)
	for _, want := range [][]string{{"e", "f", "d", "a"}, {"c", "b"}, nil} {
		if _, got := g.leases(4); !slices.Equal(got, want) {
			t.Errorf("claimed %v, want %v", got, want)
		}
	}
}

// TestReleaseSeveral: each project's end is its own, and a lost lease's changes
// nothing, whoever stands beside it.
func TestReleaseSeveral(t *testing.T) {
	t.Parallel()
	g := newRig(t, "a", "b", "c", "d")
	all, _ := g.leases(4)
	g.expire("d")
	g.lease("d") // somebody else's now
	later := g.now().Add(time.Hour).Truncate(time.Millisecond)
	g.must(g.Release(t.Context(),
		state.Release{Lease: all[3], NextCheck: later, ResolvedSeq: 99, Whole: true, Problems: []state.Problem{failed("api", "stale")}},
		state.Release{Lease: all[2], NextCheck: later, ResolvedSeq: 7, Whole: true},
		state.Release{Lease: all[1], NextCheck: later, Failed: true, Step: "create", Error: "refused", Problems: []state.Problem{failed("api", "refused"), failed("web", "refused")}},
		state.Release{Lease: all[0], NextCheck: later, ResolvedSeq: 5, Problems: []state.Problem{failed("api", "other")}},
	))
	for id, want := range map[string]string{
		"a": "free 0  5 true", "b": "free 1 create 0 false", "c": "free 0  7 true", "d": "held 0  0 false",
	} {
		var got string
		g.must(g.pool.QueryRow(t.Context(), `SELECT concat_ws(' ', CASE WHEN lease_owner IS NULL THEN 'free' ELSE 'held' END,
			failures, failed_step, resolved_seq, CASE WHEN next_check_at = $2 THEN 'true' ELSE 'false' END) FROM rotator.project WHERE id = $1`, id, later).Scan(&got))
		if got != want {
			t.Errorf("%s: %q, want %q", id, got, want)
		}
	}
	g.wantNews("after several", 3, "+failed a/api: other", "+failed b/api: refused", "+failed b/web: refused")

	g.exec(`UPDATE rotator.project SET lease_expires_at = NULL, lease_owner = NULL, next_check_at = now(), checked_at = NULL, failures = 0`)
	all, _ = g.leases(2)
	g.must(g.Release(t.Context(),
		state.Release{Lease: all[0], NextCheck: later, Settled: []string{"web"}},
		state.Release{Lease: all[1], NextCheck: later, Settled: []string{"web"}},
	))
	g.wantNews("after web is settled everywhere", 2, "-failed b/web: refused")
}

// TestGiveBack: what nobody has worked on is as it was, but for its fence; a
// lost lease is not given back.
func TestGiveBack(t *testing.T) {
	t.Parallel()
	g := newRig(t, "a", "b", "c")
	all, _ := g.leases(3)
	g.expire("c")
	held := g.lease("c")
	g.must(g.GiveBack(t.Context(), all...))
	if _, got := g.leases(3); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("claimed %v after giving back", got)
	}
	if ok, err := g.Renew(t.Context(), held); err != nil || !ok {
		t.Errorf("the lease of another: %t, %v", ok, err)
	}
}

// TestRecallSeveral: each project's memory is its own.
func TestRecallSeveral(t *testing.T) {
	t.Parallel()
	g := newRig(t, "p", "q", "r")
	p, q := g.lease("p"), g.lease("q")
	for id, l := range map[string]*state.Lease{"ppp0000000001": p, "qqq0000000001": q} {
		g.apply(l.PlanRotation(newRotation(id, "api", "k0")))
		g.apply(l.RotationPublished(publication(id, "k1 of "+l.Project.ID, func(p *state.Publication) { p.At = time.Now().Add(-time.Hour) })))
		g.apply(l.Snapshot([]state.SeenKey{{ID: "k1 of " + l.Project.ID, Credential: "api", CreatedAt: time.Now()}}, []byte{1}))
	}
	all, err := g.Recall(t.Context(), "q", "r", "p")
	g.must(err)
	for i, want := range []string{"qqq0000000001 k1 of q [k1 of q]", "", "ppp0000000001 k1 of p [k1 of p]"} {
		m, got := all[i], ""
		if len(m.Rotations) == 1 && len(m.Credentials) == 1 {
			got = m.Rotations[0].ID + " " + m.Credentials[0].CurrentKeyID + " [" + m.Known[0] + "]"
		}
		if got != want || len(m.Known) > 1 || want == "" && len(m.Rotations)+len(m.Credentials)+len(m.Known) > 0 {
			t.Errorf("project %d: %+v, want %q", i, m, want)
		}
		if off := time.Since(m.Now()).Abs(); off > time.Minute {
			t.Errorf("the clock is off by %s", off)
		}
	}
}
