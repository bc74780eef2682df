package audit_test

import (
	"crypto/sha256"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"rotator/internal/audit"
	"rotator/internal/postgres/pgtest"
)

// busyLog appends n events of the kinds that a log has: of ten, six are reads,
// the others announce a change and tell how it ended.
func busyLog(t testing.TB, log *audit.Log, n int) {
	t.Helper()
	const batch = 2000
	for n > 0 {
		events := make([]audit.Event, 0, batch)
		for i := 0; i < min(n, batch); i++ {
			e := typical(i)
			switch i % 10 {
			case 4, 6:
				e.Phase, e.Op, e.Method, e.Status, e.Outcome, e.RequestID, e.DurationUS = audit.Intent, "access_keys.create", "POST", 0, "", "", 0
				e.Rotation = "0123456789abc"
			case 5, 7:
				e.Call, e.Op, e.Method, e.Rotation = events[i-1].Call, "access_keys.create", "POST", "0123456789abc"
			}
			events = append(events, e)
		}
		if n%batch != 0 && len(events)%10 != 0 {
			t.Fatalf("a log of tens")
		}
		if err := log.Append(t.Context(), events...); err != nil {
			t.Fatal(err)
		}
		n -= len(events)
	}
}

// BenchmarkVerify verifies a log with all checks and compares that with
// reading the bodies in order and hashing them, and nothing else. AUDIT.md
// section 8 wants 80,000 events a second on one core.
// ROTATOR_BENCH_EVENTS says how many events the log has.
func BenchmarkVerify(b *testing.B) {
	n := benchEvents(b, 100_000)
	pool := pgtest.New(b)
	w, log := witnessOf(b, pool), open(b, pool)
	for range 10 {
		busyLog(b, log, n/10)
		w.anchor(b, pool)
	}
	stage(b, pool, "vacuum analyze audit.event")
	var took, bare, busy time.Duration
	for b.Loop() {
		start, before := time.Now(), processorTime(b)
		v := w.verify(b, pool)
		took += time.Since(start)
		busy += processorTime(b) - before
		if v.ExitCode != audit.VerifiedIntact || v.Events != int64(n) || v.Checkpoints != 10 {
			b.Fatal(shown(v))
		}
		start = time.Now()
		if got := readAndHash(b, pool); got != n {
			b.Fatalf("%d rows, want %d", got, n)
		}
		bare += time.Since(start)
	}
	events := float64(n) * float64(b.N)
	b.ReportMetric(events/took.Seconds(), "events/s")
	b.ReportMetric(events/busy.Seconds(), "events/core-s")
	b.ReportMetric(events/bare.Seconds(), "bare-events/s")
	b.ReportMetric(bare.Seconds()/took.Seconds(), "ratio")
	b.ReportMetric(0, "ns/op") // it would count both
}

// processorTime is what this process has used of its processors, which other
// load does not change.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// readAndHash is the bare loop.
func readAndHash(b *testing.B, pool *pgxpool.Pool) int {
	b.Helper()
	rows, err := pool.Query(b.Context(), "select seq, body from audit.event order by seq")
	if err != nil {
		b.Fatal(err)
	}
	defer rows.Close()
	n, sum := 0, byte(0)
	for rows.Next() {
		body := rows.RawValues()[1]
		hash := sha256.Sum256(body)
		sum += hash[0]
		n++
	}
	if rows.Err() != nil {
		b.Fatal(rows.Err(), sum)
	}
	return n
}
