package bench_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"rotator/internal/sinch/sinchtest"
)

// BenchmarkLimits is a wave of rotations under the limits that Sinch has by
// default: 20 requests a second, and a bucket of 30 token exchanges that 10 a
// second refill. It must be used up while work is waiting (0.95 or more of what
// was allowed) and never be exceeded: the simulator would answer 429.
// plan's forecast is held against what the wave took.
func BenchmarkLimits(b *testing.B) {
	const resources = 20.0
	f := fleet{projects: *size / 25, keys: 1}
	s := newStack(b, sinchtest.Config{APIRate: resources}, 0)
	s.seed(f)
	s.grow(0, f.projects)
	s.env = append(s.env, "SINCH_RATE_LIMIT=20", "SINCH_TOKEN_RATE_LIMIT=10", "SINCH_TOKEN_BURST=30", "ROTATOR_CONCURRENCY=8")
	plan := s.run(nil, "plan", "-o", "json")
	var forecast struct {
		Seconds float64 `json:"estimated_seconds"`
	}
	if err := json.Unmarshal(plan.out, &forecast); err != nil {
		b.Fatal(err)
	}
	time.Sleep(time.Second) // plan's own calls have emptied the bucket
	before := len(s.sim.Requests())
	s.expect(s.run(nil, "run-now", "-o", "json"), f.projects, f.projects)
	var first, last time.Time
	asked, refused := 0.0, 0
	for _, r := range s.sim.Requests()[before:] {
		if r.Status == 429 {
			refused++
		}
		if !strings.HasPrefix(r.Operation, "access_keys.") && !strings.HasPrefix(r.Operation, "subprojects.") {
			continue
		}
		if first.IsZero() {
			first = r.At
		}
		last = r.At
		asked++
	}
	took := last.Sub(first).Seconds()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(asked/(resources*took+resources), "used-of-allowed") // a second's worth is allowed at once
	b.ReportMetric(float64(refused), "429s")
	b.ReportMetric(asked/took, "requests/s")
	b.ReportMetric(forecast.Seconds/took, "forecast/actual")
	if refused > 0 {
		b.Errorf("%d requests were one too many", refused)
	}
}
