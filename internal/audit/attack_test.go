package audit_test

import (
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/note"

	"rotator/internal/postgres/pgtest"
)

// attack is one way to make a log say something else, tried as superuser.
type attack struct {
	name string
	// naive are statements that try it in passing, and refusal is the SQLSTATE
	// with which the database stops each; "" where nothing does.
	naive   []string
	refusal string
	// how the attacker gets round that.
	how string
	do  func(t *testing.T, s *scene)
	// What verification must say then: the exit code, the kind of a finding
	// that holds all the words, and the events that it names at the most.
	code     int
	kind     string
	says     []string
	from, to int64
}

// nowhere stands for findings that are about no event.
const nowhere = -1

// attacks is AUDIT.md section 7's matrix, and more.
var attacks = []attack{
	{
		name: "edit a body", naive: []string{`update audit.event set body = replace(body::text, 'k2', 'k9')::json where seq = 17`},
		refusal: insufficientPrivilege, how: "triggers disabled, constraint dropped",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			s.unbound(t, `update audit.event set body = replace(body::text, 'k2', 'k9')::json where seq = 17`)
		},
		code: 1, kind: "altered", says: []string{"the body of event 17 (", "key.retired of key k9) was altered", "checkpoint 20 of 20"}, from: 17, to: 17,
	},
	{
		name: "edit a body as replication would", naive: []string{`set session_replication_role = replica; update audit.event set body = '{}' where seq = 17`},
		refusal: insufficientPrivilege, how: "triggers disabled, constraint dropped",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			s.unbound(t, `update audit.event set body = replace(body::text, 'overlap is over', 'compromised')::json where seq = 65`)
		},
		code: 1, kind: "altered", says: []string{"the body of event 65 (", "was altered: the hash beside it is the one that the log's head was made from"}, from: 65, to: 65,
	},
	{
		name: "edit a body, hash and columns", naive: []string{`update audit.event set body = '{}', leaf_hash = sha256('\x007b7d') where seq = 25`},
		refusal: insufficientPrivilege, how: "triggers disabled, constraint dropped and put back",
		do:   func(t *testing.T, s *scene) { t.Helper(); s.edit(t, 25, 25, `"k4"`, `"k9"`) },
		code: 1, kind: "altered", says: []string{"events 20 to 39 are not those that checkpoint 40 of", "up to checkpoint 20 of"}, from: 20, to: 39,
	},
	{
		name: "edit a body, everything made to fit", naive: []string{`alter table audit.event add column x int; update audit.event set x = 1`},
		refusal: insufficientPrivilege, how: "the same, and the head rewritten",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			s.edit(t, 25, 25, `"k4"`, `"k9"`)
			s.rehead(t)
		},
		code: 1, kind: "altered", says: []string{"events 20 to 39 are not those that checkpoint 40 of"}, from: 20, to: 39,
	},
	{
		name: "rewrite everything from an event on", how: "triggers disabled, constraint dropped, head rewritten",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			s.edit(t, 25, sceneEvents, `"p1"`, `"p2"`)
			s.rehead(t)
		},
		code: 1, kind: "altered", says: []string{"events 20 to 59 are not those that 2 checkpoints sign; up to checkpoint 20 of", "is one of events 20 to 39"}, from: 20, to: 59,
	},
	{
		name: "falsify a column", naive: []string{`update audit.event set key_id = 'k9' where seq = 17`, `update audit.event_000000000000000 set key_id = 'k9' where seq = 17`},
		refusal: insufficientPrivilege, how: "triggers disabled",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			s.disarmed(t, `update audit.event set key_id = 'k9' where seq = 17`)
		},
		code: 1, kind: "column", says: []string{`column key_id of event 17 (`, `key.retired of key k2) says "k9", its body "k2"`}, from: 17, to: 17,
	},
	{
		name: "falsify every column", how: "triggers disabled",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			s.disarmed(t, `update audit.event set occurred_at = occurred_at + interval '1 microsecond', day = day - 1, http_status = 500, event_id = gen_random_uuid(), call_id = gen_random_uuid(), run_id = gen_random_uuid(), type = 'pause', phase = 'x', outcome = null, operation = 'x', rotation_id = '', credential = '', project_id = null, key_id = '' where seq = 1`)
		},
		code: 1, kind: "column", says: []string{"column occurred_at of event 1 "}, from: 1, to: 1,
	},
	{
		name: "falsify what a listing shows", how: "triggers disabled",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			s.disarmed(t, `update audit.event set strangers = '{k9}' where seq = 17`)
		},
		code: 1, kind: "column", says: []string{`column strangers of event 17 says "[\"k9\"]", its body ""`}, from: 17, to: 17,
	},
	{
		name: "falsify a hash", naive: []string{`insert into audit.event select * from row_of(66, '{"v":1,"id":"01900000-0000-7000-8000-000000000000","t_us":1,"type":"pause"}', sha256(''))`},
		refusal: checkViolation, how: "triggers disabled, constraint dropped",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			s.unbound(t, `update audit.event set leaf_hash = sha256('x') where seq = 17`)
		},
		code: 1, kind: "altered", says: []string{"the hash beside event 17 (", "was falsified: its body is the one that checkpoint 20 of"}, from: 17, to: 17,
	},
	{
		name: "delete a middle row", naive: []string{`delete from audit.event where seq = 30`, `set session_replication_role = replica; delete from audit.event_000000000000000 where seq = 30`},
		refusal: insufficientPrivilege, how: "triggers disabled",
		do:   func(t *testing.T, s *scene) { t.Helper(); s.disarmed(t, `delete from audit.event where seq = 30`) },
		code: 1, kind: "missing", says: []string{"event 30 is missing: checkpoint 40 of"}, from: 30, to: 30,
	},
	{
		name: "delete rows on both sides of a checkpoint", how: "triggers disabled",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			s.disarmed(t, `delete from audit.event where seq between 35 and 44`)
		},
		code: 1, kind: "missing", says: []string{"events 35 to 44 (10 of them) are missing"}, from: 35, to: 44,
	},
	{
		name: "delete and renumber, everything made to fit", naive: []string{`update audit.event set seq = seq - 1 where seq > 30`},
		refusal: insufficientPrivilege, how: "triggers disabled, head rewritten",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			s.disarmed(t, `delete from audit.event where seq = 30`)
			s.renumber(t, 31, -1)
			s.rehead(t)
		},
		code: 1, kind: "altered", says: []string{"events 20 to 59 are not those that 2 checkpoints sign", "Rows were removed or inserted and the later ones renumbered"}, from: 20, to: 59,
	},
	{
		name: "add a row in the middle", naive: []string{`insert into audit.event select r.* from audit.event e, row_of(30, e.body::text) r where e.seq = 31`},
		refusal: "23505", how: "triggers disabled, head rewritten",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			s.renumber(t, 30, 1)
			s.do(t, `insert into audit.event select r.* from audit.event e, row_of(30, replace(e.body::text, '"id":"0', '"id":"1')) r where e.seq = 29`)
			s.rehead(t)
		},
		code: 1, kind: "altered", says: []string{"events 20 to 59 are not those that 2 checkpoints sign"}, from: 20, to: 59,
	},
	{
		name: "swap two rows", naive: []string{`update audit.event set seq = 71 - seq where seq in (35, 36)`},
		refusal: insufficientPrivilege, how: "triggers disabled, head rewritten",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			s.disarmed(t, `update audit.event set seq = 500000 where seq = 35`)
			s.disarmed(t, `update audit.event set seq = 35 where seq = 36`)
			s.disarmed(t, `update audit.event set seq = 36 where seq = 500000`)
			s.rehead(t)
		},
		code: 1, kind: "altered", says: []string{"events 20 to 39 are not those that checkpoint 40 of", "swapped"}, from: 20, to: 39,
	},
	{
		name: "replay an event", how: "nothing stops it: who may write may write it",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			s.appendRow(t, get[string](t, s.pool, `select body::text from audit.event where seq = 41`))
		},
		code: 1, kind: "extra", says: []string{"event 66 (", "stands in the log twice: an earlier event has the same id"}, from: 66, to: 66,
	},
	{
		name: "put a row past the head", how: "nothing stops a superuser's INSERT",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			s.do(t, `insert into audit.event select r.* from audit.event e, row_of(66, replace(e.body::text, '"id":"0', '"id":"1')) r where e.seq = 65`)
		},
		code: 1, kind: "extra", says: []string{"the head says that the log has 66 events, but event 66 is there"}, from: 66, to: 66,
	},
	{
		name: "add a row whose columns say something else", how: "nothing stops a superuser's INSERT, head rewritten",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			s.do(t, `insert into audit.event (seq, occurred_at, day, event_id, leaf_hash, type, project_id, credential, rotation_id, key_id, body)
				select 66, r.occurred_at, r.day, r.event_id, r.leaf_hash, r.type, r.project_id, r.credential, r.rotation_id, 'k9', r.body from audit.event e, row_of(66, replace(e.body::text, '"id":"0', '"id":"1')) r where e.seq = 65`)
			s.rehead(t)
		},
		code: 1, kind: "column", says: []string{"column key_id of event 66 (", `says "k9", its body "k10"`}, from: 66, to: 66,
	},
	{
		name: "let a seq stand twice", naive: []string{`insert into audit.event select * from audit.event where seq = 20`}, refusal: "23505", how: "primary key dropped",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			s.do(t, `alter table audit.event drop constraint event_pkey`)
			s.do(t, `insert into audit.event select r.* from audit.event e, row_of(20, replace(e.body::text, '"id":"0', '"id":"1')) r where e.seq = 21`)
		},
		code: 1, kind: "extra", says: []string{"seq 20 stands in the log twice"}, from: 20, to: 20,
	},
	{
		name: "cut the tail before the last checkpoint", naive: []string{`delete from audit.event where seq >= 50`, `truncate audit.event`, `truncate audit.event_000000000000000`},
		refusal: insufficientPrivilege, how: "triggers disabled, head rewritten",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			s.disarmed(t, `delete from audit.event where seq >= 50`)
			s.rehead(t)
		},
		code: 1, kind: "missing", says: []string{"the log ends with event 49, but checkpoint 60 of", "covers 60 events", "since checkpoint 40 of"}, from: 40, to: 59,
	},
	{
		name: "cut at a checkpoint", how: "triggers disabled, head rewritten",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			s.disarmed(t, `delete from audit.event where seq >= 40`)
			s.rehead(t)
		},
		code: 1, kind: "missing", says: []string{"events 40 to 59 (20 of them) are missing at the end: checkpoint 60 of"}, from: 40, to: 59,
	},
	{
		name: "cut the tail, forget the head", how: "triggers disabled",
		do:   func(t *testing.T, s *scene) { t.Helper(); s.disarmed(t, `delete from audit.event where seq >= 64`) },
		code: 1, kind: "missing", says: []string{"the head says that the log has 66 events, the last one is 63"}, from: 64, to: 65,
	},
	{
		name: "empty the log", naive: []string{`truncate audit.event, audit.head`}, refusal: insufficientPrivilege, how: "triggers disabled, head rewritten",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			s.disarmed(t, `truncate audit.event`)
			s.rehead(t)
		},
		code: 1, kind: "missing", says: []string{"events 0 to 59 (60 of them) are missing at the end"}, from: 0, to: 59,
	},
	{
		name: "drop the beginning", how: "triggers disabled, at a checkpoint",
		do:   func(t *testing.T, s *scene) { t.Helper(); s.disarmed(t, `delete from audit.event where seq < 20`) },
		code: 1, kind: "missing", says: []string{"events 0 to 19 (20 of them) are missing at the log's beginning, and no audit.partition_dropped in it says so"}, from: 0, to: 19,
	},
	{
		name: "cut the tail after the last checkpoint, head rewritten", how: "triggers disabled. THE EXPECTED MISS: seconds, as a rule",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			s.disarmed(t, `delete from audit.event where seq >= 63`)
			s.rehead(t)
		},
		code: 0,
	},
	{
		name: "edit after the last checkpoint, head rewritten", how: "triggers disabled. THE EXPECTED MISS",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			s.edit(t, 65, 65, `"k10"`, `"k11"`)
			s.rehead(t)
		},
		code: 0,
	},
	{
		name: "edit after the last checkpoint, head forgotten", how: "triggers disabled, constraint dropped",
		do:   func(t *testing.T, s *scene) { t.Helper(); s.edit(t, 65, 65, `"k10"`, `"k11"`) },
		code: 1, kind: "head", says: []string{"the root in audit.head is not that of the log's 66 events: since checkpoint 60 of"}, from: nowhere,
	},
	{
		name: "rewrite head and frontier", naive: []string{`update audit.head set frontier = '\x00'`, `update audit.head set size = 63`}, refusal: checkViolation, how: "with the right lengths",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			s.do(t, `update audit.head set root = sha256('x'), frontier = sha256('x') || sha256('y')`)
		},
		code: 1, kind: "head", says: []string{"the root in audit.head is not that of the log's 66 events"}, from: nowhere,
	},
	{
		name: "rewrite the frontier", how: "with the right length",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			s.do(t, `update audit.head set frontier = sha256('x') || sha256('y')`)
		},
		code: 1, kind: "head", says: []string{"the frontier in audit.head is not that of the log's 66 events"}, from: nowhere,
	},
	{
		name: "delete the head", naive: []string{`delete from audit.head`, `truncate audit.head`}, refusal: insufficientPrivilege, how: "trigger disabled",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			s.do(t, `alter table audit.head disable trigger all; delete from audit.head; alter table audit.head enable always trigger one_row`)
		},
		code: 1, kind: "head", says: []string{"audit.head has 0 rows instead of one"}, from: nowhere,
	},
	{
		name: "forge a checkpoint with another key", how: "writing where checkpoints are kept",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			s.edit(t, 65, 65, `"k10"`, `"k11"`)
			s.rehead(t)
			mallory := newWitness(t, s.origin)
			mallory.store = s.store
			mallory.anchor(t, s.pool)
		},
		code: 1, kind: "checkpoint", says: []string{"0000000000000066: not signed as it should be: signed by witness+", "not among the verifier keys"}, from: nowhere,
	},
	{
		name: "forge a checkpoint's text", how: "writing where checkpoints are kept",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			mallory := newWitness(t, s.origin)
			mallory.store = newShelf()
			c := headOf(t, s.pool)
			mallory.sign(t, c)
			fields, err := mallory.store.Read(t.Context(), c.path(), 0)
			if err != nil {
				t.Fatal(err)
			}
			fields["note"] = strings.Replace(fields["note"], "\n66\n", "\n65\n", 1)
			if err := s.store.Create(t.Context(), c.path(), fields); err != nil {
				t.Fatal(err)
			}
		},
		code: 1, kind: "checkpoint", says: []string{"0000000000000066: not signed as it should be"}, from: nowhere,
	},
	{
		name: "move a checkpoint to another size", how: "writing where checkpoints are kept",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			c := headOf(t, s.pool)
			s.sign(t, c)
			s.store.move(c.path(), strings.Replace(c.path(), "66", "65", 1))
		},
		code: 1, kind: "checkpoint", says: []string{"it is the checkpoint of another place, size 66 of epoch 1"}, from: nowhere,
	},
	{
		name: "sign a checkpoint for more events", how: "holding the signing key",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			c := headOf(t, s.pool)
			c.size, c.frontier = 70, nil
			s.sign(t, c)
		},
		code: 1, kind: "missing", says: []string{"checkpoint 70 of", "the log ends with event 65"}, from: 60, to: 69,
	},
	{
		name: "sign two histories", how: "holding the signing key: the same size on two days",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			c := headOf(t, s.pool)
			c.size, c.frontier, c.at = 40, nil, c.at.Add(-48*time.Hour) // another day, also around midnight
			s.sign(t, c)
		},
		code: 1, kind: "checkpoint", says: []string{"checkpoint 40 of", "are both signed and contradict each other"}, from: nowhere,
	},
	{
		name: "remove checkpoints", how: "emptying where they are kept",
		do: func(_ *testing.T, s *scene) {
			s.store.drop("checkpoints/")
		},
		code: 3,
	},
	{
		name: "remove the newest checkpoints", how: "and wait",
		do: func(_ *testing.T, s *scene) {
			s.store.drop("0060")
			s.store.drop("0040")
			s.now = s.now.Add(2 * time.Hour)
		},
		code: 3,
	},
	{
		name: "alter the origin", naive: []string{`delete from audit.setting`}, how: "nothing stops it",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			s.do(t, `update audit.setting set origin = 'rotator-audit/other'`)
		},
		code: 1, kind: "origin", says: []string{"the log calls itself rotator-audit/other, but its events fit checkpoints of rotator-audit/", "(3 of them", "the name in audit.setting was altered"}, from: nowhere,
	},
	{
		name: "put another log's checkpoints there", how: "writing where checkpoints are kept, holding the key",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			c := headOf(t, s.pool)
			c.origin, c.size, c.frontier = "rotator-audit/other", 50, nil
			s.sign(t, c)
		},
		code: 1, kind: "origin", says: []string{"checkpoints of the log rotator-audit/other stand among", "(1 of them, the first is checkpoint 50 of"}, from: nowhere,
	},
	{
		name: "open an epoch that nobody opened", how: "holding the signing key",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			s.edit(t, 25, 25, `"k4"`, `"k9"`)
			s.rehead(t)
			c := headOf(t, s.pool)
			c.epoch = 2
			s.sign(t, c)
		},
		code: 1, kind: "epoch", says: []string{"there are checkpoints of epoch 2, but the log has no audit.rebased that opens it"}, from: nowhere,
	},
	{
		name: "forge a rebase", how: "holding the writer's login",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			_, mallory, err := note.GenerateKey(rand.Reader, "witness")
			if err != nil {
				t.Fatal(err)
			}
			s.appendRow(t, fmt.Sprintf(`{"v":1,"id":"%s","t_us":%d,"type":"audit.rebased","counters":{"anchored_size":60,"actual_size":20,"common_size":20},"epoch":2,"note":"%s rebased\n\n— witness %s\n"}`,
				idAt(s.now), s.now.UnixMicro(), s.origin, mallory[len(mallory)-44:]))
		},
		code: 1, kind: "epoch", says: []string{"event 66 says that epoch 2 begins, but its statement is forged"}, from: 66, to: 66,
	},
	{
		name: "tell of a change that was never announced", how: "holding the writer's login",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			s.appendRow(t, fmt.Sprintf(`{"v":1,"id":"%s","t_us":%d,"type":"api.call","phase":"outcome","call":"%s","project":"p1","op":"access_keys.delete","status":204,"outcome":"ok"}`,
				idAt(s.now), s.now.UnixMicro(), idAt(s.now)))
		},
		code: 1, kind: "call", says: []string{"event 66 is the outcome of access_keys.delete", "no intent of that call is open"}, from: 66, to: 66,
	},
	{
		name: "count more than was done", how: "holding the writer's login",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			run := uuid.NewString()
			for i, e := range []string{`"run.started"`, `"key.retired"`, `"run.finished","counters":{"rotated":0,"retired":2,"orphans_deleted":0,"failed":0}`} {
				s.appendRow(t, fmt.Sprintf(`{"v":1,"id":"%s","t_us":%d,"run":"%s","key":"x","type":%s}`, idAt(s.now), s.now.UnixMicro()+int64(i), run, e))
			}
		},
		code: 1, kind: "run", says: []string{"at event 68 that it rotated 0 keys, retired 2 and deleted 0 orphans, with 0 failures; its events are 0, 1 and 0"}, from: 68, to: 68,
	},
	{
		name: "take a partition off", naive: []string{`drop table audit.event_000000000000000 restrict; select 1/0`}, refusal: "22012", how: "nothing stops it",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			s.do(t, `alter table audit.event detach partition audit.event_000000000000000`)
		},
		code: 1, kind: "missing", says: []string{"the head says that the log has 66 events"}, from: 0, to: 65,
	},
	{
		name: "hide rows from the auditor", how: "row security",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			s.do(t, `create policy hide on audit.event for select using (key_id is distinct from 'k2'); alter table audit.event enable row level security`)
			s.pool = pgtest.Pool(t, pgtest.Auditor(t, s.pool.Config().ConnString()))
		},
		code: 2,
	},
	{
		name: "disarm and do nothing", how: "warned about",
		do: func(t *testing.T, s *scene) {
			t.Helper()
			s.disarm(t)
			s.do(t, `grant insert on audit.event to public`)
		},
		code: 0,
	},
}
