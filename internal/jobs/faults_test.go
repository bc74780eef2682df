package jobs_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"rotator/internal/audit"
	"rotator/internal/jobs"
	"rotator/internal/rotation"
	"rotator/internal/sinch"
	"rotator/internal/sinch/sinchtest"
	"rotator/internal/vault/vaulttest"
)

// namesSentOnce fails the test if two creates carried the same name, which
// must never happen.
func (g *rig) namesSentOnce() {
	g.t.Helper()
	sent := map[string]bool{}
	for _, r := range g.sim.Requests() {
		if r.Operation != "access_keys.create" {
			continue
		}
		if sent[r.DisplayName] {
			g.t.Errorf("a create was sent twice under the name %q", r.DisplayName)
		}
		sent[r.DisplayName] = true
	}
}

// TestCreateFaults: whatever becomes of a create's answer, the next run at the
// latest ends with one new key in Vault beside the old one, and no third.
func TestCreateFaults(t *testing.T) {
	t.Parallel()
	createFaults(t, map[string]createFault{
		"lost":         {sinchtest.Lost(), jobs.Failed},
		"applied-lost": {sinchtest.AppliedLost(), jobs.Failed},
		"500":          {sinchtest.Status(500), jobs.Failed},
		"applied-500":  {sinchtest.AppliedStatus(500), jobs.Failed},
		"applied-503":  {sinchtest.AppliedStatus(503), jobs.Failed},
		"cut":          {sinchtest.CutBody(), jobs.Failed},
		"not-json":     {sinchtest.NotJSON(), jobs.Failed},
		"no-secret":    {sinchtest.EmptyObject(), jobs.Failed},
		"redirect":     {sinchtest.AppliedAnswer(307, "", http.Header{"Location": {"/"}}), jobs.Failed},
		"refused":      {sinchtest.Status(403), jobs.Failed},
		"name-taken":   {sinchtest.Status(409), jobs.Failed},
		"429":          {sinchtest.RateLimited("0"), jobs.Rotated},
	})
}

// TestCreateWithATokenThatEnds is alone: the others' creates would be refused
// with it, before what their faults do to them.
func TestCreateWithATokenThatEnds(t *testing.T) {
	t.Parallel()
	createFaults(t, map[string]createFault{"401": {sinchtest.ExpireTokens(), jobs.Rotated}})
}

// createFault is what becomes of a create, and what the run comes to.
type createFault struct {
	do   sinchtest.Behaviour
	want jobs.Action
}

func createFaults(t *testing.T, faults map[string]createFault) {
	t.Helper()
	g := newRig(t)
	first := map[string]jobs.Action{} // what the first run comes to
	old := map[string]string{}
	exit := jobs.ExitConverged
	for id, f := range faults {
		if f.want == jobs.Failed {
			exit = jobs.ExitFailed
		}
		old[id] = g.project(id, "api", 89*day).KeyID
		g.sim.Fault(sinchtest.Fault{Operation: "access_keys.create", Project: id, Times: 1, Do: f.do})
		first[id] = f.want
	}
	many := func(c *jobs.Config) { c.MaxFailures = 100 }
	r := g.run(jobs.Order{}, many)
	g.wantExit(r, exit)
	for _, res := range r.Results {
		if res.Action != first[res.ProjectID] && (res.Action != jobs.OrphanDeleted || first[res.ProjectID] != jobs.Failed) {
			t.Errorf("first run of %s: %+v, want %s", res.ProjectID, res, first[res.ProjectID])
		}
		if res.Action == jobs.Failed && (res.Tried != rotation.Rotate || res.Step != "create") {
			t.Errorf("%s failed at %s of %s, want create of rotate", res.ProjectID, res.Step, res.Tried)
		}
	}
	g.wantExit(g.run(jobs.Order{}, many), jobs.ExitConverged)
	for id := range first {
		want := []string{old[id], g.consistent(id, "api")}
		slices.Sort(want)
		if got := g.listed(id); !slices.Equal(got, want) {
			t.Errorf("%s holds %v, want the old and the new key %v", id, got, want)
		}
	}
	g.namesSentOnce()
}

// TestLateCreateBecomesAnOrphan: a create that arrives long after it was given
// up must not stay, and not replace the one that followed it.
func TestLateCreateBecomesAnOrphan(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.project("p1", "api", 89*day)
	hold, held := sinchtest.Hold()
	g.sim.Fault(sinchtest.Fault{Operation: "access_keys.create", Times: 1, Do: hold})
	g.tune = func(c *sinch.Config) { c.Timeout = time.Second }
	g.wantExit(g.run(jobs.Order{}), jobs.ExitFailed)
	g.tune = nil
	if r := g.run(jobs.Order{}); r.Rotated != 1 {
		t.Fatalf("the next run: %+v", r.Results)
	}
	current := g.consistent("p1", "api")
	held.Release()
	for deadline := time.Now().Add(5 * time.Second); len(g.listed("p1")) < 3; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the held create did not arrive")
		}
	}
	r := g.run(jobs.Order{})
	g.wantExit(r, jobs.ExitConverged)
	g.only(r, jobs.OrphanDeleted)
	if got := g.consistent("p1", "api"); got != current || len(g.listed("p1")) != 2 {
		t.Errorf("Vault names %s, want %s; listed %v", got, current, g.listed("p1"))
	}
	g.namesSentOnce()
}

