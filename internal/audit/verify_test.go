package audit_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"rotator/internal/audit"
	"rotator/internal/postgres/pgtest"
)

// wants checks a verdict's exit code and that its texts say all the words.
func wants(t testing.TB, v *audit.Verdict, code int, says ...string) {
	t.Helper()
	if v.ExitCode != code {
		t.Errorf("exit code %d, want %d:\n%s", v.ExitCode, code, shown(v))
	}
	for _, words := range says {
		if !strings.Contains(shown(v), words) {
			t.Errorf("the verdict does not say %q:\n%s", words, shown(v))
		}
	}
}

// at verifies as if it were a minute after the scene's last event.
func (s *scene) at(c *audit.VerifyConfig) { c.Now = s.now.Add(time.Minute) }

func TestVerifyIntact(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	var told []int64
	v := s.verify(t, s.pool, s.at, func(c *audit.VerifyConfig) { c.Progress = func(done, all int64) { told = append(told, done, all) } })
	wants(t, v, audit.VerifiedIntact)
	last := headOf(t, s.pool)
	if v.Events != sceneEvents || v.Size != sceneEvents || v.First != 0 || v.Root != last.root.String() || v.Checkpoints != 3 || v.Origin != s.origin {
		t.Errorf("%+v", v)
	}
	if v.Last == nil || v.Last.Size != 60 || v.Last.Epoch != 1 || v.Tail.Events != 6 || !v.Tail.From.Equal(v.Tail.Oldest) || !v.Tail.To.Equal(s.now) {
		t.Errorf("last checkpoint %+v, tail %+v", v.Last, v.Tail)
	}
	if len(v.Keys) != 1 || !v.Keys[0].Pinned || v.Keys[0].Key != s.key {
		t.Errorf("keys %+v", v.Keys)
	}
	if len(v.Warnings)+len(v.Notes)+len(v.Unproven)+len(v.Unchecked)+len(v.Open) > 0 {
		t.Errorf("what should be said of it?\n%s", shown(v))
	}
	auditor := pgtest.Pool(t, pgtest.Auditor(t, s.pool.Config().ConnString()))
	v = s.verify(t, auditor, s.at)
	if wants(t, v, audit.VerifiedIntact); len(v.Warnings) > 0 {
		t.Errorf("for the auditor's login:\n%s", shown(v))
	}
}

// TestVerifyWithoutCheckpoints: nothing outside the database is never enough.
func TestVerifyWithoutCheckpoints(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	none := func(c *audit.VerifyConfig) { c.Archive = nil }
	wants(t, s.verify(t, s.pool, s.at, none), audit.NotProvable, "nothing outside the database to hold the log against")
	empty := newWitness(t, s.origin)
	wants(t, empty.verify(t, s.pool, s.at), audit.NotProvable, "no checkpoint was found outside the database")
	wants(t, empty.verify(t, pgtest.New(t)), audit.NotProvable, "no checkpoint was found outside the database") // an empty log
	s.disarmed(t, `delete from audit.event where seq = 30`)
	wants(t, s.verify(t, s.pool, s.at, none), audit.VerifiedTampered, "event 30 is missing")
}

// TestWhatCountsMost: tampering before what could not be checked, that before
// what is not proven.
func TestWhatCountsMost(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	unreachable := func(c *audit.VerifyConfig) { c.Archive.Store = sealed{c.Archive.Store} }
	late := func(c *audit.VerifyConfig) { c.Now = s.now.Add(24 * time.Hour) }
	wants(t, s.verify(t, s.pool, late), audit.NotProvable, "have no checkpoint, longer than 1h0m0s (AUDIT_CHECKPOINT_MAX_AGE)")
	wants(t, s.verify(t, s.pool, late, unreachable), audit.NotChecked, "the vault is sealed")
	s.disarmed(t, `update audit.event set key_id = 'k9' where seq = 17`)
	wants(t, s.verify(t, s.pool, late, unreachable), audit.VerifiedTampered, "the vault is sealed", "column key_id of event 17")
	s.pool.Close()
	wants(t, s.verify(t, s.pool, s.at), audit.NotChecked)
}

// sealed is a store that gives nothing away.
type sealed struct{ audit.Store }

func (sealed) List(context.Context, string) ([]string, error) {
	return nil, errors.New("the vault is sealed")
}

