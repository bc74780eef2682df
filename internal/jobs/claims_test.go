package jobs_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"rotator/internal/audit"
	"rotator/internal/jobs"
	"rotator/internal/sinch/sinchtest"
)

// exec changes the database behind rotator's back.
func (g *rig) exec(sql string, args ...any) {
	g.t.Helper()
	if _, err := g.pool.Exec(g.t.Context(), sql, args...); err != nil {
		g.t.Fatal(err)
	}
}

// leased is how many projects are under a lease.
func (g *rig) leased() (n int) {
	g.t.Helper()
	if err := g.pool.QueryRow(g.t.Context(), `SELECT count(*) FROM rotator.project WHERE lease_owner IS NOT NULL`).Scan(&n); err != nil {
		g.t.Fatal(err)
	}
	return n
}

// crowd begins a run of nine workers, and holds each of them in its first
// project: three more projects wait, claimed. p1, whose old key can be deleted,
// and the given ones are among those; release lets the nine go on.
func (g *rig) crowd(ctx context.Context, last ...string) (done <-chan *jobs.Report, release func()) {
	g.t.Helper()
	var all []*sinchtest.Held
	release = func() {
		for _, held := range all {
			held.Release()
		}
	}
	g.t.Cleanup(release)
	for n := range 9 {
		id := fmt.Sprint("busy", n)
		g.project(id, "api", day)
		do, held := sinchtest.Hold()
		g.sim.Fault(sinchtest.Fault{Operation: "access_keys.list", Project: id, After: 1, Times: 1, Do: do})
		all = append(all, held)
	}
	for _, id := range last {
		g.project(id, "api", day)
	}
	g.run(jobs.Order{}, overlap(lap), func(c *jobs.Config) { c.MaxDeletions = 0 })
	g.exec(`UPDATE rotator.project SET next_check_at = now() + interval '1 year' WHERE NOT starts_with(id, 'busy')`)
	inOrder := func(c *jobs.Config) { c.Concurrency, c.Lease, c.MaxRotations = 9, 3*time.Second, 100 }
	done = g.begin(ctx, g.runner(overlap(lap), inOrder), jobs.Order{})
	for _, held := range all {
		g.arrives(held)
	}
	if n := g.leased(); n != 12 {
		g.t.Fatalf("%d projects are claimed, want 12", n)
	}
	return done, release
}

// TestProjectsThatWait: a project that is claimed, but has to wait for a worker,
// is still ours when its turn comes, or left to whoever has it then; and what
// was known of it is not believed any more.
func TestProjectsThatWait(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	old := superseded(g)
	done, release := g.crowd(t.Context(), "p2", "p3")
	g.take("p3")
	g.exec(`INSERT INTO rotator.process (id, host, auth_key_id, expires_at) VALUES ($1, 'another', $2, now() + interval '1 hour')`, uuid.New(), old)
	time.Sleep(1500 * time.Millisecond) // more than a third of the lease
	release()
	r := <-done
	if len(r.Results) != 2 {
		t.Fatalf("results %+v, want two", r.Results)
	}
	if res := r.Results[0]; res.Action != jobs.Refused || string(res.OldKeyID) != old || !strings.Contains(string(res.Error), "authenticate") {
		t.Errorf("%+v, want the key refused that another process has come to authenticate with", res)
	}
	if res := r.Results[1]; res.Action != jobs.Skipped || res.ProjectID != "p3" {
		t.Errorf("%+v, want what another process works on skipped", res)
	}
	if lost := g.events(audit.Filter{Type: audit.LeaseLost}); len(lost) != 0 {
		t.Errorf("a lease was lost: %+v", lost[0])
	}
	if n := g.leased(); n != 1 {
		t.Errorf("%d projects are still claimed, want p3", n)
	}
}

// TestStopGivesBackWhatWaits: what a stopped run has claimed and not begun is
// free at once.
func TestStopGivesBackWhatWaits(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	superseded(g)
	ctx, stop := context.WithCancel(t.Context())
	done, release := g.crowd(ctx, "p2", "p3")
	stop()
	release()
	if r := <-done; !r.Stopped || r.Projects != 9 {
		t.Errorf("stopped: %t, after %d projects; want yes, after 9", r.Stopped, r.Projects)
	}
	if n := g.leased(); n != 0 {
		t.Errorf("%d projects are still claimed", n)
	}
}

