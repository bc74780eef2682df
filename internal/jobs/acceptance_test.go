package jobs_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/audit"
	"rotator/internal/jobs"
	"rotator/internal/sinch/sinchtest"
)

// line is one credential of a fleet under test, and the key it began with.
type line struct {
	project, credential string
	old                 string
	due                 bool
}

// fleet adds subprojects with one to four keys of mixed ages, and returns
// them with what a 90-day policy with a margin of two days says of each.
func (g *rig) fleet(subprojects int) []line {
	ages := []time.Duration{day, 40 * day, 87 * day, 89 * day, 200 * day}
	var lines []line
	for i := range subprojects {
		id := fmt.Sprintf("sub-%03d", i)
		g.sim.AddSubproject(parent, id, "Customer", nil)
		for j := range i%4 + 1 {
			age := ages[(i*3+j)%len(ages)]
			name := fmt.Sprintf("service-%d", j)
			key := g.sim.AddKey(id, name, time.Now().Add(-age))
			lines = append(lines, line{id, name, key.KeyID, age > 88*day})
		}
	}
	return lines
}

func countDue(lines []line) int {
	n := 0
	for _, l := range lines {
		if l.due {
			n++
		}
	}
	return n
}

// wantRotated fails the test unless every due credential has a new key that
// works, with the secret that Sinch issued for it, the old one is gone, and
// the young ones were left alone.
func (g *rig) wantRotated(lines []line) {
	g.t.Helper()
	listed := map[string]bool{}
	for _, l := range lines {
		for _, k := range g.sim.Keys(l.project) {
			listed[k.ID] = true
			if time.Since(k.CreateTime) > 90*day {
				g.t.Errorf("%s: key %s (%s) has outlived the age limit", l.project, k.ID, k.DisplayName)
			}
		}
	}
	for _, l := range lines {
		if l.due == listed[l.old] {
			g.t.Errorf("%s/%s: due %t, old key still listed %t", l.project, l.credential, l.due, listed[l.old])
		}
		if !l.due {
			continue
		}
		id, text := g.stored(l.project, l.credential)
		issued, known := g.sim.Secret(id)
		if !known || issued != text {
			g.t.Errorf("%s/%s: the secret in Vault is not the one issued for key %q", l.project, l.credential, id)
		}
		if !listed[id] || !g.sim.Works(id, text) {
			g.t.Errorf("%s/%s: the key in Vault, %s, does not work", l.project, l.credential, id)
		}
	}
}

// wantWholeLog fails the test unless the log and what really arrived at Sinch
// and Vault agree: per operation and status, and for each mutation an intent
// that was committed before. It returns the figures.
func (g *rig) wantWholeLog() string {
	g.t.Helper()
	rows, intents := map[string]int{}, map[string]audit.Event{}
	vaultRows, mutations := 0, 0
	for _, e := range g.events(audit.Filter{Type: audit.APICall}) {
		switch {
		case e.Phase == audit.Intent:
			intents[e.Call] = e
			continue
		case strings.HasPrefix(e.Op, "vault."):
			vaultRows++
		default:
			rows[fmt.Sprintf("%s %d", e.Op, e.Status)]++
		}
		if (e.Status == 0) != (e.Outcome == audit.Unknown) {
			g.t.Errorf("%s: status %d with outcome %q", e.Op, e.Status, e.Outcome)
		}
		if !mutating(e.Op) {
			continue
		}
		mutations++
		if before, ok := intents[e.Call]; !ok || before.Op != e.Op || before.Project != e.Project {
			g.t.Errorf("%s %s (call %s) has no intent before it", e.Op, e.URL, e.Call)
		}
		delete(intents, e.Call)
	}
	for _, e := range intents {
		g.t.Errorf("the intent to %s %s has no outcome", e.Op, e.URL)
	}
	if diff := cmp.Diff(g.sim.Counts(), rows); diff != "" {
		g.t.Errorf("requests at Sinch (-) and rows (+) by operation and status:\n%s", diff)
	}
	seen := len(g.proxy.Seen())
	if seen != vaultRows {
		g.t.Errorf("%d requests at Vault, %d rows", seen, vaultRows)
	}
	total := 0
	for _, n := range rows {
		total += n
	}
	return fmt.Sprintf("%d requests to Sinch and %d to Vault, all with a row; %d mutations, all with an intent before them; by operation and status: %v",
		total, seen, mutations, rows)
}

func mutating(operation string) bool {
	return slices.Contains([]string{
		"access_keys.create", "access_keys.update", "access_keys.delete",
		"vault.write", "vault.metadata", "vault.delete", "vault.destroy",
	}, operation)
}

