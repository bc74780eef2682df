package jobs_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/jobs"
	"rotator/internal/rotation"
	"rotator/internal/sinch"
	"rotator/internal/sinch/sinchtest"
)

// lap is an overlap that a test can wait for.
const lap = time.Second

// force is an order to rotate everything in a project, due or not.
func force(project string) jobs.Order {
	return jobs.Order{Projects: []string{project}, Reason: "test", Request: rotation.Request{Force: true}}
}

func TestForeignVaultPathIsNeverTouched(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	old := g.project("p1", "api", 89*day)
	g.project("p2", "api", 89*day)
	theirs := map[string]any{"password": "theirs", "key_id": "k"}
	kv := g.vault.Client(t).KVv2("secret")
	if _, err := kv.Put(t.Context(), g.prefix+"/p1/api", theirs); err != nil {
		t.Fatal(err)
	}
	r := g.run(jobs.Order{})
	g.wantExit(r, jobs.ExitRefused)
	if got := actions(r); got["p1/api"] != jobs.Refused || got["p2/api"] != jobs.Rotated {
		t.Errorf("results %+v", r.Results)
	}
	s, err := kv.Get(t.Context(), g.prefix+"/p1/api")
	if err != nil || s.VersionMetadata.Version != 1 || len(s.CustomMetadata) != 0 {
		t.Fatalf("the path was changed: %+v, %v", s, err)
	}
	if diff := cmp.Diff(theirs, s.Data); diff != "" {
		t.Error(diff)
	}
	if got := g.listed("p1"); !slices.Equal(got, []string{old.KeyID}) {
		t.Errorf("p1 holds %v: something was created or deleted", got)
	}
}

// TestRolledBackVaultIsRight: a person rolls Vault back to the previous key
// within the overlap. That key is current again and stays.
func TestRolledBackVaultIsRight(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.project("p1", "api", 89*day)
	g.run(force("p1"), overlap(0))
	first := g.consistent("p1", "api")
	g.run(force("p1"), overlap(lap))
	second := g.consistent("p1", "api")
	if _, err := g.vault.Client(t).KVv2("secret").Rollback(t.Context(), g.prefix+"/p1/api", 1); err != nil {
		t.Fatal(err)
	}
	overlapped(lap)
	r := g.run(jobs.Order{}, overlap(lap))
	g.wantExit(r, jobs.ExitConverged)
	if got := g.consistent("p1", "api"); got != first {
		t.Errorf("Vault names %s, want %s, to which it was rolled back", got, first)
	}
	if got := g.listed("p1"); !slices.Equal(got, []string{first}) {
		t.Errorf("listed %v, want only %s: the overlap of %s ran from the rollback", got, first, second)
	}
}

// TestRollbackRunsAnOverlapOfItsOwn: the key that was rolled back from is not
// deleted at once, since consumers may have read it.
func TestRollbackRunsAnOverlapOfItsOwn(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.project("p1", "api", 89*day)
	g.run(force("p1"), overlap(0))
	g.run(force("p1"), overlap(time.Hour))
	if _, err := g.vault.Client(t).KVv2("secret").Rollback(t.Context(), g.prefix+"/p1/api", 1); err != nil {
		t.Fatal(err)
	}
	if r := g.run(jobs.Order{}, overlap(time.Hour)); len(r.Results) != 0 || len(g.listed("p1")) != 2 {
		t.Errorf("right after the rollback: %+v, listed %v", r.Results, g.listed("p1"))
	}
}

// TestIncompleteListingDeletesNothing: the list lacks a third key, so that the
// superseded one and its successor are both in it, and nothing else stands
// against the deletion.
func TestIncompleteListingDeletesNothing(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.project("p1", "api", 89*day)
	for _, name := range []string{"b", "c", "d", "e", "f"} {
		g.sim.AddKey("p1", name, time.Now())
	}
	g.run(jobs.Order{}, overlap(lap))
	overlapped(lap)
	heal := g.sim.Fault(sinchtest.Fault{Operation: "access_keys.list", Project: "p1", Do: sinchtest.DropItems(1)})
	r := g.run(jobs.Order{}, overlap(lap))
	g.wantExit(r, jobs.ExitRefused)
	if res := g.only(r, jobs.Refused); !strings.Contains(string(res.Error), "list") || g.sent("access_keys.delete") != 0 {
		t.Fatalf("a key was deleted on the word of an incomplete listing: %+v", r.Results)
	}
	heal()
	g.only(g.run(jobs.Order{}, overlap(lap)), jobs.Retired)
	g.consistent("p1", "api")
}

