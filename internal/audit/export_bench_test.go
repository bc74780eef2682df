package audit_test

import (
	"context"
	"io"
	"testing"
	"time"

	"rotator/internal/audit"
	"rotator/internal/postgres/pgtest"
)

// BenchmarkExport exports a log and prints events per second, and the time as
// a multiple of what only reading the same bodies takes.
func BenchmarkExport(b *testing.B) {
	pool := pgtest.New(b)
	const events = 20_000
	for range events / 2000 {
		fill(b, pool, 2000)
	}
	read := func() {
		rows, err := pool.Query(context.Background(), "select body::text from audit.event order by seq")
		if err != nil {
			b.Fatal(err)
		}
		for rows.Next() {
			_ = rows.RawValues()
		}
		if rows.Err() != nil {
			b.Fatal(rows.Err())
		}
	}
	for _, format := range []audit.Format{audit.JSONL, audit.OCSF} {
		b.Run(string(format), func(b *testing.B) {
			var bare, export time.Duration
			for b.Loop() {
				began := time.Now()
				read()
				middle := time.Now()
				s, err := audit.Look(b.Context(), pool)
				if err != nil {
					b.Fatal(err)
				}
				d, err := audit.Exporter{Snapshot: s, Format: format}.Write(b.Context(), io.Discard)
				if err != nil || d.Written.Rows != events {
					b.Fatal(d.Written.Rows, err)
				}
				s.Close(b.Context())
				bare, export = bare+middle.Sub(began), export+time.Since(middle)
			}
			b.ReportMetric(float64(events)*float64(b.N)/export.Seconds(), "events/s")
			b.ReportMetric(export.Seconds()/bare.Seconds(), "x-bare-read")
		})
	}
}
