package bench_test

import (
	"encoding/json"
	"flag"
	"slices"
	"testing"

	"rotator/internal/sinch/sinchtest"
)

// size makes a try quicker: go test -bench Quiet ./test/bench -fleet 500.
var size = flag.Int("fleet", 5000, "subprojects of the fleets of BenchmarkQuiet and BenchmarkRotations")

// turns is how often each side of a pair is measured.
const turns = 3

// unlimited is a Sinch without limits on its rates.
var unlimited = sinchtest.Config{TokenRate: -1, KeepRequests: 1000}

// BenchmarkQuiet is a run over 5,000 subprojects of 4 keys in which nothing is
// due, beside the floor. DESIGN.md section 8 wants a ratio of at most 1.15.
func BenchmarkQuiet(b *testing.B) { compare(b, fleet{projects: *size, keys: 4}, 0) }

// BenchmarkRotations is the same run with 500 rotations. DESIGN.md section 8
// wants at most 1.25.
func BenchmarkRotations(b *testing.B) {
	compare(b, fleet{projects: *size, keys: 4}, *size/10)
}

// brief is an overlap that is over when the next turn begins.
var brief = []string{"ROTATOR_OVERLAP=1s"}

// compare measures runs over a fleet beside the floor, in turns.
func compare(b *testing.B, f fleet, rotations int) {
	b.Helper()
	s := newStack(b, unlimited, latency)
	s.seed(f)
	s.run(brief, "run-now") // the first run makes the rows
	bare := s.floor()
	bare.listen()
	var ratios, rates, idle, cpu, calls []float64
	for n := range turns * b.N {
		s.grow(n*rotations, rotations)
		before := s.calls()
		u := s.run(brief, "run-now", "-o", "json")
		s.expect(u, f.projects, rotations)
		calls = append(calls, float64(s.calls()-before))
		took := bare.took(f, f.projects-rotations, rotations)
		ratios = append(ratios, u.wall.Seconds()/took.Seconds())
		rates = append(rates, float64(f.projects)/u.wall.Seconds())
		cpu = append(cpu, 1000*u.cpu.Seconds()/float64(f.projects))
		idle = append(idle, bare.ideal().Seconds()/took.Seconds())
		if rotations > 0 {
			s.run(brief, "run-now") // retires the old keys, so that every turn begins alike
		}
	}
	b.ReportMetric(0, "ns/op")
	report(b, ratios, "ratio")
	b.ReportMetric(slices.Min(ratios), "min-ratio")
	b.ReportMetric(slices.Max(ratios), "max-ratio")
	report(b, rates, "projects/s")
	report(b, idle, "floor/ideal")
	b.ReportMetric(float64(bare.alone.Microseconds())/1000, "ms/call")
	report(b, cpu, "cpu-s/1000-projects")
	report(b, calls, "calls")
	b.ReportMetric(float64(bare.calls.Load()), "floor-calls")
}

// calls is how many calls stand in the log.
func (s *stack) calls() int64 {
	s.b.Helper()
	return s.one(`select count(*) from audit.event where type = 'api.call' and phase = 'outcome'`)
}

// expect fails the benchmark unless a run did what it should.
func (s *stack) expect(u usage, projects, rotated int) {
	s.b.Helper()
	var r struct{ Projects, Rotated, Failed int }
	if err := json.Unmarshal(u.out, &r); err != nil {
		s.b.Fatal(err)
	}
	if r.Projects != projects+1 || r.Rotated != rotated || r.Failed != 0 {
		s.b.Fatalf("the run: %+v; want %d projects and %d rotations", r, projects+1, rotated)
	}
}

// report reports the median.
func report(b *testing.B, figures []float64, unit string) {
	b.Helper()
	b.ReportMetric(median(figures), unit)
}

func median[T ~float64 | ~int64](figures []T) T {
	sorted := slices.Sorted(slices.Values(figures))
	return sorted[len(sorted)/2]
}
