package audit_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"rotator/internal/audit"
	"rotator/internal/postgres/pgtest"
)

func TestCheckpointSaysWhatTheLogIs(t *testing.T) {
	t.Parallel()
	pool, store := pgtest.New(t), newShelf()
	k := keep(t, pool, store)
	if err := k.Check(t.Context()); err != nil {
		t.Fatalf("an empty log: %v", err)
	}
	k.anchor(t) // nothing happened: none is made
	if age := k.Age(); age != audit.Never {
		t.Errorf("before the first checkpoint: %s old", age)
	}
	k.logs(t, 5)
	k.anchor(t)
	k.anchor(t) // nothing happened since
	if age := k.Age(); age < 0 || age > time.Minute {
		t.Errorf("after the first checkpoint: %s old", age)
	}
	if got := store.sizes("1"); !slices.Equal(got, []string{"5"}) {
		t.Fatalf("checkpoints of sizes %v, want 5", got)
	}
	newest, found, err := (&audit.Archive{Store: store, Keys: k.keys}).Newest(t.Context())
	if err != nil || !found {
		t.Fatal(found, err)
	}
	if size, root := k.log.Head(); newest.Size != size || newest.Root != root || newest.Epoch != 1 || !newest.Resumable() {
		t.Errorf("checkpoint %+v of a log of size %d and root %v", newest, size, root)
	}
	verifier, err := note.NewVerifier(k.key)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := note.Open([]byte(newest.Note), note.VerifierList(verifier))
	if err != nil || opened.Text != newest.Text() || !strings.HasPrefix(opened.Text, "rotator-audit/") {
		t.Errorf("the note says %v, %v", opened, err)
	}
}

func TestWhatNeedsACheckpoint(t *testing.T) {
	t.Parallel()
	pool, store := pgtest.New(t), newShelf()
	k := keep(t, pool, store)
	call := func(op, path string, phase audit.Phase) audit.Event {
		return audit.Event{Type: audit.APICall, Op: op, VaultPath: path, Phase: phase}
	}
	for i, c := range []struct {
		event       audit.Event
		while, ends bool // made while something changes, at the end of a run
	}{
		{call("vault.login", "", audit.Result), false, false},
		{call("vault.transit", "", audit.Result), false, false},
		{call("vault.write", "rotator-audit/checkpoints/1/2026-11-22/0000000000000005", audit.Intent), false, false},
		{call("vault.read", "rotator-audit/checkpoints", audit.Result), false, false},
		{call("access_keys.list", "", audit.Result), false, true},
		{audit.Event{Type: audit.RunFinished}, false, true},
		{call("access_keys.create", "", audit.Intent), true, true},
		{call("vault.write", "sinch/p/billing-api", audit.Result), true, true},
		{audit.Event{Type: audit.Pause}, true, true},
	} {
		for _, reads := range []bool{false, true} {
			k.logs(t, 1)
			k.anchor(t)
			before := len(store.sizes("1"))
			if err := k.log.Append(t.Context(), c.event); err != nil {
				t.Fatal(err)
			}
			if err := k.Anchor(t.Context(), reads); err != nil {
				t.Fatal(err)
			}
			want := c.while || reads && c.ends
			if made := len(store.sizes("1")) > before; made != want {
				t.Errorf("case %d, %s %s, reads %t: checkpoint made %t, want %t", i, c.event.Type, c.event.Op, reads, made, want)
			}
		}
	}
}

// TestARestoredLogStopsEverything restores an older state, as a backup or a
// standby that lags would be, under a process that runs and before one that
// starts, and also after the log has grown past its checkpoint again.
func TestARestoredLogStopsEverything(t *testing.T) {
	t.Parallel()
	pool, store := pgtest.New(t), newShelf()
	running, idle := keep(t, pool, store), keep(t, pool, store)
	running.logs(t, 3)
	running.anchor(t)
	old := backup(t, pool)
	running.logs(t, 4)
	running.anchor(t)
	old.restore(t, pool)

	if err := keep(t, pool, store).Check(t.Context()); !errors.Is(err, audit.ErrBehind) {
		t.Errorf("a process that starts finds %v", err)
	}
	if err := running.Anchor(t.Context(), true); !errors.Is(err, audit.ErrBehind) {
		t.Errorf("a process that runs finds %v", err)
	}
	if err := running.Permit(t.Context(), false); !errors.Is(err, audit.ErrBehind) || !errors.Is(running.Broken(), audit.ErrBehind) {
		t.Errorf("it may go on: %v", err)
	}
	stranger := keep(t, pool, store)
	stranger.logs(t, 9) // grown past the checkpoint, with another history
	for _, k := range []*keeper{keep(t, pool, store), idle} {
		if err := k.Anchor(t.Context(), true); !errors.Is(err, audit.ErrBehind) {
			t.Errorf("a log that was restored and grew again: %v", err)
		}
	}
	if got := store.sizes("1"); !slices.Equal(got, []string{"3", "7"}) {
		t.Errorf("signed sizes %v: nothing may be signed that contradicts a checkpoint", got)
	}
}