// onVault hits requests with the method to one of KV's endpoints of p1's path.
func (g *rig) onVault(endpoint string) func(*http.Request) bool {
	path := "/v1/secret/" + endpoint + "/" + g.prefix + "/p1/api"
	return func(r *http.Request) bool {
		return r.URL.Path == path && (r.Method == http.MethodPut || r.Method == http.MethodPost)
	}
}

func TestVaultFaults(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, endpoint string
		faults         []vaulttest.Fault
		want           jobs.Action // of the run; what is not done then is done by the next
	}{
		{"put not applied", "data", []vaulttest.Fault{vaulttest.NotApplied}, jobs.Rotated},
		{"put unanswered", "data", []vaulttest.Fault{vaulttest.Unanswered}, jobs.Rotated},
		{"put 500", "data", []vaulttest.Fault{vaulttest.InternalError}, jobs.Rotated},
		{"put 502 though applied", "data", []vaulttest.Fault{vaulttest.BadGatewayPage}, jobs.Rotated},
		{"put lost, then unanswered", "data", []vaulttest.Fault{vaulttest.NotApplied, vaulttest.Unanswered}, jobs.Rotated},
		{"put refused for long", "data", []vaulttest.Fault{vaulttest.NotApplied, vaulttest.NotApplied, vaulttest.NotApplied}, jobs.Failed},
		{"metadata unanswered", "metadata", []vaulttest.Fault{vaulttest.Unanswered}, jobs.Failed},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t)
			old := g.project("p1", "api", 89*day)
			g.proxy.Fail(g.onVault(test.endpoint), test.faults...)
			r := g.run(jobs.Order{})
			if len(r.Results) == 0 || r.Results[0].Action != test.want {
				t.Fatalf("results %+v, want %s", r.Results, test.want)
			}
			if !g.sim.Works(old.KeyID, old.Secret) {
				t.Error("the old key is gone")
			}
			g.wantExit(g.run(jobs.Order{}), jobs.ExitConverged)
			if g.consistent("p1", "api") == old.KeyID || len(g.listed("p1")) != 2 {
				t.Errorf("listed %v", g.listed("p1"))
			}
			g.wantWholeLog()
		})
	}
}

// TestDeleteAndRenameFaults: a lost delete is settled by asking, a lost mark
// is no matter.
func TestDeleteAndRenameFaults(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	ids := []string{}
	for id, do := range map[string]sinchtest.Behaviour{
		"lost": sinchtest.Lost(), "applied-lost": sinchtest.AppliedLost(),
		"500": sinchtest.Status(500), "applied-500": sinchtest.AppliedStatus(500), "429": sinchtest.RateLimited("0"),
	} {
		ids = append(ids, id)
		g.project(id, "api", 89*day)
		for _, op := range []string{"access_keys.delete", "access_keys.update"} {
			g.sim.Fault(sinchtest.Fault{Operation: op, Project: id, Times: 2, Do: do})
		}
	}
	r := g.run(jobs.Order{}, overlap(0))
	g.wantExit(r, jobs.ExitConverged)
	if r.Rotated != len(ids) || r.Retired != len(ids) {
		t.Errorf("%d rotated, %d retired of %d: %+v", r.Rotated, r.Retired, len(ids), r.Results)
	}
	for _, id := range ids {
		if got := g.listed(id); !slices.Equal(got, []string{g.consistent(id, "api")}) {
			t.Errorf("%s holds %v", id, got)
		}
	}
	g.wantWholeLog()
}

// TestRenameRefusedForGoodDoesNotFailTheRotation: the mark is for people only.
func TestRenameRefusedForGoodDoesNotFailTheRotation(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.project("p1", "api", 89*day)
	g.sim.Fault(sinchtest.Fault{Operation: "access_keys.update", Do: sinchtest.Status(403)})
	r := g.run(jobs.Order{})
	g.wantExit(r, jobs.ExitConverged)
	g.only(r, jobs.Rotated)
}

