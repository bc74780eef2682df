package jobs_test

import (
	"fmt"
	"testing"
	"time"

	"rotator/internal/jobs"
	"rotator/internal/sinch"
	"rotator/internal/sinch/sinchtest"
)

// quickVerify gives up on a new key after a second.
func quickVerify(c *sinch.Config) { c.VerifyTimeout = time.Second }

// troubles breaks a project for good, each at another step of the work.
var troubles = []sinchtest.Fault{
	{Operation: "access_keys.list", Do: sinchtest.Status(403)},
	{Operation: "access_keys.create", Do: sinchtest.Status(403)},
	{Operation: "access_keys.list", Do: sinchtest.NotJSON()},
	{Operation: "access_keys.create", Do: sinchtest.AppliedStatus(500)},
}

// starve sets up fifty projects that are broken for good, before twenty
// healthy ones whose keys are due, as is the parent's own; kinds of trouble
// are dealt out in turn.
func starve(t *testing.T, kinds []sinchtest.Fault) *rig {
	t.Helper()
	g := newRig(t)
	g.sim.SetClockSkew(-time.Hour) // else they would be too young to be called broken
	defer g.sim.SetClockSkew(0)
	for i := range 50 {
		f := kinds[i%len(kinds)]
		f.Project = fmt.Sprintf("a-broken-%02d", i)
		g.project(f.Project, "api", 89*day)
		g.sim.Fault(f)
	}
	for i := range 20 {
		g.project(fmt.Sprintf("z-healthy-%02d", i), "api", 89*day)
	}
	g.sim.AddKey(parent, "webhooks", time.Now().Add(-89*day))
	g.sim.AddKey("z-healthy-00", "latecomer", time.Now().Add(-time.Hour))
	return g
}

// served returns after which of the runs every healthy credential was
// rotated; it fails the test if one never was.
func (g *rig) served(runs int, due bool) {
	g.t.Helper()
	at := map[string]int{}
	late := fmt.Sprintf("z-late/%s", "api")
	for n := 1; n <= runs; n++ {
		if n == runs/2 {
			g.project("z-late", "api", 89*day)
		}
		r := g.run(jobs.Order{Due: due}, overlap(time.Hour))
		if r.ExitCode() == jobs.ExitConverged && !due {
			g.t.Errorf("run %d: exit code %d with broken projects in it", n, r.ExitCode())
		}
		for what, action := range actions(r) {
			if action == jobs.Rotated {
				at[what] = n
			}
		}
	}
	for i := range 20 {
		what := fmt.Sprintf("z-healthy-%02d/api", i)
		if at[what] == 0 || at[what] > 7 {
			g.t.Errorf("%s was rotated in run %d of %d", what, at[what], runs)
		}
	}
	if at[late] < runs/2 || at[late] > runs/2+2 {
		g.t.Errorf("a healthy project that came in run %d was rotated in run %d", runs/2, at[late])
	}
	if at[parent+"/webhooks"] == 0 {
		g.t.Errorf("the parent, which is the last of each run, was never served in %d runs", runs)
	}
}

func TestBrokenProjectsStarveNobody(t *testing.T) {
	t.Parallel()
	starve(t, troubles[:1]).served(20, false)
}

func TestBrokenProjectsStarveNobodyOnSchedule(t *testing.T) {
	t.Parallel()
	starve(t, troubles[1:2]).served(20, true)
}

func TestTroubleOfManyKindsStarvesNobody(t *testing.T) {
	t.Parallel()
	starve(t, troubles).served(6, false)
}
