package jobs_test

import (
	"context"
	"slices"
	"strings"
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

// TestOwnKeyStaysWhileAnotherProcessUsesIt: the old own key goes only when no
// live process authenticates with it.
func TestOwnKeyStaysWhileAnotherProcessUsesIt(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	other, store := uuid.New(), state.New(g.pool)
	if _, err := store.Beat(t.Context(), other, "other", g.own.KeyID, time.Minute); err != nil {
		t.Fatal(err)
	}
	r := g.run(force(parent), overlap(0))
	g.wantExit(r, jobs.ExitRefused)
	if r.Rotated != 1 || r.Refused != 1 || !g.sim.Works(g.own.KeyID, g.own.Secret) {
		t.Fatalf("results %+v", r.Results)
	}
	if err := store.Leave(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	g.only(g.run(jobs.Order{}, overlap(0)), jobs.Retired)
	if got := g.listed(parent); !slices.Equal(got, []string{g.consistent(parent, "rotator")}) {
		t.Errorf("the parent holds %v", got)
	}
}

// TestOwnKeyIsTheLastOfARun: nothing is created or deleted after rotator's own
// key has changed.
func TestOwnKeyIsTheLastOfARun(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	for _, id := range []string{"aaa", "ooo", "zzz"} { // before and after "parent"
		g.project(id, "api", 89*day)
	}
	g.sim.AddKey(parent, "webhooks", time.Now().Add(-89*day))
	r := g.run(jobs.Order{Reason: "test", Request: rotation.Request{Force: true}})
	g.wantExit(r, jobs.ExitConverged)
	if r.Rotated != 5 {
		t.Fatalf("results %+v", r.Results)
	}
	var order []string
	for _, e := range g.events(audit.Filter{Type: audit.RotationPublished}) {
		order = append(order, e.Project+"/"+e.Credential)
	}
	if order[4] != parent+"/rotator" {
		t.Errorf("published in the order %v", order)
	}
}

// TestOwnKeyThatVanishedIsReplaced: Vault names an own key that somebody has
// deleted. With a bootstrap key that works, rotator heals itself.
func TestOwnKeyThatVanishedIsReplaced(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.run(force(parent))
	gone := g.consistent(parent, "rotator")
	g.sim.RemoveKey(gone)
	runner := g.runner()
	r, err := runner.Run(t.Context(), jobs.Order{Trigger: rotation.Manual})
	if err != nil {
		t.Fatalf("the bootstrap key works, and yet: %v", err)
	}
	if now := g.consistent(parent, "rotator"); r.Rotated != 1 || now == gone || runner.Identity.KeyID() != now {
		t.Errorf("Vault names %s, the process uses %s; results %+v", now, runner.Identity.KeyID(), r.Results)
	}
}

// TestStopFinishesTheKeyInHand: after a stop no further key is begun, and the
// one in hand is brought to its end.
func TestStopFinishesTheKeyInHand(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	for _, id := range []string{"p1", "p2", "p3"} {
		g.project(id, "api", 89*day)
	}
	do, held := sinchtest.AppliedHold()
	g.sim.Fault(sinchtest.Fault{Operation: "access_keys.create", Times: 1, Do: do})
	runner := g.runner(func(c *jobs.Config) { c.Concurrency, c.Grace = 1, 20*time.Second })
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := g.begin(ctx, runner, jobs.Order{})
	<-held.Arrived()
	stop()
	held.Release()
	r := <-done
	if r.Rotated != 1 || g.sent("access_keys.create") != 1 {
		t.Errorf("%d creates sent, results %+v", g.sent("access_keys.create"), r.Results)
	}
	if r := g.run(jobs.Order{}); r.Rotated != 2 || r.ExitCode() != jobs.ExitConverged {
		t.Errorf("the next run: %+v", r.Results)
	}
}

// TestStopAtOnceIsSettledByTheNextRun: the grace runs out with a create in
// hand. Its key is found and deleted, and a fresh one takes its place.
func TestStopAtOnceIsSettledByTheNextRun(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	old := g.project("p1", "api", 89*day)
	do, held := sinchtest.AppliedHold()
	defer held.Release()
	g.sim.Fault(sinchtest.Fault{Operation: "access_keys.create", Times: 1, Do: do})
	g.tune = func(c *sinch.Config) { c.Timeout = time.Minute }
	runner := g.runner(func(c *jobs.Config) { c.Grace = 0 })
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		r, err := runner.Run(ctx, jobs.Order{Trigger: rotation.Manual})
		if err == nil && r.Rotated != 0 {
			t.Errorf("results %+v", r.Results)
		}
	}()
	<-held.Arrived()
	stop()
	<-done
	r := g.run(jobs.Order{})
	if r.Rotated != 1 || r.OrphansDeleted != 1 {
		t.Errorf("the next run: %+v", r.Results)
	}
	if failed := g.events(audit.Filter{Type: audit.RotationFailed}); len(failed) != 1 || failed[0].Rotation == "" || failed[0].Error == "" {
		t.Errorf("the log tells of the end of the rotation that was cut off in %+v", failed)
	}
	if got := g.listed("p1"); len(got) != 2 || !slices.Contains(got, old.KeyID) || !slices.Contains(got, g.consistent("p1", "api")) {
		t.Errorf("listed %v", got)
	}
	g.namesSentOnce()
}

// TestStopBeforeAKeyIsInHand: a stop that cuts the very first look off is not
// the failure of a dependency; the work is left undone.
func TestStopBeforeAKeyIsInHand(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.project("p1", "api", 89*day)
	do, held := sinchtest.Hold()
	defer held.Release()
	g.sim.Fault(sinchtest.Fault{Operation: "access_keys.list", Project: "p1", Times: 1, Do: do})
	g.tune = func(c *sinch.Config) { c.Timeout = time.Minute }
	runner := g.runner(func(c *jobs.Config) { c.Grace, c.Concurrency = 0, 1 })
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { <-held.Arrived(); stop() }()
	r, err := runner.Run(ctx, jobs.Order{Trigger: rotation.Manual, Projects: []string{"p1"}})
	if err != nil {
		t.Fatal(err)
	}
	g.wantExit(r, jobs.ExitRefused)
	if res := g.only(r, jobs.Skipped); !strings.Contains(string(res.Error), "the next run goes on") {
		t.Errorf("result %+v", res)
	}
	held.Release()
	g.only(g.run(jobs.Order{Projects: []string{"p1"}}), jobs.Rotated)
}
