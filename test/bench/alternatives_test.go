package bench_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"rotator/internal/sinch/sinchtest"
)

// BenchmarkAlternatives rotates one key in each of 100 subprojects of 4 with
// rotator, with a shell script and with a sequential program that has neither
// log nor safety, on equal fleets whose servers take their time.
//
// Rotator's figures hold the whole cycle: verification, publication with
// check-and-set, read back, renaming of the old key, and the log's events. The
// others delete the old key at once; with an overlap they would need a second
// pass.
func BenchmarkAlternatives(b *testing.B) {
	const projects = 100
	compiled := filepath.Join(b.TempDir(), "naive")
	if out, err := exec.CommandContext(b.Context(), "go", "build", "-o", compiled, "./testdata/naive").CombinedOutput(); err != nil {
		b.Fatalf("building the sequential program: %v\n%s", err, out)
	}
	for _, side := range []struct {
		name string
		run  func(s *stack) usage
	}{
		{"rotator", func(s *stack) usage {
			u := s.run(nil, "run-now", "-o", "json")
			s.expect(u, projects, projects)
			return u
		}},
		{"sequential", func(s *stack) usage { return s.alternative(compiled) }},
		{"shell", func(s *stack) usage {
			for _, tool := range []string{"curl", "jq", "psql"} {
				if _, err := exec.LookPath(tool); err != nil {
					s.b.Skipf("the script needs %s, which is not installed", tool)
				}
			}
			return s.alternative("/bin/sh", "testdata/rotate.sh")
		}},
	} {
		b.Run(side.name, func(b *testing.B) {
			s := newStack(b, sinchtest.Config{TokenRate: -1}, latency)
			s.seed(fleet{projects: projects, keys: 4})
			s.run(nil, "run-now") // rotator's rows; the others have none
			s.grow(0, projects)
			if _, err := s.db.Exec(b.Context(), "create table public.naive (at timestamptz, project text, old text, new text); grant all on public.naive to public"); err != nil {
				b.Fatal(err)
			}
			before := s.arrived()
			u := side.run(s)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(projects/u.wall.Seconds(), "keys/s")
			b.ReportMetric(float64(s.arrived()-before)/projects, "sinch-calls/key")
			b.ReportMetric(1000*u.cpu.Seconds()/projects, "cpu-s/1000-projects")
		})
	}
}

// arrived is how many requests have reached Sinch.
func (s *stack) arrived() (n int) {
	for _, times := range s.sim.Counts() {
		n += times
	}
	return n
}

// alternative runs what is not rotator, and makes sure that it did the work.
func (s *stack) alternative(program string, args ...string) usage {
	s.b.Helper()
	s.env = append(s.env, fmt.Sprint("MAX_AGE_DAYS=", int(maxAge/day)), "PATH="+os.Getenv("PATH"))
	u := measured(s.b, s.env, program, args)
	if n := s.one(`select count(*) from public.naive`); n != 100 {
		s.b.Fatalf("%s rotated %d keys, want 100", program, n)
	}
	return u
}