// TestVerifyRestoredBackup: an old state of the whole database, head and all,
// is behind its newest checkpoint.
func TestVerifyRestoredBackup(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	old := s.backup(t)
	for range 4 {
		s.appendRow(t, fmt.Sprintf(`{"v":1,"id":"%s","t_us":%d,"type":"pause"}`, uuid.NewString(), s.now.UnixMicro()))
	}
	s.anchor(t, s.pool)
	wants(t, s.verify(t, s.pool, s.at), audit.VerifiedIntact)
	v := s.verify(t, pgtest.Pool(t, old), s.at)
	wants(t, v, audit.VerifiedTampered, "the log ends with event 65, but checkpoint 70 of", "an older state of it restored")
}

// TestVerifyAfterRebase: each epoch is held against its own checkpoints, what
// was lost is named, and only who accepts it gets 0.
func TestVerifyAfterRebase(t *testing.T) {
	t.Parallel()
	pool, store := pgtest.New(t), newShelf()
	k := keep(t, pool, store)
	verify := func(accept int) *audit.Verdict {
		t.Helper()
		return audit.VerifyDatabase(t.Context(), pool, audit.VerifyConfig{
			Archive: &audit.Archive{Store: store, Keys: k.keys}, AcceptEpoch: accept, MaxAge: time.Hour, Now: time.Now(),
		})
	}
	for range 3 {
		k.logs(t, 3)
		k.anchor(t)
	}
	k.logs(t, 1)
	old := backup(t, pool)
	k.logs(t, 4)
	k.anchor(t)
	wants(t, verify(0), audit.VerifiedIntact)
	old.restore(t, pool)
	wants(t, verify(0), audit.VerifiedTampered, "the log ends with event 9, but checkpoint 14 of")

	k = keep(t, pool, store)
	if _, err := k.Rebase(t.Context(), "op@host", "disk failed"); err != nil {
		t.Fatal(err)
	}
	k.logs(t, 6)
	k.anchor(t)
	wants(t, verify(0), audit.NotProvable, "the log is in epoch 2", "--accept-epoch 2",
		"epoch 1 ended with a loss: of the events 9 to 13, written between 20", "reason given: disk failed")
	v := verify(2)
	wants(t, v, audit.VerifiedIntact)
	if len(v.Epochs) != 2 || v.Epochs[0].Common != 9 || v.Epochs[0].Anchored != 14 || v.Epochs[0].Checkpoints != 3 || v.Epochs[0].Lost != 1 ||
		v.Epochs[0].Reason != "disk failed" || v.Epochs[0].Actor != "op@host" || v.Epochs[0].CommonAt.IsZero() || v.Epochs[1].Checkpoints != 2 {
		t.Errorf("epochs %+v", v.Epochs)
	}
	wants(t, verify(3), audit.NotChecked, "--accept-epoch 3: the log is in epoch 2")

	again := backup(t, pool)
	k.logs(t, 2)
	k.anchor(t)
	again.restore(t, pool)
	k = keep(t, pool, store)
	if _, err := k.Rebase(t.Context(), "op@host", "and again"); err != nil {
		t.Fatal(err)
	}
	wants(t, verify(2), audit.NotProvable, "the log is in epoch 3")
	wants(t, verify(3), audit.VerifiedIntact, "epoch 2 ended with a loss")

	// What an epoch's own checkpoints cover is not forgiven with the loss.
	s := &scene{pool: pgtest.Admin(t, pool)}
	s.edit(t, 4, 4, `"k"`, `"x"`)
	s.rehead(t)
	v = verify(3)
	wants(t, v, audit.VerifiedTampered, "events 3 to 5 are not those that checkpoint 6 of", "though the log still had them when epoch 2 was opened")
}

// TestVerifyTwoDisasters: the backup that is restored is older than the first
// rebase. Nothing that is left is accused.
func TestVerifyTwoDisasters(t *testing.T) {
	t.Parallel()
	pool, store := pgtest.New(t), newShelf()
	k := keep(t, pool, store)
	k.logs(t, 3)
	k.anchor(t)
	k.logs(t, 1)
	old := backup(t, pool)
	k.logs(t, 4)
	k.anchor(t)
	for i, reason := range []string{"first", "second"} {
		old.restore(t, pool)
		keep(t, pool, store).logs(t, 1+2*i) // another history
		k = keep(t, pool, store)
		if _, err := k.Rebase(t.Context(), "op@host", reason); err != nil {
			t.Fatal(err)
		}
		k.logs(t, 5)
		k.anchor(t)
	}
	v := audit.VerifyDatabase(t.Context(), pool, audit.VerifyConfig{
		Archive: &audit.Archive{Store: store, Keys: k.keys}, AcceptEpoch: 3, MaxAge: time.Hour, Now: time.Now(),
	})
	wants(t, v, audit.VerifiedIntact, "how epoch 1 ended is not in the log")
}

