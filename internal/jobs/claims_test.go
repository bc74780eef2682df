package jobs_test

import (
	"context"
	"fmt"
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
	done = g.begin(ctx, g.runner(overlap(lap), func(c *jobs.Config) { c.Concurrency, c.Lease = 9, 3*time.Second }), jobs.Order{})
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
