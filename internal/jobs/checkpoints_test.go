package jobs_test

import (
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"rotator/internal/audit"
	"rotator/internal/jobs"
	"rotator/internal/postgres/pgtest"
	"rotator/internal/vault"
	"rotator/internal/vault/vaulttest"
)

// restore brings the log back to a size that it once had, as restoring a
// backup does, and returns the function that does it.
func (g *rig) restore() func() {
	g.t.Helper()
	admin := pgtest.Admin(g.t, g.pool)
	run := func(sql string) {
		if _, err := admin.Exec(g.t.Context(), sql); err != nil {
			g.t.Fatalf("%s: %v", sql, err)
		}
	}
	run("create table public.backup as select * from audit.head")
	return func() {
		g.t.Helper()
		for _, do := range []string{"disable", "enable always"} {
			for _, trigger := range []string{"append_only", "append_only_row"} {
				run("alter table audit.event_000000000000000 " + do + " trigger " + trigger)
			}
			if do == "disable" {
				run("delete from audit.event_000000000000000 where seq >= (select size from public.backup)")
			}
		}
		run("update audit.head h set size = b.size, root = b.root, frontier = b.frontier from public.backup b")
	}
}

// TestRunStandsStillBehindItsAnchor: without the guard, the run rotates and
// retires, as it does once a person has rebased the log.
func TestRunStandsStillBehindItsAnchor(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.project("p1", "api", 89*day)
	back := g.restore()
	g.run(jobs.Order{Due: true, Projects: []string{"nobody"}}) // something to anchor
	back()
	g.reopen()
	before := len(g.sim.Requests())
	report := g.run(jobs.Order{}, overlap(0))
	g.wantExit(report, jobs.ExitRefused)
	refused := g.only(report, jobs.Refused)
	if !strings.Contains(string(refused.Error), "log_behind_anchor: ") || !strings.Contains(string(refused.Error), "rotator audit rebase") {
		t.Errorf("refused because of %q", refused.Error)
	}
	if got := g.events(audit.Filter{Type: audit.GuardRefused}); len(got) != 1 || !strings.HasPrefix(got[0].Reason, "log_behind_anchor: ") {
		t.Errorf("guard.refused: %+v", got)
	}
	if n := len(g.sim.Requests()); n != before {
		t.Errorf("%d requests were sent to Sinch", n-before)
	}
	runner := g.runner()
	anchors, ok := runner.Anchors.(*audit.Anchors)
	if !ok {
		t.Fatal("no real anchors")
	}
	if _, err := anchors.Rebase(t.Context(), "op", "restored"); err != nil {
		t.Fatal(err)
	}
	g.wantExit(g.run(jobs.Order{}, overlap(0)), jobs.ExitConverged)
	g.consistent("p1", "api")
	if got := g.listed("p1"); len(got) != 1 {
		t.Errorf("keys left: %v", got)
	}
}

// reopen gives the rig the log of a new process.
func (g *rig) reopen() {
	g.t.Helper()
	log, err := audit.Open(g.t.Context(), audit.Config{Pool: g.pool, Common: audit.Event{Actor: "test", Host: "test"}})
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = log.Close(g.t.Context()) })
	g.log = log
}

// TestRunStopsWhenTheLogIsRestoredUnderIt restores a backup while a run waits
// for Sinch: what comes after must not be changed.
func TestRunStopsWhenTheLogIsRestoredUnderIt(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.project("p1", "api", 89*day)
	g.project("p2", "api", 89*day)
	g.run(jobs.Order{Due: true, Projects: []string{"nobody"}})
	back := g.restore()
	g.run(jobs.Order{Due: true, Projects: []string{"nobody"}}) // anchors more than the backup has
	behind := false
	report := g.run(jobs.Order{}, overlap(0), func(c *jobs.Config) {
		c.Concurrency = 1
		c.Progress = func(int, int) {
			if !behind {
				behind = true
				back()
				_ = c.Anchors.Anchor(t.Context(), true) // as it does every minute
			}
		}
	})
	g.wantExit(report, jobs.ExitRefused)
	if report.Rotated > 1 || report.Refused == 0 {
		t.Errorf("results %+v", report.Results)
	}
	if n := g.sent("access_keys.create"); n != 1 {
		t.Errorf("%d keys were made, one of them before the log was restored", n)
	}
}