// TestVerifyOpenCalls: why a change is open decides whether it matters.
func TestVerifyOpenCalls(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	w, now := witnessOf(t, pool), time.Now().Add(-3*time.Hour)
	log := open(t, pool, func(c *audit.Config) { c.Now = func() time.Time { return now } })
	intend := func(op, project, path string) {
		t.Helper()
		err := log.Append(t.Context(), audit.Event{Type: audit.APICall, Phase: audit.Intent, Op: op, Call: idAt(now), Project: project, VaultPath: path})
		if err != nil {
			t.Fatal(err)
		}
	}
	verify := func() *audit.Verdict { t.Helper(); return w.verify(t, pool) }
	states := func(v *audit.Verdict) (out []string) {
		for _, o := range v.Open {
			out = append(out, o.Project+" "+o.State)
		}
		return out
	}
	intend("vault.write", "", "rotator-audit/checkpoints/1/2026-11-22/0000000000000005")
	w.anchor(t, pool)
	now = time.Now()
	intend("access_keys.delete", "recent", "")
	if v := verify(); v.ExitCode != audit.VerifiedIntact || !slices.Equal(states(v), []string{" checkpoint", "recent recent"}) {
		t.Errorf("open %v:\n%s", states(v), shown(v))
	}
	w.anchor(t, pool)
	wants(t, verify(), audit.NotProvable, "1 changes were announced and the log does not say how they ended, the oldest at event 1")
	exec(t, pgtest.Admin(t, pool), "insert into rotator.project (id, lease_owner, lease_expires_at) values ('recent', gen_random_uuid(), now() + interval '1 minute')")
	if v := verify(); v.ExitCode != audit.VerifiedIntact || !slices.Equal(states(v), []string{" checkpoint", "recent leased"}) {
		t.Errorf("open %v:\n%s", states(v), shown(v))
	}
	exec(t, pgtest.Admin(t, pool), "update rotator.project set lease_expires_at = now()")
	wants(t, verify(), audit.NotProvable)

	// Who may not read leases gives it as long as an event may stand alone.
	auditor := pgtest.Pool(t, pgtest.Auditor(t, pool.Config().ConnString()))
	wants(t, w.verify(t, auditor), audit.VerifiedIntact)
	wants(t, w.verify(t, auditor, func(c *audit.VerifyConfig) { c.Now = now.Add(2 * time.Hour) }), audit.NotProvable)

	// A resolution closes it, and an outcome that comes late is no surprise.
	e := audit.Event{Type: audit.APICall, Phase: audit.Resolved, Op: "access_keys.delete", Call: get[string](t, pool, "select call_id::text from audit.event where seq = 1")}
	for _, phase := range []audit.Phase{audit.Resolved, audit.Result} {
		e.Phase = phase
		if err := log.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		w.anchor(t, pool)
		wants(t, verify(), audit.VerifiedIntact)
	}
	if err := log.Append(t.Context(), e); err != nil { // but not twice
		t.Fatal(err)
	}
	wants(t, verify(), audit.VerifiedTampered, "event 4 is the outcome of access_keys.delete")
}

// TestVerifyRuns: a run's counters are its events, as far as they can be.
func TestVerifyRuns(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	w, log := witnessOf(t, pool), open(t, pool)
	run := func(counters map[string]int64, events ...audit.Event) *audit.Verdict {
		t.Helper()
		id := uuid.NewString()
		events = append([]audit.Event{{Type: audit.RunStarted}}, append(events, audit.Event{Type: audit.RunFinished, Counters: counters})...)
		for i := range events {
			events[i].Run = id
		}
		if err := log.Append(t.Context(), events...); err != nil {
			t.Fatal(err)
		}
		w.anchor(t, pool)
		return w.verify(t, pool)
	}
	rotation := func(kind, id string) audit.Event { return audit.Event{Type: kind, Rotation: id} }
	retired, orphan := audit.Event{Type: audit.KeyRetired}, audit.Event{Type: audit.KeyOrphanDeleted}
	planned, published := rotation(audit.RotationPlanned, "a"), rotation(audit.RotationPublished, "a")

	wants(t, run(map[string]int64{"rotated": 0}), audit.VerifiedIntact)
	wants(t, run(map[string]int64{"rotated": 1, "retired": 2, "orphans_deleted": 1}, planned, published, retired, retired, orphan), audit.VerifiedIntact)
	// Found after a crash: recorded, not counted.
	wants(t, run(map[string]int64{"rotated": 0}, rotation(audit.RotationPublished, "of an earlier run")), audit.VerifiedIntact)
	// Committed, but something went wrong before it was counted.
	wants(t, run(map[string]int64{"rotated": 0, "failed": 1}, planned, published), audit.VerifiedIntact)
	wants(t, run(map[string]int64{"retired": 1, "failed": 1}, retired, retired), audit.VerifiedIntact)
	wants(t, run(map[string]int64{"retired": 0}, retired), audit.VerifiedTampered, "its events are 0, 1 and 0")
	if n := w.verify(t, pool).Found[audit.FoundRun]; n != 1 {
		t.Errorf("%d runs found, want 1", n)
	}
	for i, v := range []*audit.Verdict{
		run(map[string]int64{"rotated": 1, "failed": 3}, planned),
		run(map[string]int64{"orphans_deleted": 1, "failed": 1}, retired),
		run(map[string]int64{"rotated": 1}, rotation(audit.RotationPublished, "of an earlier run")),
	} {
		if n := v.Found[audit.FoundRun]; n != i+2 {
			t.Errorf("case %d: %d runs found, want %d:\n%s", i, n, i+2, shown(v))
		}
	}
}

