package outage_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/jackc/pgx/v5"

	"rotator/internal/sinch/sinchtest"
	"rotator/test/rig"
)

// TestLatePublication: a dead worker's write reaches Vault only after another
// run has judged its key an orphan and deleted it. It must find that the path
// has moved on, even before that run publishes a key of its own.
func TestLatePublication(t *testing.T) {
	t.Parallel()
	for _, first := range []bool{false, true} {
		t.Run(fmt.Sprintf("first=%t", first), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rig.Config{Env: []string{"ROTATOR_LEASE=5s"}})
			named := "" // nothing, for a credential that Vault has never held
			if first {
				w.Sim.AddSubproject(rig.Parent, "due", "due", nil)
				w.Sim.AddKey("due", "billing", time.Now().Add(-100*day))
				w.Credentials = append(w.Credentials, rig.Credential{Project: "due", Name: "billing"})
			} else {
				named = w.Due("due").KeyID
			}
			late := rig.NewHeld(t)
			w.Gate.On(1, rig.Publishing("billing"), late.Before)
			p := w.Start("run-now")
			p.Await(late.Arrived)
			p.Kill()
			w.Outlast()

			arrived, release := w.HoldSinch(false, sinchtest.Fault{Operation: "access_keys.create"})
			next := w.Start("run-now")
			next.Await(arrived)
			if keys := w.Sim.Keys("due"); len(keys) != 1 {
				t.Errorf("the orphan is still there: %+v", keys)
			}
			late.Release()
			<-late.Passed
			if _, now, _, err := w.Named(w.Path("due", "billing")); err != nil || now != named {
				t.Errorf("after the late write Vault names %q, want %q (%v)", now, named, err)
			}
			release()
			next.Exits(0)
			w.check(map[string]int{rig.Parent: 1, "due": 2})
		})
	}
}

// diesWith kills a run that has sent a request of the operation, which arrives
// when it is released.
func (w *world) diesWith(operation string) (release func()) {
	w.T.Helper()
	arrived, release := w.HoldSinch(false, sinchtest.Fault{Operation: operation})
	p := w.Start("run-now")
	p.Await(arrived)
	p.Kill()
	return release
}

// TestLateCreate: a dead worker's create takes effect only after the next
// run. Nobody has its secret; a later run finds the key by its name.
func TestLateCreate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rig.Config{Env: []string{"ROTATOR_LEASE=5s"}})
	w.Due("due")
	release := w.diesWith("access_keys.create")
	want := map[string]int{rig.Parent: 1, "due": 2}
	w.converge(want)
	named := w.CheckNamed("due", "billing")

	release()
	w.Until("the late key to be there", func() bool { return len(w.Sim.Keys("due")) == 3 })
	w.converge(want)
	if n := w.Events("key.orphan_deleted"); n != 1 {
		t.Errorf("%d orphans deleted, want 1", n)
	}
	if now := w.CheckNamed("due", "billing"); now != named {
		t.Errorf("Vault names %s, not %s any more", now, named)
	}
}

// TestLateDelete: a dead worker's delete takes effect only after the next run
// has done it, or in the middle of that.
func TestLateDelete(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rig.Config{Env: []string{"ROTATOR_LEASE=5s"}})
	w.Past("retire")
	release := w.diesWith("access_keys.delete")
	want := map[string]int{rig.Parent: 1, "retire": 1}
	w.converge(want)
	release()
	w.Until("the late delete to be answered", func() bool { return w.Sim.Counts()["access_keys.delete 404"] == 1 })
	w.converge(want)
	if n := w.Events("key.retired"); n != 1 {
		t.Errorf("the key was recorded as retired %d times, want once", n)
	}
}

// TestDeleteArrivesBeforeNextRun: the same, but nobody is left to do it.
func TestDeleteArrivesBeforeNextRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rig.Config{Env: []string{"ROTATOR_LEASE=5s"}})
	w.Past("retire")
	release := w.diesWith("access_keys.delete")
	release()
	w.Until("the late delete", func() bool { return len(w.Sim.Keys("retire")) == 1 })
	w.converge(map[string]int{rig.Parent: 1, "retire": 1})
	if n := w.One(`select count(*) from audit.event where phase = 'resolved' and operation = 'access_keys.delete' and outcome = 'ok'`); n != 1 {
		t.Errorf("%d deletes resolved as applied, want 1", n)
	}
}

// TestLostMetadata: custom metadata that somebody has removed is written
// again by the next run.
func TestLostMetadata(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rig.Config{})
	w.fleet()
	w.Run(0, "run-now")
	err := w.Vault.KVv2("secret").PutMetadata(t.Context(), w.Path("due", "billing"), api.KVMetadataPutInput{CustomMetadata: map[string]any{}})
	if err != nil {
		t.Fatal(err)
	}
	w.converge(afterwards)
	meta, err := w.Vault.KVv2("secret").GetMetadata(t.Context(), w.Path("due", "billing"))
	if err != nil {
		t.Fatal(err)
	}
	if meta.CustomMetadata["managed_by"] != "rotator" || meta.CustomMetadata["credential"] != "billing" {
		t.Errorf("custom metadata after the next run: %v", meta.CustomMetadata)
	}
}

// TestHeadLocked: somebody holds the log's head and does nothing. Nothing is
// changed meanwhile, and the run ends in time.
func TestHeadLocked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rig.Config{})
	w.fleet()
	conn, err := pgx.Connect(t.Context(), w.Link)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `select audit.lock_head()`); err != nil {
		t.Fatal(err)
	}
	w.Run(2, "run-now")
	if sent := w.Gate.Sent(); len(sent) > 0 {
		t.Errorf("sent while the log was locked: %+v", sent)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.converge(afterwards)
}

// TestHeadLockedInARun: the same in the middle of a run, which either
// outlasts it or leaves the rest to the next one.
func TestHeadLockedInARun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rig.Config{})
	w.fleet()
	arrived, release := w.HoldSinch(true, sinchtest.Fault{Operation: "access_keys.create"})
	p := w.Start("run-now")
	p.Await(arrived)
	tx, err := w.DB.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `select audit.lock_head()`); err != nil {
		t.Fatal(err)
	}
	release()
	time.Sleep(2 * time.Second)
	before := len(w.Gate.Sent())
	time.Sleep(time.Second)
	if n := len(w.Gate.Sent()); n != before {
		t.Errorf("%d changes were sent while the log was locked", n-before)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.Exits(0)
	w.check(afterwards)
}