// TestOverdueCheckpointsRefuseRotationsAndDeletions lets Vault refuse
// checkpoints for longer than is allowed.
func TestOverdueCheckpointsRefuseRotationsAndDeletions(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.project("p1", "api", 89*day)
	g.run(jobs.Order{Due: true, Projects: []string{"nobody"}})
	var later time.Duration
	clock := func(c *audit.AnchorConfig) { c.Now = func() time.Time { return time.Now().Add(later) } }
	g.anchoring = clock
	g.proxy.Fail(func(r *http.Request) bool {
		return (r.Method == http.MethodPut || r.Method == http.MethodPost) && strings.Contains(r.URL.Path, "/checkpoints/")
	}, slices.Repeat([]vaulttest.Fault{vaulttest.InternalError}, 1000)...)
	g.run(jobs.Order{Due: true, Projects: []string{"nobody"}}) // its end stands without a checkpoint
	g.wantExit(g.run(jobs.Order{}, overlap(0)), jobs.ExitConverged)
	g.project("p2", "api", 89*day)
	later = 61 * time.Minute
	refused := g.only(g.run(jobs.Order{}, overlap(0)), jobs.Refused)
	if !strings.HasPrefix(string(refused.Error), "checkpoint_overdue: ") || !strings.Contains(string(refused.Error), "AUDIT_CHECKPOINT_MAX_AGE") {
		t.Errorf("refused because of %q", refused.Error)
	}
	g.proxy.Fail(nil)
	g.wantExit(g.run(jobs.Order{}, overlap(0)), jobs.ExitConverged)
	g.consistent("p2", "api")
}

// TestSignerMovesToTransit changes the signer from a key in KV to one in Vault
// Transit, and that to its next version, under the shipped policy: whoever has
// pinned the first key trusts the last checkpoint.
func TestSignerMovesToTransit(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.login = g.vault.AppRole(t, g.shippedPolicy(), 0)
	admin := g.vault.Client(t).Logical()
	write := func(path string, fields map[string]any) {
		if _, err := admin.WriteWithContext(t.Context(), path, fields); err != nil {
			t.Fatal(err)
		}
	}
	archive := func(pins ...string) (*audit.Archive, []string) {
		documents, err := g.open(&jobs.Recorder{Log: g.log, Logger: slog.New(slog.DiscardHandler)}).Documents("audit-" + g.prefix)
		if err != nil {
			t.Fatal(err)
		}
		keys, err := audit.LoadKeyring(t.Context(), jobs.AuditStore(documents), pins...)
		if err != nil {
			t.Fatal(err)
		}
		return &audit.Archive{Store: jobs.AuditStore(documents), Keys: keys}, keys.Trusted()
	}
	g.project("p1", "api", 89*day)
	g.wantExit(g.run(jobs.Order{}), jobs.ExitConverged)
	_, first := archive()
	write("transit/keys/"+g.prefix, map[string]any{"type": "ed25519"})
	g.signer = "transit:transit/" + g.prefix
	g.wantExit(g.run(jobs.Order{}), jobs.ExitConverged)
	write("transit/keys/"+g.prefix+"/rotate", nil)
	g.project("p2", "api", 89*day)
	g.wantExit(g.run(jobs.Order{}), jobs.ExitConverged)

	pinned, all := archive(first...)
	if len(all) != 3 {
		t.Errorf("%d keys are trusted, want 3: %v", len(all), all)
	}
	newest, found, err := pinned.Newest(t.Context())
	if err != nil || !found {
		t.Fatalf("the newest checkpoint: %v, %v", found, err)
	}
	if size, _ := g.log.Head(); newest.Size > size || newest.Size < size-20 {
		t.Errorf("the newest checkpoint has %d events, the log %d", newest.Size, size)
	}
	if len(g.events(audit.Filter{Operation: "vault.transit"})) == 0 {
		t.Error("the log tells of no signature by Transit")
	}
}