func TestClocksThatDisagreeDeleteNothing(t *testing.T) {
	t.Parallel()
	for name, skew := range map[string]func(*rig) func(*jobs.Config){
		"Sinch's": func(g *rig) func(*jobs.Config) {
			g.sim.SetClockSkew(2 * time.Minute)
			return func(*jobs.Config) {}
		},
		"this host's": func(*rig) func(*jobs.Config) {
			return func(c *jobs.Config) { c.Now = func() time.Time { return time.Now().Add(-2 * time.Minute) } }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t)
			g.project("p1", "api", 89*day)
			g.run(jobs.Order{}, overlap(lap))
			overlapped(lap)
			edit := skew(g)
			r := g.run(jobs.Order{}, overlap(lap), edit)
			g.wantExit(r, jobs.ExitRefused)
			if res := g.only(r, jobs.Refused); !strings.Contains(string(res.Error), "clock") {
				t.Errorf("result %+v", res)
			}
			if g.sent("access_keys.delete") != 0 {
				t.Error("a delete was sent")
			}
		})
	}
}

func TestAdoptKeepDeletesNoPersonsKey(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	old := g.project("p1", "api", 89*day)
	keep := func(c *jobs.Config) { c.Policy.Adopt = rotation.AdoptKeep }
	g.run(jobs.Order{}, overlap(0), keep)
	g.run(force("p1"), overlap(0), keep) // deletes rotator's own first key, no other
	if got := g.listed("p1"); len(got) != 2 || !slices.Contains(got, old.KeyID) || !slices.Contains(got, g.consistent("p1", "api")) {
		t.Errorf("listed %v, want the person's key %s and the current one", got, old.KeyID)
	}
}

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
	g.wantExit(g.run(jobs.Order{}, overlap(lap)), jobs.ExitConverged)
	overlapped(lap)
	r = g.run(jobs.Order{}, overlap(lap), func(c *jobs.Config) { c.MaxDeletions = 0 })
	g.wantExit(r, jobs.ExitRefused)
	if g.sent("access_keys.delete")+r.Retired > 1 { // one may have gone in the run before
		t.Errorf("no deletion: %+v", r.Results)
	}
}

func TestCompromisedCredential(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.project("p1", "api", 89*day)
	g.project("p2", "api", day)
	g.run(jobs.Order{}, overlap(7*day))
	leaked := g.consistent("p1", "api")
	r := g.run(jobs.Order{Projects: []string{"p1"}, Reason: "leaked", Request: rotation.Request{Compromised: true, Credentials: []string{"api"}}})
	g.wantExit(r, jobs.ExitConverged)
	current := g.consistent("p1", "api")
	if got := g.listed("p1"); current == leaked || !slices.Equal(got, []string{current}) {
		t.Errorf("listed %v, want only the new key %s: older ones go too", got, current)
	}
	if r.Rotated != 1 || r.Retired != 2 || r.Projects != 1 {
		t.Errorf("results %+v", r.Results)
	}
}

func TestCompromisedSupersededKeyIsOnlyRetired(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	leaked := g.project("p1", "api", 89*day)
	g.run(jobs.Order{})
	current := g.consistent("p1", "api")
	r := g.run(jobs.Order{Reason: "leaked", Request: rotation.Request{Compromised: true, Key: leaked.KeyID}})
	g.wantExit(r, jobs.ExitConverged)
	if res := g.only(r, jobs.Retired); string(res.OldKeyID) != leaked.KeyID {
		t.Errorf("result %+v", res)
	}
	if got := g.listed("p1"); !slices.Equal(got, []string{current}) || g.consistent("p1", "api") != current {
		t.Errorf("listed %v, want %s", got, current)
	}
}

