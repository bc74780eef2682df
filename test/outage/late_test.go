package outage_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/jackc/pgx/v5"

	"rotator/internal/sinch/sinchtest"
)

// TestLatePublication: a dead worker's write reaches Vault only after another
// run has judged its key an orphan and deleted it. It must find that the path
// has moved on, even before that run publishes a key of its own.
func TestLatePublication(t *testing.T) {
	t.Parallel()
	for _, first := range []bool{false, true} {
		t.Run(fmt.Sprintf("first=%t", first), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{env: []string{"ROTATOR_LEASE=5s"}})
			named := "" // nothing, for a credential that Vault has never held
			if first {
				w.sim.AddSubproject(parent, "due", "due", nil)
				w.sim.AddKey("due", "billing", time.Now().Add(-100*day))
				w.creds = append(w.creds, credential{"due", "billing"})
			} else {
				named = w.due("due").KeyID
			}
			late := newHeld(t)
			w.gate.on(1, publishing("billing"), late.before)
			p := w.start("run-now")
			w.await(late.arrived, p)
			p.kill()
			w.outlast()

			arrived, release := w.holdSinch(false, sinchtest.Fault{Operation: "access_keys.create"})
			next := w.start("run-now")
			w.await(arrived, next)
			if keys := w.sim.Keys("due"); len(keys) != 1 {
				t.Errorf("the orphan is still there: %+v", keys)
			}
			late.release()
			<-late.passed
			if now := w.reads("due", "billing"); now != named {
				t.Errorf("after the late write Vault names %q, want %q", now, named)
			}
			release()
			next.exits(0)
			w.check(map[string]int{parent: 1, "due": 2})
		})
	}
}

// reads is the key that Vault's path names, empty if there is no data.
func (w *world) reads(project, name string) string {
	w.t.Helper()
	v, err := w.vault.KVv2("secret").Get(w.t.Context(), w.path(project, name))
	if errors.Is(err, api.ErrSecretNotFound) || err == nil && v.Data == nil {
		return ""
	}
	if err != nil {
		w.t.Fatal(err)
	}
	key, _ := v.Data["key_id"].(string)
	return key
}

// TestLateCreate: a dead worker's create takes effect only after the next
// run. Nobody has its secret; a later run finds the key by its name.
func TestLateCreate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{env: []string{"ROTATOR_LEASE=5s"}})
	w.due("due")
	arrived, release := w.holdSinch(false, sinchtest.Fault{Operation: "access_keys.create"})
	p := w.start("run-now")
	w.await(arrived, p)
	p.kill()
	want := map[string]int{parent: 1, "due": 2}
	w.converge(want)
	named := w.checkNamed("due", "billing")

	release()
	w.until("the late key to be there", func() bool { return len(w.sim.Keys("due")) == 3 })
	w.converge(want)
	if n := w.events("key.orphan_deleted"); n != 1 {
		t.Errorf("%d orphans deleted, want 1", n)
	}
	if now := w.checkNamed("due", "billing"); now != named {
		t.Errorf("Vault names %s, not %s any more", now, named)
	}
}

// TestLateDelete: a dead worker's delete takes effect only after the next run
// has done it, or in the middle of that.
func TestLateDelete(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{env: []string{"ROTATOR_LEASE=5s"}})
	w.past("retire")
	arrived, release := w.holdSinch(false, sinchtest.Fault{Operation: "access_keys.delete"})
	p := w.start("run-now")
	w.await(arrived, p)
	p.kill()
	want := map[string]int{parent: 1, "retire": 1}
	w.converge(want)
	release()
	w.until("the late delete to be answered", func() bool { return w.sim.Counts()["access_keys.delete 404"] == 1 })
	w.converge(want)
	if n := w.events("key.retired"); n != 1 {
		t.Errorf("the key was recorded as retired %d times, want once", n)
	}
}

// TestDeleteArrivesBeforeNextRun: the same, but nobody is left to do it.
func TestDeleteArrivesBeforeNextRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{env: []string{"ROTATOR_LEASE=5s"}})
	w.past("retire")
	arrived, release := w.holdSinch(false, sinchtest.Fault{Operation: "access_keys.delete"})
	p := w.start("run-now")
	w.await(arrived, p)
	p.kill()
	release()
	w.until("the late delete", func() bool { return len(w.sim.Keys("retire")) == 1 })
	w.converge(map[string]int{parent: 1, "retire": 1})
	if n := w.one(`select count(*) from audit.event where phase = 'resolved' and operation = 'access_keys.delete' and outcome = 'ok'`); n != 1 {
		t.Errorf("%d deletes resolved as applied, want 1", n)
	}
}

// TestLostMetadata: custom metadata that somebody has removed is written
// again by the next run.
func TestLostMetadata(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.fleet()
	w.run(0, "run-now")
	err := w.vault.KVv2("secret").PutMetadata(t.Context(), w.path("due", "billing"), api.KVMetadataPutInput{CustomMetadata: map[string]any{}})
	if err != nil {
		t.Fatal(err)
	}
	w.converge(afterwards)
	meta, err := w.vault.KVv2("secret").GetMetadata(t.Context(), w.path("due", "billing"))
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
	w := newWorld(t, setting{})
	w.fleet()
	conn, err := pgx.Connect(t.Context(), w.link)
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
	w.run(2, "run-now")
	if sent := w.gate.mutations(); len(sent) > 0 {
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
	w := newWorld(t, setting{})
	w.fleet()
	arrived, release := w.holdSinch(true, sinchtest.Fault{Operation: "access_keys.create"})
	p := w.start("run-now")
	w.await(arrived, p)
	tx, err := w.db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `select audit.lock_head()`); err != nil {
		t.Fatal(err)
	}
	release()
	time.Sleep(2 * time.Second)
	before := len(w.gate.mutations())
	time.Sleep(time.Second)
	if n := len(w.gate.mutations()); n != before {
		t.Errorf("%d changes were sent while the log was locked", n-before)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.exits(0)
	w.check(afterwards)
}