// TestRunRefusesBesideJunk: whoever can write where checkpoints are kept could
// hide the newest one behind a folder that is none.
func TestRunRefusesBesideJunk(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.project("p1", "api", 89*day)
	g.run(jobs.Order{Due: true, Projects: []string{"nobody"}}) // something to anchor
	before := len(g.sim.Requests())
	kv := g.vault.Client(t).KVv2("secret")
	junk := "audit-" + g.prefix + "/checkpoints/1/zzzz/0000000000000001"
	if _, err := kv.Put(t.Context(), junk, map[string]any{"note": "junk"}); err != nil {
		t.Fatal(err)
	}
	report := g.run(jobs.Order{}, overlap(0))
	g.wantExit(report, jobs.ExitRefused)
	refused := g.only(report, jobs.Refused)
	if !strings.HasPrefix(string(refused.Error), "checkpoint_forged: ") || !strings.Contains(string(refused.Error), "zzzz is no day of epoch 1") {
		t.Errorf("refused because of %q", refused.Error)
	}
	if got := g.events(audit.Filter{Type: audit.GuardRefused}); len(got) != 1 || !strings.HasPrefix(got[0].Reason, "checkpoint_forged: ") {
		t.Errorf("guard.refused: %+v", got)
	}
	if n := len(g.sim.Requests()); n != before {
		t.Errorf("%d requests were sent to Sinch", n-before)
	}
	if err := kv.DeleteMetadata(t.Context(), junk); err != nil {
		t.Fatal(err)
	}
	g.wantExit(g.run(jobs.Order{}, overlap(0)), jobs.ExitConverged)
	g.consistent("p1", "api")
}

// TestCheckpointsThatCannotBeListedEndARun: without them, nobody knows whether
// the log was cut. It is an outage, and no guard.
func TestCheckpointsThatCannotBeListedEndARun(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.project("p1", "api", 89*day)
	g.run(jobs.Order{Due: true, Projects: []string{"nobody"}})
	before := len(g.sim.Requests())
	runner := g.runner()
	g.proxy.Fail(func(r *http.Request) bool {
		return strings.Contains(r.URL.Path, "/metadata/audit-") && strings.Contains(r.URL.Path, "/checkpoints")
	}, slices.Repeat([]vaulttest.Fault{vaulttest.NotApplied}, 1000)...)
	_, err := runner.Run(t.Context(), jobs.Order{Trigger: "manual"})
	if err == nil || errors.Is(err, audit.ErrForged) || errors.Is(err, audit.ErrBehind) || errors.Is(err, audit.ErrOverdue) {
		t.Errorf("a run that cannot list checkpoints: %v", err)
	}
	if n := len(g.sim.Requests()); n != before {
		t.Errorf("%d requests were sent to Sinch", n-before)
	}
	g.proxy.Fail(nil)
	g.wantExit(g.run(jobs.Order{}, overlap(0)), jobs.ExitConverged)
}

// TestVaultOutageIsNoKeyChange resets connections while the key before is
// looked up, which has to vouch for the next one.
func TestVaultOutageIsNoKeyChange(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	var cfg audit.AnchorConfig
	g.anchoring = func(c *audit.AnchorConfig) { cfg = *c }
	g.runner() // makes the first key
	if _, err := g.vault.Client(t).Logical().WriteWithContext(t.Context(), "transit/keys/"+g.prefix, map[string]any{"type": "ed25519"}); err != nil {
		t.Fatal(err)
	}
	cfg.Signer = "transit:transit/" + g.prefix
	for _, fault := range []vaulttest.Fault{vaulttest.NotApplied, vaulttest.InternalError} {
		g.proxy.Fail(func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/signing-key") },
			slices.Repeat([]vaulttest.Fault{fault}, 1000)...)
		if _, err := audit.OpenAnchors(t.Context(), cfg); err == nil || errors.Is(err, audit.ErrKeyChange) || !errors.Is(err, vault.ErrUnreachable) {
			t.Errorf("fault %d while the key before is looked up: %v", fault, err)
		}
	}
	g.proxy.Fail(nil)
	if _, err := audit.OpenAnchors(t.Context(), cfg); err != nil {
		t.Errorf("when Vault is back: %v", err)
	}
}
