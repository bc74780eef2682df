package bench_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkStart is how long it takes from the start of a process to its first
// request to Sinch; DESIGN.md section 8 wants 150 ms at most. Beside it: what
// the binary weighs (30 MB at most), and what a daemon takes that has nothing
// to do.
func BenchmarkStart(b *testing.B) {
	s := newStack(b, unlimited, 0)
	s.seed(fleet{projects: 1, keys: 1})
	s.run(nil, "run-now")
	var first, whole []float64
	for range 10 * b.N {
		arrived := len(s.sim.Requests())
		begun := time.Now()
		u := s.run(nil, "run-now")
		first = append(first, float64(s.sim.Requests()[arrived].At.Sub(begun).Milliseconds()))
		whole = append(whole, float64(u.wall.Milliseconds()))
	}
	d := s.serve("ROTATOR_SCHEDULE=@hourly")
	for d.scrape()["rotator_run_duration_seconds_count"] == 0 {
		time.Sleep(100 * time.Millisecond)
	}
	const rest = 20 * time.Second
	before := d.sample(0)
	time.Sleep(rest)
	after := d.sample(rest)
	d.stop()
	b.ReportMetric(0, "ns/op")
	report(b, first, "ms-to-first-call")
	report(b, whole, "ms-smallest-run")
	b.ReportMetric(float64(stripped(b))/1e6, "MB-binary")
	b.ReportMetric((after.cpu-before.cpu)/rest.Minutes(), "idle-cpu-s/min")
	b.ReportMetric(after.resident/(1<<20), "idle-MiB-resident")
	b.ReportMetric(after.goroutines, "idle-goroutines")
}

// stripped is the size of the binary as it is shipped.
func stripped(b *testing.B) int64 {
	b.Helper()
	path := filepath.Join(b.TempDir(), "rotator")
	cmd := exec.CommandContext(b.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "rotator/cmd/rotator")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("building: %v\n%s", err, out)
	}
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	return info.Size()
}