func TestFleetIsRotated(t *testing.T) {
	t.Parallel()
	const lap = 2 * time.Second // long enough for the first run to be over
	g := newRig(t)
	lines := g.fleet(60)
	due := countDue(lines)

	first := g.run(jobs.Order{}, overlap(lap))
	g.wantExit(first, jobs.ExitConverged)
	if first.Projects != 61 || first.Keys != len(lines)+1 || first.Rotated != due || len(first.Results) != due {
		t.Fatalf("first run: %d projects, %d keys, %d rotated, %d results; want 61, %d, %d, %d",
			first.Projects, first.Keys, first.Rotated, len(first.Results), len(lines)+1, due, due)
	}
	for _, l := range lines {
		if !slices.Contains(g.listed(l.project), l.old) {
			t.Errorf("%s/%s: the old key was deleted within its overlap", l.project, l.credential)
		}
	}
	overlapped(lap)
	second := g.run(jobs.Order{}, overlap(lap))
	g.wantExit(second, jobs.ExitConverged)
	if second.Retired != due || len(second.Results) != due {
		t.Fatalf("second run: %d retired, %d results, want %d", second.Retired, len(second.Results), due)
	}
	g.wantRotated(lines)
	t.Logf("60 subprojects, %d keys, %d due: %d rotated, %d retired; %s", len(lines), due, first.Rotated, second.Retired, g.wantWholeLog())
}

// TestFleetIsRotatedThroughFaults: with answers lost, refused and late on the
// way, a few runs end where one would have, and the log tells each attempt.
func TestFleetIsRotatedThroughFaults(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	lines := g.fleet(40)
	for _, f := range []sinchtest.Fault{
		{Operation: "access_keys.list", After: 5, Times: 3, Do: sinchtest.RateLimited("")},
		{Operation: "access_keys.list", After: 20, Times: 2, Do: sinchtest.Lost()},
		{Operation: "access_keys.get", After: 3, Times: 3, Do: sinchtest.Status(500)},
		{Operation: "access_keys.create", After: 1, Times: 2, Do: sinchtest.RateLimited("0")},
		{Operation: "access_keys.create", After: 5, Times: 1, Do: sinchtest.Lost()},
		{Operation: "access_keys.create", After: 8, Times: 2, Do: sinchtest.AppliedLost()},
		{Operation: "access_keys.create", After: 12, Times: 1, Do: sinchtest.AppliedStatus(500)},
		{Operation: "access_keys.update", After: 2, Times: 2, Do: sinchtest.AppliedStatus(500)},
		{Operation: "access_keys.delete", After: 2, Times: 2, Do: sinchtest.AppliedLost()},
		{Operation: "access_keys.delete", After: 7, Times: 2, Do: sinchtest.Lost()},
		{Operation: "token.exchange", After: 4, Times: 4, Do: sinchtest.RateLimited("")},
		{Operation: "access_keys.list", After: 30, Times: 1, Do: sinchtest.ExpireTokens()},
	} {
		g.sim.Fault(f)
	}
	var total jobs.Report
	runs := 0
	for code := -1; code != jobs.ExitConverged; runs++ {
		if runs == 6 {
			t.Fatalf("not converged after %d runs", runs)
		}
		r := g.run(jobs.Order{}, overlap(0))
		code = r.ExitCode()
		total.Rotated += r.Rotated
		total.Retired += r.Retired
		total.OrphansDeleted += r.OrphansDeleted
		total.Failed += r.Failed
	}
	g.wantRotated(lines)
	names, orphans := map[string]bool{}, 0
	for _, r := range g.sim.Requests() {
		if r.Operation == "access_keys.create" && r.Applied && r.Status != http.StatusOK {
			orphans++ // three, unless a fault met a request whose token had just expired
		}
		if r.Operation == "access_keys.create" && names[r.DisplayName] {
			t.Errorf("the name %q was sent twice", r.DisplayName)
		}
		if r.Operation == "access_keys.create" {
			names[r.DisplayName] = true
		}
	}
	if total.Rotated != countDue(lines) || orphans < 2 || total.OrphansDeleted != orphans || total.Failed < 4 {
		t.Errorf("%d rotated of %d due, %d of %d orphans deleted, %d failed; the faults did not do what they should",
			total.Rotated, countDue(lines), total.OrphansDeleted, orphans, total.Failed)
	}
	t.Logf("%d runs: %d rotated, %d retired, %d orphans deleted, %d failed on the way; %s",
		runs, total.Rotated, total.Retired, total.OrphansDeleted, total.Failed, g.wantWholeLog())
}
