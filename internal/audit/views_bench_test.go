package audit_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"rotator/internal/audit"
	"rotator/internal/postgres"
	"rotator/internal/postgres/pgtest"
	"rotator/internal/secret"
	"rotator/migrations"
)

// benchEvents is how many events a benchmark's log has: ROTATOR_BENCH_EVENTS,
// or else so many.
func benchEvents(b *testing.B, otherwise int) int {
	b.Helper()
	text := os.Getenv("ROTATOR_BENCH_EVENTS")
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1000 {
		b.Fatalf("ROTATOR_BENCH_EVENTS=%q, want a number from 1000 on", text)
	}
	return n
}

// benchDatabase is a database of the benchmark's own, or the one that
// ROTATOR_BENCH_DATABASE names, whose log is filled at first use and kept: its
// login must be its owner's.
func benchDatabase(b *testing.B) (owner, auditor *pgxpool.Pool) {
	b.Helper()
	dsn := os.Getenv("ROTATOR_BENCH_DATABASE")
	if dsn == "" {
		dsn = pgtest.Database(b)
		return pgtest.Pool(b, dsn), pgtest.Pool(b, pgtest.Auditor(b, dsn))
	}
	if _, err := postgres.Migrate(b.Context(), secret.New(dsn), migrations.FS, postgres.MigrateOptions{}); err != nil {
		b.Fatal(err)
	}
	pool := pgtest.Pool(b, dsn)
	return pool, pool
}

// BenchmarkQuestions asks each of the nine questions of AUDIT.md section 5
// about one month or one key of a fleet's log, as the auditor, and says how
// long the slowest of three warm answers took: section 8 wants 250 ms at ten
// million events. It also says what an event takes on disk, indexes included:
// 1.1 KB is wanted.
func BenchmarkQuestions(b *testing.B) {
	events := benchEvents(b, 100_000)
	owner, auditor := benchDatabase(b)
	projects := max(12, events/10_000)
	var f *fleet
	if size, _ := open(b, owner).Head(); size == 0 {
		f = tellFleet(b, owner, projects, events, 5000)
		vacuum := stage
		if owner == auditor { // a database that is not ours, with the login of its owner
			vacuum = exec
		}
		vacuum(b, owner, "vacuum analyze audit.event")
	} else { // what it tells is the same every time, but for when
		f = newFleet(projects, time.Unix(0, 0), func(...audit.Event) {})
		f.tell(int(size))
		f.now = get[time.Time](b, owner, "select max(occurred_at) from audit.event")
	}
	size := get[int64](b, owner, "select sum(pg_total_relation_size(relid)) from pg_partition_tree('audit.event')")
	key := get[string](b, owner, "select key_id from audit.event where type = 'key.retired' and body ->> 'trigger' = 'schedule' order by seq limit 1")
	from, to := f.now.Add(-31*day), f.now
	for _, q := range []struct {
		name, sql string
		args      []any
	}{
		{"events", "select * from audit.events where occurred_at between $1 and $2 and type = 'rotation.failed'", []any{from, to}},
		{"api_calls", "select * from audit.api_calls where occurred_at between $1 and $2 and operation = 'access_keys.delete'", []any{from, to}},
		{"open_intents", "select * from audit.open_intents where intended_at between $1 and $2", []any{from, to}},
		{"key_history of a key", "select * from audit.key_history where key_id = $1", []any{key}},
		{"keys_on a day", "select * from audit.keys_on($1)", []any{from}},
		{"overdue_keys", "select * from audit.overdue_keys", nil},
		{"schedule_gaps", "select * from audit.schedule_gaps('2 hours') where gap_from between $1 and $2", []any{from, to}},
		{"status_codes", "select * from audit.status_codes where day between $1::date and $2::date", []any{from, to}},
		{"compromise_response", "select * from audit.compromise_response where reported_at between $1 and $2", []any{from, to}},
	} {
		b.Run(q.name, func(b *testing.B) {
			ask := func() (rows int, took time.Duration) {
				start := time.Now()
				answer, err := auditor.Query(b.Context(), q.sql, q.args...)
				if err != nil {
					b.Fatal(err)
				}
				for answer.Next() {
					rows++
				}
				if err := answer.Err(); err != nil {
					b.Fatal(err)
				}
				return rows, time.Since(start)
			}
			rows, cold := ask()
			var slowest time.Duration
			for b.Loop() {
				for range 3 {
					_, took := ask()
					slowest = max(slowest, took)
				}
			}
			b.ReportMetric(float64(rows), "rows")
			b.ReportMetric(float64(cold.Microseconds())/1000, "first-ms")
			b.ReportMetric(float64(slowest.Microseconds())/1000, "slowest-ms")
			b.ReportMetric(float64(slowest)/float64(250*time.Millisecond), "of-250ms")
			b.ReportMetric(float64(size)/float64(f.events), "B/event")
			b.ReportMetric(float64(f.events), "events")
		})
	}
}
