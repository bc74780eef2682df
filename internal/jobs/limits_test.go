package jobs_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"rotator/internal/audit"
	"rotator/internal/jobs"
	"rotator/internal/sinch/sinchtest"
)

// refused returns the log's refusals by a guard, oldest first.
func (g *rig) refused(guard string) []audit.Event {
	g.t.Helper()
	return slices.DeleteFunc(g.events(audit.Filter{Type: audit.GuardRefused}), func(e audit.Event) bool {
		return !strings.HasPrefix(e.Reason, guard+": ")
	})
}

// TestLimitsOfARun: what a limit leaves undone is skipped and shows in the
// exit code. The log tells of it once a run, however many projects it hits.
func TestLimitsOfARun(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	for _, id := range []string{"p1", "p2", "p3"} {
		g.project(id, "api", 89*day)
	}
	r := g.run(jobs.Order{}, overlap(lap), func(c *jobs.Config) { c.MaxRotations = 1 })
	g.wantExit(r, jobs.ExitRefused)
	if r.Rotated != 1 || r.Skipped != 2 || g.sent("access_keys.create") != 1 {
		t.Errorf("at most one rotation: %+v", r.Results)
	}
	if told := g.refused("max_rotations"); len(told) != 1 || !strings.Contains(told[0].Reason, "ROTATOR_MAX_ROTATIONS") || told[0].Project == "" {
		t.Errorf("the log's refusals: %+v", told)
	}
	r = g.run(jobs.Order{}, overlap(time.Hour))
	g.wantExit(r, jobs.ExitConverged)
	if r.Rotated != 2 || len(g.refused("max_rotations")) != 1 {
		t.Errorf("without the limit: %+v", r.Results)
	}
}

func TestNoDeletionsInARun(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	ids := []string{"p1", "p2", "p3"}
	for _, id := range ids {
		g.project(id, "api", 89*day)
	}
	r := g.run(jobs.Order{}, overlap(0), func(c *jobs.Config) { c.MaxDeletions = 1 })
	g.wantExit(r, jobs.ExitRefused)
	if r.Rotated != 3 || r.Retired != 1 || g.sent("access_keys.delete") != 1 {
		t.Errorf("at most one deletion: %+v", r.Results)
	}
	if told := g.refused("max_deletions"); len(told) != 1 || !strings.Contains(told[0].Reason, "ROTATOR_MAX_DELETIONS") || told[0].Key == "" {
		t.Errorf("the log's refusals: %+v", told)
	}
	r = g.run(jobs.Order{}, overlap(0))
	g.wantExit(r, jobs.ExitConverged)
	if r.Retired != 2 || len(g.refused("max_deletions")) != 1 {
		t.Errorf("without the limit: %+v", r.Results)
	}
}

// fill makes a project that holds as many keys as it may, of which the first
// two are due.
func (g *rig) fill() {
	g.project("full", "api", 89*day)
	g.sim.AddKey("full", "web", time.Now().Add(-89*day))
	for _, name := range strings.Split("cdefghij", "") {
		g.sim.AddKey("full", name, time.Now())
	}
}

// TestFullProjectIsSkippedAloud: the log tells of it once, with the way out.
// Where one key goes, a rotation takes its slot.
func TestFullProjectIsSkippedAloud(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.fill()
	r := g.run(jobs.Order{})
	g.wantExit(r, jobs.ExitRefused)
	got := actions(r)
	if got["full/api"] != jobs.Skipped || got["full/web"] != jobs.Skipped || len(r.Results) != 2 {
		t.Errorf("results %+v", r.Results)
	}
	if n := g.sent("access_keys.create"); n != 0 || len(g.listed("full")) != 10 {
		t.Errorf("%d creates were sent", n)
	}
	if len(r.Warnings) == 0 {
		t.Error("the run does not warn of a project whose rotations cannot fit")
	}
	told := g.refused("full_project")
	if len(told) != 1 || told[0].Project != "full" || !strings.Contains(told[0].Reason, "no free slot") || !strings.Contains(told[0].Reason, "move credentials to another subproject") {
		t.Errorf("the log's refusals: %+v", told)
	}
	for _, k := range g.sim.Keys("full") {
		if k.DisplayName == "c" {
			g.sim.RemoveKey(k.ID)
		}
	}
	if r := g.run(jobs.Order{}); r.Rotated != 1 || r.Skipped != 1 {
		t.Errorf("with one free slot: %+v", r.Results)
	}
}

// TestCompromiseInAFullProjectIsRefused: it cannot wait for a slot, so it names
// the keys that hold them.
func TestCompromiseInAFullProjectIsRefused(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.fill()
	keys := g.sim.Keys("full")
	leaked := keys[slices.IndexFunc(keys, func(k sinchtest.Key) bool { return k.DisplayName == "api" })].ID
	r := g.run(compromised(leaked))
	g.wantExit(r, jobs.ExitRefused)
	res := g.only(r, jobs.Refused)
	for _, k := range keys {
		if !strings.Contains(string(res.Error), k.ID) {
			t.Errorf("the refusal does not name key %s: %s", k.ID, res.Error)
		}
	}
	if told := g.refused("full_project"); len(told) != 1 || told[0].Key != leaked {
		t.Errorf("the log's refusals: %+v", told)
	}
	g.sim.RemoveKey(keys[slices.IndexFunc(keys, func(k sinchtest.Key) bool { return k.DisplayName == "c" })].ID)
	r = g.run(compromised(leaked))
	g.wantExit(r, jobs.ExitConverged)
	if text, _ := g.sim.Secret(leaked); r.Rotated != 1 || g.sim.Works(leaked, text) {
		t.Errorf("with one free slot: %+v", r.Results)
	}
}
