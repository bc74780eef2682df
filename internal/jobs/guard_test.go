package jobs_test

import (
	"fmt"
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

// TestKeyThatVaultNamesStays: the overlap of a key is over, and without more
// it is deleted. If a person has rolled Vault back to it meanwhile, it is
// current again and stays, and the key that was rolled back from goes.
func TestKeyThatVaultNamesStays(t *testing.T) {
	t.Parallel()
	for _, rolledBack := range []bool{false, true} {
		t.Run(fmt.Sprintf("rolled back=%t", rolledBack), func(t *testing.T) {
			t.Parallel()
			g := newRig(t)
			g.project("p1", "api", 89*day)
			g.run(force("p1"), overlap(0))
			first := g.consistent("p1", "api")
			g.run(force("p1"), overlap(lap))
			stays := g.consistent("p1", "api")
			if rolledBack {
				if _, err := g.vault.Client(t).KVv2("secret").Rollback(t.Context(), g.prefix+"/p1/api", 1); err != nil {
					t.Fatal(err)
				}
				stays = first
			}
			overlapped(lap)
			r := g.run(jobs.Order{}, overlap(lap))
			g.wantExit(r, jobs.ExitConverged)
			if got := g.consistent("p1", "api"); got != stays {
				t.Errorf("Vault names %s, want %s", got, stays)
			}
			if got := g.listed("p1"); !slices.Equal(got, []string{stays}) {
				t.Errorf("listed %v, want only %s", got, stays)
			}
		})
	}
}

// TestKeyPutBackDuringItsDeletion: a person writes the old key to Vault's path
// again while it is being deleted, after the decision and before the request.
func TestKeyPutBackDuringItsDeletion(t *testing.T) {
	t.Parallel()
	for _, putBack := range []bool{false, true} {
		t.Run(fmt.Sprintf("put back=%t", putBack), func(t *testing.T) {
			t.Parallel()
			g := newRig(t)
			old := g.project("p1", "api", 10*day).KeyID
			g.run(force("p1"), overlap(lap))
			overlapped(lap)
			do, held := sinchtest.Hold()
			defer held.Release()
			g.sim.Fault(sinchtest.Fault{Operation: "access_keys.list", Project: "p1", After: 1, Times: 1, Do: do})
			runner := g.runner(overlap(lap))
			done := g.begin(t.Context(), runner, jobs.Order{})
			g.arrives(held) // with the list of the last look
			if putBack {
				text, _ := g.sim.Secret(old)
				_, err := g.vault.Client(t).KVv2("secret").Put(t.Context(), g.prefix+"/p1/api", map[string]any{"project_id": "p1", "key_id": old, "key_secret": text})
				if err != nil {
					t.Error(err)
				}
			}
			held.Release()
			r := <-done
			if n := g.sent("access_keys.delete"); putBack == (n > 0) || putBack == (r.Retired == 1) {
				t.Errorf("%d deletes were sent: %+v", n, r.Results)
			}
			if now := g.consistent("p1", "api"); putBack != (now == old) {
				t.Errorf("Vault names %s, the old key was %s", now, old)
			}
		})
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

// TestShrunkenListIsNoDrift: the list lacks the key that Vault names, which
// exists. It is not replaced, and the one that it superseded is not deleted.
func TestShrunkenListIsNoDrift(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	old := superseded(g)
	current, creates := g.consistent("p1", "api"), g.sent("access_keys.create")
	heal := g.sim.Fault(sinchtest.Fault{Operation: "access_keys.list", Project: "p1", Do: sinchtest.DropItems(5)})
	r := g.run(jobs.Order{}, overlap(lap))
	g.wantExit(r, jobs.ExitFailed)
	if res := g.only(r, jobs.Skipped); string(res.OldKeyID) != current || !strings.Contains(string(res.Error), "run again") {
		t.Errorf("result %+v", res)
	}
	if g.sent("access_keys.create") != creates || g.sent("access_keys.delete") != 0 {
		t.Error("a key was created or deleted on the word of an incomplete listing")
	}
	heal()
	if res := g.only(g.run(jobs.Order{}, overlap(lap)), jobs.Retired); string(res.OldKeyID) != old || g.consistent("p1", "api") != current {
		t.Errorf("the run on the whole list: %+v", res)
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
