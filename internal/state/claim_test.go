package state_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/state"
)

func TestClaimOrder(t *testing.T) {
	t.Parallel()
	g := newRig(t, "a", "b", "c", "d", "e")
	g.exec(`UPDATE rotator.project SET next_check_at = now() - interval '1 day' WHERE id = 'd'`)
	g.exec(`UPDATE rotator.project SET failures = 1, next_check_at = now() - interval '9 days' WHERE id IN ('a', 'b')`)
	g.exec(`UPDATE rotator.project SET failures = 5, next_check_at = now() - interval '10 days' WHERE id = 'b'`)
	want := []string{"d", "c", "e", "b", "a"} // healthy ones first, then who has waited longest
	if diff := cmp.Diff(want, g.claimed(g.claiming())); diff != "" {
		t.Error(diff)
	}
}

func TestClaimOnlyWhatBelongsToTheRun(t *testing.T) {
	t.Parallel()
	later := time.Now().Add(time.Minute)
	tests := map[string]struct {
		edit func(*state.Claiming)
		want []string
	}{
		"all that the run has seen": {func(*state.Claiming) {}, []string{"a", "b", "c"}},
		"only":                      {func(c *state.Claiming) { c.Only = []string{"b", "x"} }, []string{"b"}},
		"except":                    {func(c *state.Claiming) { c.Except = "b" }, []string{"a", "c"}},
		"due":                       {func(c *state.Claiming) { c.Due = true }, []string{"a", "b"}},
		"known":                     {func(c *state.Claiming) { c.Since, c.Known = later, true }, []string{"a", "b", "c", "unseen"}},
		"another run saw nothing":   {func(c *state.Claiming) { c.Since = later }, []string{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t, "a", "b", "c")
			g.discover("unseen", "gone")
			g.exec(`UPDATE rotator.project SET seen_at = now() - interval '1 hour' WHERE id = 'unseen'`)
			g.exec(`UPDATE rotator.project SET gone_at = now() WHERE id = 'gone'`)
			g.exec(`UPDATE rotator.project SET next_check_at = now() + interval '1 hour' WHERE id = 'c'`)
			got := g.claimed(g.claiming(test.edit))
			slices.Sort(got)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestARunClaimsAProjectOnce(t *testing.T) {
	t.Parallel()
	g := newRig(t, "a")
	l := g.claim(g.claiming())
	g.must(g.Release(t.Context(), state.Release{Lease: l, NextCheck: time.Now()}))
	if again := g.claim(g.claiming()); again != nil {
		t.Error("the run claimed the project again")
	}
	if g.lease("a").Fence != l.Fence+1 {
		t.Error("another run's claim did not grow the fence by one")
	}
}

// TestClaimAtOnce: fifty workers at once get each project once, and none is
// left over.
func TestClaimAtOnce(t *testing.T) {
	t.Parallel()
	var ids []string
	for i := range 120 {
		ids = append(ids, fmt.Sprintf("p%03d", i))
	}
	g := newRig(t, ids...)
	var mu sync.Mutex
	var got []string
	var workers sync.WaitGroup
	for n := range 50 {
		claim := g.claiming()
		workers.Go(func() {
			for {
				leases, err := g.Claim(t.Context(), claim, 1+n%5)
				if err != nil {
					t.Error(err)
				}
				if len(leases) == 0 {
					return
				}
				mu.Lock()
				for _, l := range leases {
					got = append(got, l.Project.ID)
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	slices.Sort(got)
	if diff := cmp.Diff(ids, got); diff != "" {
		t.Errorf("projects claimed (-want +got):\n%s", diff)
	}
}

func TestBusy(t *testing.T) {
	t.Parallel()
	g := newRig(t, "a", "b", "c", "d")
	for _, id := range []string{"a", "b", "c"} {
		g.lease(id)
	}
	g.expire("c")
	g.exec(`UPDATE rotator.project SET next_check_at = now() + interval '1 hour' WHERE id = 'b'`)
	busy, err := g.Busy(t.Context(), g.claiming())
	g.must(err)
	if len(busy) != 2 || busy[0].ID != "a" || !busy[0].Due || busy[1].ID != "b" || busy[1].Due || busy[0].Name != "Project a" {
		t.Errorf("busy: %+v", busy)
	}
	if left := time.Until(busy[0].Until); left < 30*time.Second || left > time.Minute {
		t.Errorf("until in %s, want within a minute", left)
	}
	if got := g.claimed(g.claiming()); !slices.Equal(got, []string{"c", "d"}) {
		t.Errorf("claimed %v, want only what nobody works on", got)
	}
}

func TestRenew(t *testing.T) {
	t.Parallel()
	g := newRig(t, "a")
	renews := func(l *state.Lease) bool {
		t.Helper()
		ok, err := g.Renew(t.Context(), l)
		g.must(err)
		return ok
	}
	l := g.lease("a")
	g.exec(`UPDATE rotator.project SET lease_expires_at = now() + interval '1 second' WHERE id = 'a'`)
	if !renews(l) {
		t.Error("a lease that holds was not renewed")
	}
	if n := g.count(`SELECT count(*) FROM rotator.project WHERE lease_expires_at > now() + interval '30 seconds'`); n != 1 {
		t.Error("the renewed lease does not last for its length")
	}
	g.expire("a")
	if renews(l) {
		t.Error("a lease that ran out was renewed, although nobody may count on it any more")
	}
	g.lease("a")
	if renews(l) {
		t.Error("a lease that another process claimed was renewed")
	}
}

func TestRelease(t *testing.T) {
	t.Parallel()
	g := newRig(t, "a")
	failed := state.Release{Failed: true, Step: "list", Error: "broken", NextCheck: time.Now().Add(time.Hour)}
	wait := func() (failures int, next time.Duration) {
		t.Helper()
		var seconds float64
		g.must(g.pool.QueryRow(t.Context(), `SELECT failures, extract(epoch FROM next_check_at - now())::float8
			FROM rotator.project WHERE id = 'a' AND lease_expires_at IS NULL AND checked_at IS NOT NULL`).Scan(&failures, &seconds))
		return failures, time.Duration(seconds * float64(time.Second))
	}
	for n := 1; n <= 4; n++ {
		failed.Lease = g.lease("a")
		g.must(g.Release(t.Context(), failed))
		failures, next := wait()
		if failures != n || next > state.Backoff(n) || next < state.Backoff(n)-30*time.Second {
			t.Errorf("after failure %d: %d failures, next look in %s, want %s", n, failures, next, state.Backoff(n))
		}
	}
	stale := g.lease("a")
	g.expire("a")
	fresh := g.lease("a")
	g.must(g.Release(t.Context(), state.Release{Lease: stale, NextCheck: time.Now()}))
	if n := g.count(`SELECT failures FROM rotator.project WHERE lease_expires_at > now()`); n != 4 {
		t.Errorf("a stale release changed the row: %d failures", n)
	}
	g.must(g.Release(t.Context(), state.Release{Lease: fresh, NextCheck: time.Now().Add(time.Hour)}))
	if failures, next := wait(); failures != 0 || next < 50*time.Minute {
		t.Errorf("after a success: %d failures, next look in %s", failures, next)
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	for failures, want := range map[int]time.Duration{
		-1: 0, 0: 0, 1: 0, 2: time.Minute, 3: 2 * time.Minute, 4: 4 * time.Minute, 9: 128 * time.Minute,
		10: 256 * time.Minute, 11: 6 * time.Hour, 12: 6 * time.Hour, 13: 6 * time.Hour, 64: 6 * time.Hour, 1 << 40: 6 * time.Hour,
	} {
		if got := state.Backoff(failures); got != want {
			t.Errorf("after %d failures: %s, want %s", failures, got, want)
		}
	}
}
