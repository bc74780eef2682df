package jobs_test

import (
	"slices"
	"testing"
	"time"

	"rotator/internal/audit"
	"rotator/internal/jobs"
	"rotator/internal/rotation"
)

func actions(r *jobs.Report) map[string]jobs.Action {
	out := map[string]jobs.Action{}
	for _, res := range r.Results {
		out[res.ProjectID+"/"+res.Credential] = res.Action
	}
	return out
}

func TestOldKeyIsReplacedAndGoesAfterItsOverlap(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	old := g.project("p1", "billing-api", 89*day)
	g.project("p2", "billing-api", 10*day)

	first := g.run(jobs.Order{}, overlap(2*time.Second))
	if first.ExitCode() != 0 || first.Rotated != 1 {
		t.Fatalf("first run: exit %d, %d rotated, results %+v", first.ExitCode(), first.Rotated, first.Results)
	}
	current := g.consistent("p1", "billing-api")
	if current == old.KeyID {
		t.Fatal("Vault still names the old key")
	}
	if !slices.Contains(g.listed("p1"), old.KeyID) {
		t.Fatal("the old key was deleted before its overlap had passed")
	}
	time.Sleep(2100 * time.Millisecond)
	second := g.run(jobs.Order{}, overlap(2*time.Second))
	if second.Retired != 1 || second.ExitCode() != 0 {
		t.Fatalf("second run: exit %d, results %+v", second.ExitCode(), second.Results)
	}
	if got := g.listed("p1"); !slices.Equal(got, []string{current}) {
		t.Errorf("keys left: %v, want only %s", got, current)
	}
	if third := g.run(jobs.Order{}, overlap(2*time.Second)); len(third.Results) != 0 {
		t.Errorf("third run had something to do: %+v", third.Results)
	}
	g.consistent("p1", "billing-api")
}

func TestEveryRequestHasARow(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.project("p1", "a", 89*day)
	g.project("p2", "b", 89*day)
	g.run(jobs.Order{}, overlap(0))

	rows := map[string]int{}
	for _, e := range g.events(audit.Filter{Type: audit.APICall}) {
		if e.Phase == audit.Result && e.VaultPath == "" {
			rows[e.Op]++
		}
	}
	seen := map[string]int{}
	for _, r := range g.sim.Requests() {
		seen[r.Operation]++
	}
	for op, n := range seen {
		if rows[op] != n {
			t.Errorf("%s: %d requests, %d rows", op, n, rows[op])
		}
	}
}

func TestMutationsHaveACommittedIntent(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.project("p1", "a", 89*day)
	g.run(jobs.Order{}, overlap(0))

	intents := map[string]bool{}
	n := 0
	for _, e := range g.events(audit.Filter{Type: audit.APICall}) {
		switch {
		case e.Phase == audit.Intent:
			intents[e.Call] = true
		case e.Method != "GET" && e.Op != "token.exchange" && e.Op != "vault.login" && e.Op != "vault.read":
			n++
			if !intents[e.Call] {
				t.Errorf("%s %s has no intent before it", e.Op, e.URL)
			}
		}
	}
	if n < 5 {
		t.Errorf("only %d mutations seen; create, metadata, write, rename, destroy and delete were expected", n)
	}
}

func TestForceRotatesOnlyWhatIsNamed(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.project("p1", "a", day)
	g.project("p2", "a", day)
	r := g.run(jobs.Order{Projects: []string{"p1"}, Reason: "test", Request: rotation.Request{Force: true}})
	if r.Rotated != 1 || actions(r)["p1/a"] != jobs.Rotated || r.Projects != 1 {
		t.Fatalf("results %+v", r.Results)
	}
}

func TestOwnKeyIsRotatedAndUsed(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.project("p1", "a", day)
	runner := g.runner(overlap(0))
	r, err := runner.Run(t.Context(), jobs.Order{
		Trigger: rotation.Manual, Reason: "test", Projects: []string{parent}, Request: rotation.Request{Force: true},
	})
	if err != nil || r.Rotated != 1 {
		t.Fatalf("run: %v, results %+v", err, r.Results)
	}
	if id := g.consistent(parent, "rotator"); runner.Identity.KeyID() != id {
		t.Errorf("the process uses %s, Vault names %s", runner.Identity.KeyID(), id)
	}
	if r, err := runner.Run(t.Context(), jobs.Order{Trigger: rotation.Manual}); err != nil || r.ExitCode() != 0 {
		t.Errorf("next run with the new key: %v, %+v", err, r)
	}
}

// TestLabelsAndDriftLeaveEvents: a label that cannot be read changes nothing,
// is in the results and in the log; a key that vanished leaves an event.
func TestLabelsAndDriftLeaveEvents(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.sim.AddSubproject(parent, "p1", "P1", map[string]string{"rotator.max-age": "next week"})
	g.sim.AddKey("p1", "api", time.Now().Add(-89*day))
	r := g.run(jobs.Order{})
	g.wantExit(r, jobs.ExitConverged)
	if len(r.Results) != 2 || actions(r)["p1/api"] != jobs.Rotated || actions(r)["p1/"] != jobs.Skipped {
		t.Errorf("results %+v", r.Results)
	}
	changed := g.events(audit.Filter{Type: audit.PolicyChanged, Project: "p1"})
	if len(changed) != 1 || changed[0].MaxAgeS != int64((90*day).Seconds()) || changed[0].Reason == "" {
		t.Errorf("policy.changed events: %+v", changed)
	}
	vanished, _ := g.stored("p1", "api")
	g.sim.RemoveKey(vanished)
	g.run(jobs.Order{})
	drift := g.events(audit.Filter{Type: audit.KeyDrift})
	if len(drift) != 1 || drift[0].Key != vanished || drift[0].Credential != "api" {
		t.Errorf("key.drift events: %+v", drift)
	}
	if again := g.events(audit.Filter{Type: audit.PolicyChanged, Project: "p1"}); len(again) != 1 {
		t.Errorf("an unchanged policy was recorded %d times", len(again))
	}
	g.consistent("p1", "api")
}

// TestDueRunComesBackForTheOldKey: the next check of a project is no later
// than the end of the overlap that a rotation has begun.
func TestDueRunComesBackForTheOldKey(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.project("p1", "api", 89*day)
	g.run(jobs.Order{}, overlap(5*time.Second))
	if r := g.run(jobs.Order{Due: true}, overlap(5*time.Second)); r.Retired != 0 {
		t.Errorf("retired within the overlap: %+v", r.Results)
	}
	overlapped(5 * time.Second)
	if r := g.run(jobs.Order{Due: true}, overlap(5*time.Second)); r.Retired != 1 {
		t.Errorf("a run over what is due did not come back for the old key: %+v", r.Results)
	}
}
