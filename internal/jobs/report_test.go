package jobs_test

import (
	"encoding/json"
	"testing"

	"rotator/internal/jobs"
	"rotator/internal/vault/vaulttest"
)

func TestExitCode(t *testing.T) {
	t.Parallel()
	failed, refused, rotated := jobs.Result{Action: jobs.Failed}, jobs.Result{Action: jobs.Refused}, jobs.Result{Action: jobs.Rotated}
	for name, test := range map[string]struct {
		report *jobs.Report
		want   int
	}{
		"nothing to do":                  {&jobs.Report{Projects: 3}, jobs.ExitConverged},
		"rotated":                        {&jobs.Report{Projects: 1, Rotated: 1, Results: []jobs.Result{rotated}}, jobs.ExitConverged},
		"a label that changes nothing":   {&jobs.Report{Projects: 1, Results: []jobs.Result{jobs.NoticeResult}}, jobs.ExitConverged},
		"failed":                         {&jobs.Report{Projects: 2, Results: []jobs.Result{failed, rotated}}, jobs.ExitFailed},
		"failed before refused":          {&jobs.Report{Projects: 2, Results: []jobs.Result{refused, failed}}, jobs.ExitFailed},
		"backing off":                    {&jobs.Report{Projects: 1, Results: []jobs.Result{jobs.FailingResult}}, jobs.ExitFailed},
		"no project could be looked at":  {&jobs.Report{Results: []jobs.Result{failed, failed}}, jobs.ExitDown},
		"refused":                        {&jobs.Report{Projects: 1, Results: []jobs.Result{refused}}, jobs.ExitRefused},
		"a limit":                        {&jobs.Report{Projects: 1, Results: []jobs.Result{jobs.UndoneResult}}, jobs.ExitRefused},
		"stopped":                        {&jobs.Report{Projects: 1, Stopped: true}, jobs.ExitRefused},
		"all busy":                       {&jobs.Report{Results: []jobs.Result{jobs.BusyResult}}, jobs.ExitBusy},
		"busy beside what was done":      {&jobs.Report{Projects: 1, Rotated: 1, Results: []jobs.Result{rotated, jobs.BusyResult}}, jobs.ExitConverged},
		"leases lost before any look":    {&jobs.Report{Results: []jobs.Result{jobs.BusyResult, jobs.BusyResult}}, jobs.ExitBusy},
		"failed beside what is busy":     {&jobs.Report{Projects: 1, Results: []jobs.Result{failed, jobs.BusyResult}}, jobs.ExitFailed},
		"a limit beside what is rotated": {&jobs.Report{Projects: 1, Rotated: 1, Results: []jobs.Result{rotated, jobs.UndoneResult}}, jobs.ExitRefused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := test.report.ExitCode(); got != test.want {
				t.Errorf("exit code %d, want %d", got, test.want)
			}
		})
	}
}

func TestResultShowsNullForWhatIsAbsent(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(jobs.Result{ProjectID: "p", Credential: "c", Action: jobs.Rotated, NewKeyID: `k"1`})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"project_id":"p","credential":"c","action":"rotated","rotation_id":null,"old_key_id":null,"new_key_id":"k\"1","vault_path":null,"error":null}`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}

// TestShippedPolicyIsEnough: rotator does all of its work under the Vault
// policy that deploy/vault ships.
func TestShippedPolicyIsEnough(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.login = g.vault.AppRole(t, g.shippedPolicy(), 0)
	g.project("p1", "api", 89*day)
	g.wantExit(g.run(jobs.Order{}, overlap(0)), jobs.ExitConverged)
	g.consistent("p1", "api")
	g.run(force("p1"), overlap(0)) // destroys the version before
	if got := g.listed("p1"); len(got) != 1 {
		t.Errorf("keys left: %v", got)
	}
}

// shippedPolicy is the policy that deploy/vault ships, for the rig's prefixes.
func (g *rig) shippedPolicy() string {
	return vaulttest.ShippedPolicy(g.t, g.prefix, "audit-"+g.prefix, g.prefix)
}
