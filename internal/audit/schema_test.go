package audit_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"rotator/internal/audit"
	"rotator/internal/postgres/pgtest"
	"rotator/migrations"
)

// SQLSTATEs that the tests expect.
const (
	checkViolation        = "23514"
	insufficientPrivilege = "42501"
	serializationFailure  = "40001"
)

// refused runs statements that must each fail with the SQLSTATE.
func refused(t *testing.T, pool *pgxpool.Pool, code string, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		_, err := pool.Exec(t.Context(), sql)
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code != code {
			t.Errorf("%s: %v, want SQLSTATE %s", sql, err, code)
		}
	}
}

// smallPartitions makes an empty log's partitions hold n events each.
func smallPartitions(t *testing.T, pool *pgxpool.Pool, n int) {
	t.Helper()
	stage(t, pool, fmt.Sprintf(`drop table audit.event_000000000000000;
		update audit.head set covered = 0; update audit.setting set partition_size = %d`, n))
}

// TestChangesAreRefused: not even a superuser changes or removes events in
// passing, on the log itself or on a partition, first or later.
func TestChangesAreRefused(t *testing.T) {
	t.Parallel()
	pool := pgtest.Admin(t, pgtest.New(t)) // even the superuser
	smallPartitions(t, pool, 2)
	log := open(t, pool)
	for range 5 {
		if err := log.Append(t.Context(), audit.Event{Type: audit.Pause}); err != nil {
			t.Fatal(err)
		}
	}
	for _, table := range []string{"event", "event_000000000000000", "event_000000000000004"} {
		refused(t, pool, insufficientPrivilege,
			"update audit."+table+" set leaf_hash = leaf_hash",
			"update audit."+table+" set seq = seq + 100 where seq = 4",
			"delete from audit."+table,
			"delete from audit."+table+" where false",
			"truncate audit."+table,
			"set session_replication_role = replica; delete from audit."+table,
			"set session_replication_role = replica; update audit."+table+" set seq = seq where false")
	}
	refused(t, pool, insufficientPrivilege, "delete from audit.head", "truncate audit.head", "truncate audit.head, audit.event")

	// The row triggers alone, as logical replication fires them.
	exec(t, pool, "alter table audit.event disable trigger append_only")
	refused(t, pool, insufficientPrivilege, "set session_replication_role = replica; delete from audit.event where seq = 3")
	checkLog(t, pool, 5)
}

// TestForgedRowsAreRefused: what is inserted past audit.append must still
// carry the right hash and size.
func TestForgedRowsAreRefused(t *testing.T) {
	t.Parallel()
	pool := pgtest.Admin(t, pgtest.New(t))
	exec(t, pool, rowOf)
	body := `{"v":1,"id":"` + someID + `","t_us":1,"type":"pause"}`
	hash := leaf([]byte(body))
	insert := func(body string, hash [sha256.Size]byte) string {
		return fmt.Sprintf(`insert into audit.event select * from row_of(0, '%s', '\x%x')`, body, hash[:])
	}
	huge := `{"v":1,"id":"` + someID + `","t_us":1,"type":"` + strings.Repeat("x", audit.BodyLimit) + `"}`
	refused(t, pool, checkViolation, insert(body+" ", hash), insert(huge, leaf([]byte(huge))), insert(body, sha256.Sum256([]byte(body))))
	refused(t, pool, "23502", insert(`{"id":"`+someID+`","t_us":1}`, leaf([]byte(`{"id":"`+someID+`","t_us":1}`))))
	refused(t, pool, checkViolation, "update audit.head set frontier = '\\x00'", "update audit.head set size = -1")
	exec(t, pool, insert(body, hash))
	refused(t, pool, "23505", insert(body, hash), "insert into audit.head select * from audit.head")
}

func TestAppendFunctionRefuses(t *testing.T) {
	t.Parallel()
	pool := pgtest.Admin(t, pgtest.New(t))
	body := `{"v":1,"id":"` + someID + `","t_us":1,"type":"pause"}`
	hash := leaf([]byte(body))
	call := func(size, bodies, hashes, frontier string) string {
		return fmt.Sprintf(`select audit.append(%s, %s, %s, '\x%x', %s)`, size, bodies, hashes, hash[:], frontier)
	}
	one, h := "array['"+body+"']", fmt.Sprintf(`array['\x%x'::bytea]`, hash[:])
	f := fmt.Sprintf(`'\x%x'`, hash[:])
	refused(t, pool, serializationFailure, call("1", one, h, f), call("-1", one, h, f), call("null", one, h, f))
	refused(t, pool, "22023", call("0", "array[]::text[]", "array[]::bytea[]", f), call("0", one, "null", f), call("0", "null", "null", f))
	refused(t, pool, checkViolation, call("0", one, h, "''"), call("0", "array['"+body+" ']", h, f))
	checkLog(t, pool, 0)
	exec(t, pool, call("0", one, h, f))
	checkLog(t, pool, 1)
}

// TestPartitions: the log rolls over under load, into partitions made in time,
// one batch across several of them too.
func TestPartitions(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	smallPartitions(t, pool, 50)
	var g errgroup.Group
	for range 2 {
		log := open(t, pool)
		for range 8 {
			g.Go(func() error {
				for range 30 {
					if err := log.Append(t.Context(), audit.Event{Type: audit.LeaseLost}); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	log := open(t, pool)
	if err := log.Append(t.Context(), make120()...); err != nil {
		t.Fatal(err)
	}
	checkLog(t, pool, 600)
	// 600 events fill twelve; the thirteenth is there before it is needed.
	if n := get[int](t, pool, "select count(*) from pg_inherits where inhparent = 'audit.event'::regclass"); n != 13 {
		t.Errorf("%d partitions, want 13", n)
	}
	const like = `select count(*) from pg_index i join pg_inherits p on p.inhrelid = i.indrelid
		where inhparent = 'audit.event'::regclass and not exists (select from pg_inherits x where x.inhrelid = i.indexrelid)`
	if n := get[int](t, pool, like); n != 0 {
		t.Errorf("%d indexes of partitions belong to no index of the log", n)
	}
}

func make120() []audit.Event {
	events := make([]audit.Event, 120)
	for i := range events {
		events[i].Type = audit.Pause
	}
	return events
}

// TestPartitionLocked: somebody who keeps the table locked delays the next
// partition, but not the log, until the last partition is full.
func TestPartitionLocked(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	smallPartitions(t, pool, 10)
	log := open(t, pool)
	one := func() {
		if err := log.Append(t.Context(), audit.Event{Type: audit.Pause}); err != nil {
			t.Error(err)
		}
	}
	for range 4 {
		one()
	}
	tx, err := pgtest.Admin(t, pool).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "lock table audit.event in share update exclusive mode"); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		one()
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		one()
	}
	checkLog(t, pool, 12)
}

// TestNotDropped: going down is refused.
func TestNotDropped(t *testing.T) {
	t.Parallel()
	text, err := migrations.FS.ReadFile("0001_audit.sql")
	if err != nil {
		t.Fatal(err)
	}
	_, down, ok := strings.Cut(string(text), "-- +goose Down")
	if !ok {
		t.Fatal("the migration has no Down part")
	}
	pool := pgtest.Admin(t, pgtest.New(t)) // even the superuser
	refused(t, pool, "P0001", down)
}