func TestOutOfScopeIsUntouched(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.project("p1", "api", 89*day)
	other := g.sim.AddKey("p1", "break-glass", time.Now().Add(-400*day))
	g.project("p2", "api", 89*day)
	scope := func(c *jobs.Config) {
		var err error
		if c.Scope.Include, err = rotation.ParsePatterns("p1/api"); err != nil {
			t.Error(err)
		}
	}
	r := g.run(jobs.Order{}, overlap(0), scope)
	g.wantExit(r, jobs.ExitConverged)
	if r.Rotated != 1 || !slices.Contains(g.listed("p1"), other.KeyID) || !g.sim.Works(other.KeyID, other.Secret) {
		t.Errorf("results %+v", r.Results)
	}
	for _, q := range g.sim.Requests() {
		if q.Method != "GET" && q.Operation != "token.exchange" && (q.Project != "p1" || q.Key == other.KeyID) {
			t.Errorf("%s %s was sent", q.Method, q.Path)
		}
	}
}

func TestBasicAuthentication(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.tune = func(c *sinch.Config) { c.AuthMethod = "basic" }
	old := g.project("p1", "api", 89*day)
	r := g.run(jobs.Order{}, overlap(0))
	g.wantExit(r, jobs.ExitConverged)
	if got := g.listed("p1"); slices.Contains(got, old.KeyID) || !slices.Equal(got, []string{g.consistent("p1", "api")}) {
		t.Errorf("listed %v", got)
	}
	for _, q := range g.sim.Requests() {
		if q.Operation == "token.exchange" && q.Key == g.own.KeyID {
			t.Error("rotator's own key was exchanged for a token")
		}
	}
}

func TestSubprojectsOffIsTheParentAlone(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.tune = func(c *sinch.Config) { c.Subprojects = "off" }
	g.project("p1", "api", 89*day)
	g.sim.AddKey(parent, "api", time.Now().Add(-89*day))
	r := g.run(jobs.Order{})
	g.wantExit(r, jobs.ExitConverged)
	if g.only(r, jobs.Rotated); g.sent("subprojects.list") != 0 {
		t.Error("the subprojects were asked for")
	}
	g.consistent(parent, "api")
}

// TestSubprojectsRefused: the parent and what is known already are worked on.
func TestSubprojectsRefused(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.project("p1", "api", day)
	g.sim.AddKey(parent, "api", time.Now().Add(-89*day))
	g.run(jobs.Order{}, func(c *jobs.Config) { c.MaxRotations = 0 }) // p1 is known from now on
	g.sim.AddKey("p1", "web", time.Now().Add(-89*day))
	g.sim.Refuse("v1", 403)
	g.sim.Refuse("v1alpha1", 404)
	r := g.run(jobs.Order{})
	g.wantExit(r, jobs.ExitFailed)
	if got := actions(r); got["p1/web"] != jobs.Rotated || got[parent+"/api"] != jobs.Rotated || r.Failed != 1 {
		t.Errorf("results %+v", r.Results)
	}
	for _, res := range r.Results {
		if res.Action == jobs.Failed && !strings.Contains(string(res.Error), "SINCH_SUBPROJECTS=off") {
			t.Errorf("the remedy is missing: %+v", res)
		}
	}
}

// TestNothingIsSentWithoutALog: no intent, no mutation.
func TestNothingIsSentWithoutALog(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.project("p1", "api", 89*day)
	runner := g.runner()
	if err := g.log.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r, err := runner.Run(t.Context(), jobs.Order{Trigger: rotation.Manual}); err == nil {
		t.Errorf("the run went on: %+v", r)
	}
	for _, q := range g.sim.Requests() {
		if q.Method != "GET" && q.Operation != "token.exchange" {
			t.Errorf("%s %s was sent", q.Method, q.Path)
		}
	}
}
