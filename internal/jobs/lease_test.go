package jobs_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"rotator/internal/audit"
	"rotator/internal/jobs"
	"rotator/internal/rotation"
	"rotator/internal/sinch"
	"rotator/internal/sinch/sinchtest"
	"rotator/internal/state"
)

func TestTwoProcessesRotateEachCredentialOnce(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	const n = 30
	for i := range n {
		g.project(fmt.Sprintf("p%02d", i), "api", 89*day)
	}
	reports := make([]*jobs.Report, 2)
	var both sync.WaitGroup
	for i := range reports {
		runner := g.runner(overlap(lap), func(c *jobs.Config) { c.Concurrency = 3 })
		both.Go(func() {
			var err error
			if reports[i], err = runner.Run(t.Context(), jobs.Order{Trigger: rotation.Manual}); err != nil {
				t.Errorf("run %d: %v", i, err)
			}
		})
	}
	both.Wait()
	if t.Failed() {
		return
	}
	a, b := reports[0], reports[1]
	if a.Rotated+b.Rotated != n || g.sent("access_keys.create") != n {
		t.Errorf("%d and %d rotated, %d creates sent, want %d", a.Rotated, b.Rotated, g.sent("access_keys.create"), n)
	}
	if a.Rotated == 0 || b.Rotated == 0 {
		t.Errorf("%d and %d rotated: one process did all of it", a.Rotated, b.Rotated)
	}
	for i := range n {
		id := fmt.Sprintf("p%02d", i)
		if g.consistent(id, "api"); len(g.listed(id)) > 2 {
			t.Errorf("%s holds %v", id, g.listed(id))
		}
	}
	if lost := g.events(audit.Filter{Type: audit.LeaseLost}); len(lost) != 0 {
		t.Errorf("a lease was lost: %+v", lost[0])
	}
	g.wantWholeLog()
}

// claimed makes another process hold a project's lease, as a fresh run of it
// would, and returns that lease. The project must be known.
func (g *rig) claimed(project string, length time.Duration) *state.Lease {
	g.t.Helper()
	all, err := state.New(g.pool).Claim(g.t.Context(), state.Claiming{
		Owner: uuid.New(), Since: time.Now().Add(time.Minute), Length: length, Only: []string{project}, Known: true,
	}, 1)
	if err != nil || len(all) != 1 {
		g.t.Fatalf("claiming %s: %v, %v", project, all, err)
	}
	return all[0]
}

func TestProjectWorkedOnElsewhereIsSkipped(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.project("p1", "api", 89*day)
	g.run(jobs.Order{}, func(c *jobs.Config) { c.MaxRotations = 0 })
	l := g.claimed("p1", time.Minute)

	r := g.run(jobs.Order{Projects: []string{"p1"}})
	g.wantExit(r, jobs.ExitBusy)
	if res := g.only(r, jobs.Skipped); res.ProjectID != "p1" || !strings.Contains(string(res.Error), "another process") {
		t.Errorf("result %+v", res)
	}
	if len(g.listed("p1")) != 1 {
		t.Error("a key was created in a project that another process works on")
	}
	if err := state.New(g.pool).Release(t.Context(), state.Release{Lease: l, NextCheck: time.Now()}); err != nil {
		t.Fatal(err)
	}
	g.only(g.run(jobs.Order{Projects: []string{"p1"}}), jobs.Rotated)
}

// TestCompromiseWaitsForALease: the answer to a leak does not give up at once.
func TestCompromiseWaitsForALease(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.project("p1", "api", day)
	g.run(jobs.Order{})
	g.claimed("p1", time.Second) // and dies
	r := g.run(jobs.Order{Projects: []string{"p1"}, Reason: "leaked", Request: rotation.Request{Compromised: true}},
		func(c *jobs.Config) { c.Lease = 10 * time.Second })
	g.wantExit(r, jobs.ExitConverged)
	if r.Rotated != 1 || r.Retired != 1 {
		t.Errorf("results %+v", r.Results)
	}
}

// begin does a run in the background.
func (g *rig) begin(ctx context.Context, runner *jobs.Runner, o jobs.Order) <-chan *jobs.Report {
	g.t.Helper()
	o.Trigger = rotation.Manual
	done := make(chan *jobs.Report, 1)
	go func() {
		r, err := runner.Run(ctx, o)
		if err != nil {
			g.t.Errorf("run: %v", err)
		}
		done <- r
	}()
	return done
}

// arrives waits for a request to be held.
func (g *rig) arrives(held *sinchtest.Held) {
	g.t.Helper()
	select {
	case <-held.Arrived():
	case <-time.After(20 * time.Second):
		g.t.Fatal("nothing was held")
	}
}

// expire makes the project's lease run out, as if its worker had been frozen.
func (g *rig) expire(project string) {
	g.t.Helper()
	if _, err := g.pool.Exec(g.t.Context(), `UPDATE rotator.project SET lease_expires_at = now() - interval '1 second' WHERE id = $1`, project); err != nil {
		g.t.Fatal(err)
	}
}

// take makes the project's lease run out, and another process claim it.
func (g *rig) take(project string) {
	g.t.Helper()
	g.expire(project)
	g.claimed(project, time.Minute)
}