// TestWriterNoticesAStandby restores an older state behind the writer's back
// and cuts its connection, as a failover does: no event may be appended to a
// log that has lost what this process knows to be in it.
func TestWriterNoticesAStandby(t *testing.T) {
	t.Parallel()
	for name, regrown := range map[string]int{"behind": 0, "as long": 4, "longer": 6} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := pgtest.New(t)
			log := open(t, pool)
			more := func(l *audit.Log, n int) (err error) {
				for range n {
					err = errors.Join(err, l.Append(t.Context(), audit.Event{Type: audit.KeyDrift, Key: "k"}))
				}
				return err
			}
			old := backup(t, pool)
			if err := more(log, 4); err != nil {
				t.Fatal(err)
			}
			old.restore(t, pool)
			if err := more(open(t, pool), regrown); err != nil {
				t.Fatal(err)
			}
			exec(t, pgtest.Admin(t, pool), "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
			pool.Reset()
			if err := more(log, 1); !errors.Is(err, audit.ErrUnwritable) || !errors.Is(err, audit.ErrBehind) {
				t.Errorf("appending to the restored log: %v", err)
			}
			if size := get[int64](t, pool, "select size from audit.head"); size != int64(regrown) {
				t.Errorf("the log has %d events, want %d", size, regrown)
			}
		})
	}
}

func TestReplicasShareCheckpoints(t *testing.T) {
	t.Parallel()
	pool, store := pgtest.New(t), newShelf()
	one, two := keep(t, pool, store), keep(t, pool, store)
	if one.key != two.key {
		t.Fatal("two replicas sign with two keys")
	}
	for range 5 {
		one.logs(t, 2)
		var g sync.WaitGroup
		for _, k := range []*keeper{one, two} {
			g.Go(func() {
				if err := k.Anchor(t.Context(), true); err != nil {
					t.Error(err)
				}
			})
		}
		g.Wait()
	}
	if n := len(store.sizes("1")); n != 5 {
		t.Errorf("%d checkpoints of 5 states", n)
	}
	// A checkpoint of another history stands where the next should go.
	one.logs(t, 1)
	forged := audit.Checkpoint{Origin: get[string](t, pool, "select origin || '/1' from audit.setting"), Size: 11}
	signed, err := audit.SignForTest(t.Context(), store, forged.Text())
	if err != nil {
		t.Fatal(err)
	}
	day := time.Now().UTC().Format(time.DateOnly)
	if err := store.Create(t.Context(), "checkpoints/1/"+day+"/0000000000000011", map[string]string{"note": signed}); err != nil {
		t.Fatal(err)
	}
	if err := one.Anchor(t.Context(), true); !errors.Is(err, audit.ErrBehind) {
		t.Errorf("anchoring beside another history: %v", err)
	}
}

func TestOverdueCheckpointsStopTheWork(t *testing.T) {
	t.Parallel()
	pool, store := pgtest.New(t), newShelf()
	var mu sync.Mutex
	now := time.Now()
	later := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); now = now.Add(d) }
	clock := func(c *audit.AnchorConfig) {
		c.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	}
	k := keep(t, pool, store, clock)
	k.logs(t, 1)
	k.anchor(t)
	down := errors.New("vault says no")
	store.refuse(down)
	later(24 * time.Hour)
	if err := k.Permit(t.Context(), true); err != nil {
		t.Errorf("nothing has happened for a day: %v", err)
	}
	k.logs(t, 1) // stamped by the real clock, a day before ours
	later(-24 * time.Hour)
	if err := k.Anchor(t.Context(), true); !errors.Is(err, down) {
		t.Fatalf("anchoring: %v", err)
	}
	if err := k.Permit(t.Context(), true); err != nil {
		t.Errorf("one has just failed: %v", err)
	}
	later(61 * time.Minute)
	for _, deletion := range []bool{false, true} {
		if err := k.Permit(t.Context(), deletion); !errors.Is(err, audit.ErrOverdue) {
			t.Errorf("after an hour, deletion %t: %v", deletion, err)
		}
	}
	if err := keep(t, pool, store, clock).Check(t.Context()); !errors.Is(err, audit.ErrOverdue) || !errors.Is(err, down) {
		t.Errorf("a process that starts then: %v", err)
	}
	store.refuse(nil)
	if err := k.Check(t.Context()); err != nil {
		t.Errorf("when Vault is back: %v", err)
	}
	if err := k.Permit(t.Context(), true); err != nil {
		t.Error(err)
	}
}

func TestCheckpointsOfAnotherLog(t *testing.T) {
	t.Parallel()
	pool, store := pgtest.New(t), newShelf()
	k := keep(t, pool, store)
	k.logs(t, 1)
	k.anchor(t)
	exec(t, pgtest.Admin(t, pool), "update audit.setting set origin = 'rotator-audit/other'")
	if err := keep(t, pool, store).Check(t.Context()); !errors.Is(err, audit.ErrForged) || !strings.Contains(err.Error(), "AUDIT_VAULT_PREFIX") {
		t.Errorf("checkpoints of another database: %v", err)
	}
}