// pages makes 150 subprojects, which Sinch lists on two pages. Keys are due in
// a001 and a003, on the first, of which a003 failed last time, and in z001, on
// the second. do is what becomes of that, until mend is called.
func pages(g *rig, do sinchtest.Behaviour) (mend func()) {
	g.t.Helper()
	for _, id := range []string{"a001", "a002", "a003", "z001"} {
		if id == "z001" {
			for n := range 146 {
				g.sim.AddSubproject(parent, fmt.Sprintf("m%03d", n), "empty", nil)
			}
		}
		g.project(id, "api", day)
	}
	g.run(jobs.Order{})
	for _, id := range []string{"a001", "a003", "z001"} {
		g.sim.AddKey(id, "new", time.Now().Add(-89*day))
	}
	g.exec(`UPDATE rotator.project SET failures = 1 WHERE id = 'a003'`)
	return g.sim.Fault(sinchtest.Fault{Operation: "subprojects.list", After: 1, Do: do})
}

// rotated is the projects in which the run rotated something, sorted.
func rotated(r *jobs.Report) (ids []string) {
	for _, res := range r.Results {
		if res.Action == jobs.Rotated {
			ids = append(ids, res.ProjectID)
		}
	}
	return ids
}

// TestWorkBeginsBeforeAllProjectsAreKnown: what the first page of the list names
// is worked on while the second is awaited, but for what failed last time.
// Where a run may not do everything, it waits to know what comes first.
func TestWorkBeginsBeforeAllProjectsAreKnown(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		edit  func(*jobs.Config)
		early int
	}{
		"without limits":        {func(*jobs.Config) {}, 1},
		"with a rotation limit": {func(c *jobs.Config) { c.MaxRotations = 100 }, 0},
		"with a deletion limit": {func(c *jobs.Config) { c.MaxDeletions = 100 }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t)
			do, held := sinchtest.Hold()
			defer held.Release()
			pages(g, do)
			before := g.sent("access_keys.create")
			done := g.begin(t.Context(), g.runner(c.edit), jobs.Order{})
			g.arrives(held)
			for deadline := time.Now().Add(10 * time.Second); g.sent("access_keys.create")-before < c.early; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("nothing is done before all projects are known")
				}
			}
			time.Sleep(300 * time.Millisecond) // what else would be done
			if n := g.sent("access_keys.create") - before; n != c.early {
				t.Errorf("%d keys were made before all projects were known, want %d", n, c.early)
			}
			held.Release()
			r := <-done
			if got := rotated(r); !slices.Equal(got, []string{"a001", "a003", "z001"}) || r.Projects != 151 {
				t.Errorf("rotated in %v, looked at %d projects; want the three that were due, and 151", got, r.Projects)
			}
		})
	}
}

// TestListThatEndsInTheMiddle: when Sinch refuses the second page, what is known
// of old is worked on, and the run says so; when it says that our key is not
// valid, the run ends, and what was done before that is in the log.
func TestListThatEndsInTheMiddle(t *testing.T) {
	t.Parallel()
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		g := newRig(t)
		pages(g, sinchtest.Status(403))
		r := g.run(jobs.Order{})
		g.wantExit(r, jobs.ExitFailed)
		if got := rotated(r); !slices.Equal(got, []string{"a001", "a003", "z001"}) || r.Projects != 151 {
			t.Errorf("rotated in %v, looked at %d projects; want the three that were due, and 151", got, r.Projects)
		}
	})
	t.Run("our key is not valid", func(t *testing.T) {
		t.Parallel()
		g := newRig(t)
		mend := pages(g, sinchtest.Status(401))
		r, err := g.runner().Run(t.Context(), jobs.Order{})
		if err == nil || g.leased() != 0 {
			t.Errorf("error %v, %d projects are still claimed; want an error, and none", err, g.leased())
		}
		if got := rotated(r); len(got) > 1 {
			t.Errorf("rotated in %v, of which only the first page was known", got)
		}
		mend()
		if got := rotated(g.run(jobs.Order{})); !slices.Contains(got, "z001") {
			t.Errorf("the next run rotated in %v", got)
		}
	})
}