// stale starts a run that is held at an operation in p1, lets its lease run
// out as if the process had been frozen, and gives the project to another
// process, which does one whole run. It returns the stale run's report.
func (g *rig) stale(operation string, do sinchtest.Behaviour, held *sinchtest.Held) (report *jobs.Report, since int) {
	g.t.Helper()
	g.tune = func(c *sinch.Config) { c.Timeout = 30 * time.Second }
	g.sim.Fault(sinchtest.Fault{Operation: operation, Project: "p1", Times: 1, Do: do})
	frozen := g.runner(func(c *jobs.Config) { c.Lease = 30 * time.Second })
	done := g.begin(g.t.Context(), frozen, jobs.Order{Projects: []string{"p1"}})
	g.arrives(held)
	g.expire("p1")
	if r := g.run(jobs.Order{Projects: []string{"p1"}}); r.ExitCode() != jobs.ExitConverged {
		g.t.Errorf("the other process's run: %+v", r.Results)
	}
	since = len(g.sim.Requests())
	held.Release()
	return <-done, since
}

// wantStale fails the test unless the stale run was refused, sent nothing
// that changes anything after it was woken, and what is left is consistent.
func (g *rig) wantStale(r *jobs.Report, since int) {
	g.t.Helper()
	if r.ExitCode() != jobs.ExitFailed || r.Rotated != 0 {
		g.t.Errorf("the stale run: exit code %d, %+v", r.ExitCode(), r.Results)
	}
	for _, q := range g.sim.Requests()[since:] {
		if q.Method != "GET" && q.Operation != "token.exchange" {
			g.t.Errorf("the stale worker sent %s %s", q.Method, q.Path)
		}
	}
	if n := len(g.events(audit.Filter{Type: audit.LeaseLost, Project: "p1"})); n == 0 {
		g.t.Error("lease.lost is not in the log")
	}
	g.run(jobs.Order{Projects: []string{"p1"}})
	if got, current := g.listed("p1"), g.consistent("p1", "api"); len(got) != 2 || !slices.Contains(got, current) {
		g.t.Errorf("listed %v in the end, want the old key and the current one, %s", got, current)
	}
}

// TestStaleWorkerAtCreate wakes up with the answer to a create in hand. Its
// key is the other's orphan.
func TestStaleWorkerAtCreate(t *testing.T) {
	t.Parallel()
	for name, hold := range map[string]func() (sinchtest.Behaviour, *sinchtest.Held){
		"before it is applied": sinchtest.Hold, "after it was applied": sinchtest.AppliedHold,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t)
			g.project("p1", "api", 89*day)
			do, held := hold()
			g.wantStale(g.stale("access_keys.create", do, held))
			g.namesSentOnce()
		})
	}
}

// TestStaleWorkerAtVerify wakes up with a new key that works; it must not
// publish it over the other's.
func TestStaleWorkerAtVerify(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.project("p1", "api", 89*day)
	do, held := sinchtest.Hold()
	g.wantStale(g.stale("token.exchange", do, held))
}

// TestStaleWorkerAtDelete wakes up in its last look at a key that it is about
// to delete, with nothing else to commit before. What it wanted to do, the
// other process has done.
func TestStaleWorkerAtDelete(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	old := superseded(g)
	do, held := sinchtest.Hold()
	g.sim.Fault(sinchtest.Fault{Operation: "access_keys.list", Project: "p1", After: 1, Times: 1, Do: do})
	frozen := g.runner(overlap(lap))
	done := g.begin(t.Context(), frozen, jobs.Order{Projects: []string{"p1"}})
	g.arrives(held)
	g.take("p1")
	since := len(g.sim.Requests())
	held.Release()
	r := <-done
	if r.ExitCode() != jobs.ExitFailed || r.Retired != 0 || len(r.Results) != 1 || !strings.Contains(string(r.Results[0].Error), "the next run goes on") {
		t.Errorf("the stale run: exit code %d, %+v", r.ExitCode(), r.Results)
	}
	for _, q := range g.sim.Requests()[since:] {
		if q.Operation == "access_keys.delete" {
			t.Errorf("the stale worker sent %s %s", q.Method, q.Path)
		}
	}
	if n := len(g.events(audit.Filter{Type: audit.LeaseLost, Project: "p1"})); n == 0 {
		t.Error("lease.lost is not in the log")
	}
	g.expire("p1")
	if res := g.only(g.run(jobs.Order{Projects: []string{"p1"}}, overlap(lap)), jobs.Retired); string(res.OldKeyID) != old {
		t.Errorf("with a lease of its own the next run came to %+v", res)
	}
}

// TestLeaseThatCannotBeRenewedEndsTheWork: the worker itself notices, while
// the call is still under way.
func TestLeaseThatCannotBeRenewedEndsTheWork(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.project("p1", "api", 89*day)
	do, held := sinchtest.Hold()
	defer held.Release()
	g.sim.Fault(sinchtest.Fault{Operation: "access_keys.create", Do: do})
	g.tune = func(c *sinch.Config) { c.Timeout = time.Minute }
	runner := g.runner(func(c *jobs.Config) { c.Lease = 3 * time.Second })
	begun := time.Now()
	done := g.begin(t.Context(), runner, jobs.Order{Projects: []string{"p1"}})
	<-held.Arrived()
	if _, err := g.pool.Exec(t.Context(), `UPDATE rotator.project SET fence = fence + 1 WHERE id = 'p1'`); err != nil {
		t.Fatal(err)
	}
	r := <-done
	g.wantExit(r, jobs.ExitFailed)
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("the work went on for %s", took)
	}
	if res := g.only(r, jobs.Failed); !strings.Contains(string(res.Error), "lease") {
		t.Errorf("result %+v", res)
	}
	if n := len(g.events(audit.Filter{Type: audit.LeaseLost, Project: "p1"})); n == 0 {
		t.Error("lease.lost is not in the log")
	}
}