// TestVerifyRepeatedLate: an event that stands twice is found although the
// first one has long left the window, and one that only came late is not.
func TestVerifyRepeatedLate(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	narrow := audit.Window(4)
	wants(t, s.verify(t, s.pool, s.at, narrow), audit.VerifiedIntact)
	s.appendRow(t, fmt.Sprintf(`{"v":1,"id":"%s","t_us":%d,"type":"pause"}`, idAt(s.now.Add(-20*time.Minute)), s.now.UnixMicro()))
	wants(t, s.verify(t, s.pool, s.at, narrow), audit.VerifiedIntact)
	s.appendRow(t, get[string](t, s.pool, `select body::text from audit.event where seq = 41`))
	v := s.verify(t, s.pool, s.at, narrow)
	wants(t, v, audit.VerifiedTampered, "events 41 and 67 have the same id")
	if v.Found[audit.FoundExtra] != 1 {
		t.Error(shown(v))
	}
}

// TestVerifyWarnsOfLoweredDefences: each of the database's own defences that
// is down is named, and changes no exit code.
func TestVerifyWarnsOfLoweredDefences(t *testing.T) {
	t.Parallel()
	for sql, says := range map[string]string{
		"alter table audit.event disable trigger append_only":                                                                          "trigger append_only on audit.event is missing, disabled",
		"alter table audit.event_000000000000000 disable trigger append_only_row":                                                      "trigger append_only_row on audit.event_000000000000000",
		"alter table audit.event_000000000000000 enable replica trigger append_only":                                                   "trigger append_only on audit.event_000000000000000",
		"drop trigger one_row on audit.head":                                                                                           "trigger one_row on audit.head",
		"create or replace trigger append_only before update on audit.event execute function suppress_redundant_updates_trigger()":     "trigger append_only on audit.event is missing, disabled",
		"create trigger mine after insert on audit.event for each row execute function audit.refuse_change()":                          "trigger mine on audit.event was put on the log",
		"alter table audit.event drop constraint event_leaf":                                                                           "constraint event_leaf on audit.event is missing",
		"alter table audit.event drop constraint event_size; alter table audit.event add constraint event_size check (true) not valid": "constraint event_size on audit.event is missing or not validated",
		"grant insert on audit.event to public":                                                                                        "may INSERT on audit.event",
		"grant update on audit.head to rotator_test_auditor":                                                                           "rotator_test_auditor may UPDATE on audit.head",
		"grant insert (seq) on audit.event to rotator_test_auditor":                                                                    "rotator_test_auditor may INSERT on audit.event",
		"alter table audit.head enable row level security":                                                                             "audit.head (row security hides events)",
		"create rule quiet as on delete to audit.head do instead nothing":                                                              "audit.head (it has rules)",
		"create or replace function audit.refuse_change() returns trigger language plpgsql as 'begin return null; end'":                "functions of schema audit are not what the migrations made: refuse_change",
		"create or replace function audit.append(expected_size bigint, bodies text[], leaf_hashes bytea[], new_root bytea, new_frontier bytea) returns bigint language sql as 'select 1::bigint'": "migrations made: append",
	} {
		t.Run(sql, func(t *testing.T) {
			t.Parallel()
			pool := pgtest.Admin(t, pgtest.New(t))
			exec(t, pool, sql)
			w := witnessOf(t, pool)
			w.anchor(t, pool)
			v := w.verify(t, pool)
			wants(t, v, audit.VerifiedIntact, "warning: the database's own defences are down: ", says)
		})
	}
}
