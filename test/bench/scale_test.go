package bench_test

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"rotator/internal/sinch/sinchtest"
)

// largest is the largest fleet of BenchmarkScale. With the default it takes two
// minutes, with 100000 a quarter of an hour.
var largest = flag.Int("largest", 10_000, "subprojects of BenchmarkScale's largest fleet")

// BenchmarkScale is a first run over fleets of 4 keys a subproject, a second
// one in which nothing has changed, and one that looks only at what is due,
// which is nothing. Calls must grow with the fleet, memory must not: DESIGN.md
// section 8 wants at most 64 MiB more for 100,000 subprojects than for 1,000.
func BenchmarkScale(b *testing.B) {
	base := int64(0)
	for projects := 1000; projects <= *largest; projects *= 10 {
		b.Run(fmt.Sprint("subprojects=", projects), func(b *testing.B) {
			s := newStack(b, unlimited, 0)
			seedOwn(s, projects)
			settings := []string{"SINCH_KEY_ID=" + s.own.KeyID, "SINCH_KEY_SECRET=" + s.own.Secret, "SINCH_PROJECT_ID=fleet"}
			first := s.run(settings, "run-now", "-o", "json")
			calls := s.calls()
			second := s.run(settings, "run-now", "-o", "json")
			s.expect(second, projects, 0)
			again := s.calls() - calls
			idle := s.run(settings, "run-now", "--due", "-o", "json")
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(first.wall.Seconds(), "s-first")
			b.ReportMetric(second.wall.Seconds(), "s-second")
			b.ReportMetric(idle.wall.Seconds(), "s-nothing-due")
			b.ReportMetric(float64(calls)/float64(projects), "calls/project-first")
			b.ReportMetric(float64(again)/float64(projects), "calls/project-second")
			b.ReportMetric(float64(s.calls()-calls-again), "calls-nothing-due")
			b.ReportMetric(float64(max(first.resident, second.resident))/(1<<20), "MiB-resident")
			b.ReportMetric(float64(s.one(`select count(*) from audit.event`))/float64(projects), "events/project")
			b.ReportMetric(float64(s.one(`select pg_database_size(current_database())`))/(1<<20), "MiB-database")
			if base == 0 {
				base = max(first.resident, second.resident)
			}
			b.ReportMetric(float64(max(first.resident, second.resident)-base)/(1<<20), "MiB-more")
		})
	}
}

// seedOwn makes a fleet that people have made: there is nothing of it in Vault.
func seedOwn(s *stack, projects int) {
	s.own = s.sim.SeedFleet(sinchtest.Fleet{Parent: "fleet", Self: "rotator", Subprojects: projects, Keys: 4, Oldest: 24 * time.Hour})
}
