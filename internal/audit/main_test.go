package audit_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"rotator/internal/audit"
	"rotator/internal/postgres/pgtest"
)

func TestMain(m *testing.M) {
	if act := spillProcesses[os.Getenv(spillProcessEnv)]; act != nil {
		act(os.Getenv(spillDirEnv)) // we are a process that a test has started
		return
	}
	pgtest.Main(m)
}

// open returns a log on the pool's database; it is closed after the test.
func open(t testing.TB, pool *pgxpool.Pool, change ...func(*audit.Config)) *audit.Log {
	t.Helper()
	cfg := audit.Config{Pool: pool, Timeout: time.Minute, Common: audit.Event{Actor: "schedule@host", Host: "host", Build: "v1.2.3"}}
	for _, c := range change {
		c(&cfg)
	}
	log, err := audit.Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("opening the log: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
		defer cancel()
		if err := log.Close(ctx); err != nil {
			t.Errorf("closing the log: %v", err)
		}
	})
	return log
}

// get returns one value.
func get[T any](t testing.TB, pool *pgxpool.Pool, sql string, args ...any) T {
	t.Helper()
	var v T
	if err := pool.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// exec runs statements that must succeed.
func exec(t testing.TB, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// stage runs statements as the superuser, on the pool's database. What tables
// they make in schema public, which has to be named, is everybody's.
func stage(t testing.TB, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	admin := pgtest.Admin(t, pool)
	exec(t, admin, sql, args...)
	exec(t, admin, "grant all on all tables in schema public to public")
}

// rowOf makes a function that gives a body's row, as audit.append would write it,
// for those who insert past it.
const rowOf = `create function public.row_of(seq bigint, body text, hash bytea default null) returns setof audit.event language sql as $$
	select row_of.seq, (timestamp '1970-01-01' + b.t_us * interval '1 microsecond') at time zone 'UTC', (timestamp '1970-01-01' + b.t_us * interval '1 microsecond')::date,
		b.status, b.id, b.call, b.run, coalesce(hash, sha256('\x00'::bytea || convert_to(body, 'UTF8'))),
		b.type, b.phase, b.outcome, b.op, b.rotation, b.credential, b.project, b.key, body::json,
		case when b.type = 'inventory.snapshot' then audit.strangers(body::json) end
	from json_to_record(body::json) as b (t_us bigint, status smallint, id uuid, call uuid, run uuid, type text, phase text,
		outcome text, op text, rotation text, credential text, project text, key text) $$`

// checkLog recomputes the tree from the rows and compares it with the head:
// dense, in order, nothing lost, nothing twice.
func checkLog(t testing.TB, pool *pgxpool.Pool, events int64) {
	t.Helper()
	var tree audit.Tree
	var size int64
	ids := map[string]bool{}
	for r, err := range audit.List(t.Context(), pool, audit.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Seq != size {
			t.Fatalf("event %d stands where %d should", r.Seq, size)
		}
		tree, size = tree.Append(leaf(r.Body)), size+1
		ids[r.Event.ID] = true
	}
	root, stored := tree.Root(), get[[]byte](t, pool, "select root from audit.head where size = $1", size)
	if string(root[:]) != string(stored) {
		t.Errorf("root of the %d rows is %x, the head says %x", size, root, stored)
	}
	if size != events || int64(len(ids)) != events {
		t.Errorf("%d rows with %d ids, want %d", size, len(ids), events)
	}
}