// TestKeyThatNeverWorksIsTakenBack: verification fails for good, once for a
// credential that has no path yet, once for one whose path names a key.
func TestKeyThatNeverWorksIsTakenBack(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	fresh := g.project("p1", "api", 89*day)
	g.project("p2", "api", 89*day)
	if r := g.run(jobs.Order{Projects: []string{"p2"}}, overlap(0)); r.Rotated != 1 {
		t.Fatalf("preparing: %+v", r.Results)
	}
	before := g.consistent("p2", "api")
	g.tune = quickVerify
	g.sim.Fault(sinchtest.Fault{Operation: "token.exchange", Project: "p1", Do: sinchtest.Status(401)})
	g.sim.Fault(sinchtest.Fault{Operation: "token.exchange", Project: "p2", Do: sinchtest.Status(401)})
	r := g.run(jobs.Order{Request: rotation.Request{Force: true}, Projects: []string{"p1", "p2"}, Reason: "test"})
	g.wantExit(r, jobs.ExitFailed)
	if r.Failed != 2 || r.OrphansDeleted != 2 || g.sent("access_keys.create") != 3 {
		t.Errorf("results %+v", r.Results)
	}
	if got := g.listed("p1"); !slices.Equal(got, []string{fresh.KeyID}) || !g.sim.Works(fresh.KeyID, fresh.Secret) {
		t.Errorf("p1 holds %v, want the old key, working", got)
	}
	if got := g.listed("p2"); !slices.Equal(got, []string{before}) || g.consistent("p2", "api") != before {
		t.Errorf("p2 holds %v, want %s as before", got, before)
	}
	if n := len(g.events(audit.Filter{Type: audit.RotationPublished, Project: "p1"})); n != 0 {
		t.Errorf("a key that never worked was published %d times", n)
	}
}

// TestOldVersionsAreDestroyedBeforeTheDeletion: while Vault cannot be made
// safe, the key stays; afterwards nobody can roll back to it.
func TestOldVersionsAreDestroyedBeforeTheDeletion(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]vaulttest.Fault{"not applied": vaulttest.NotApplied, "unanswered": vaulttest.Unanswered} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t)
			g.project("p1", "api", 89*day)
			g.run(force("p1"), overlap(0))
			old, deletes := g.consistent("p1", "api"), g.sent("access_keys.delete")
			g.proxy.Fail(g.onVault("destroy"), fault)
			r := g.run(force("p1"), overlap(0))
			g.wantExit(r, jobs.ExitFailed)
			if !slices.ContainsFunc(r.Results, func(res jobs.Result) bool { return res.Tried == rotation.Retire && res.Step == "move_on" }) {
				t.Errorf("no result says that the deletion has failed: %+v", r.Results)
			}
			if g.sent("access_keys.delete") != deletes || !slices.Contains(g.listed("p1"), old) {
				t.Error("the key was deleted although Vault had not said that its versions are destroyed")
			}
			g.only(g.run(jobs.Order{}, overlap(0)), jobs.Retired)
			if v, err := g.vault.Client(t).KVv2("secret").GetVersion(t.Context(), g.prefix+"/p1/api", 1); err == nil && v.Data != nil {
				t.Error("the version that names the deleted key can still be read")
			}
			if got := g.listed("p1"); !slices.Equal(got, []string{g.consistent("p1", "api")}) {
				t.Errorf("listed %v", got)
			}
		})
	}
}

// TestOrphanGoesAfterVaultMovedOn: a deletion that stumbles over a lost answer
// of Vault is done by the next run.
func TestOrphanGoesAfterVaultMovedOn(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]vaulttest.Fault{"not applied": vaulttest.NotApplied, "unanswered": vaulttest.Unanswered} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t)
			old := g.project("p1", "api", 89*day)
			g.sim.Fault(sinchtest.Fault{Operation: "access_keys.create", Times: 1, Do: sinchtest.AppliedLost()})
			g.proxy.Fail(g.onVault("data"), fault)
			g.wantExit(g.run(jobs.Order{}), jobs.ExitFailed)
			g.run(jobs.Order{})
			g.wantExit(g.run(jobs.Order{}), jobs.ExitConverged)
			if got := g.listed("p1"); len(got) != 2 || !slices.Contains(got, old.KeyID) || !slices.Contains(got, g.consistent("p1", "api")) {
				t.Errorf("listed %v", got)
			}
		})
	}
}

func TestDriftIsRotated(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.project("p1", "api", 89*day)
	g.sim.AddKey("p1", "other", time.Now())
	g.run(jobs.Order{}, overlap(0))
	gone := g.consistent("p1", "api")
	g.sim.RemoveKey(gone)
	r := g.run(jobs.Order{}, overlap(0))
	g.wantExit(r, jobs.ExitConverged)
	g.only(r, jobs.Rotated)
	if g.consistent("p1", "api") == gone {
		t.Error("Vault still names the key that vanished")
	}
	planned := g.events(audit.Filter{Type: audit.RotationPlanned, Project: "p1"})
	if last := planned[len(planned)-1]; last.Trigger != string(rotation.Drift) || last.Replaces != gone {
		t.Errorf("planned with trigger %q in place of %q, want drift in place of %s", last.Trigger, last.Replaces, gone)
	}
}
