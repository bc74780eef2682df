package bench_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"rotator/test/rig"
)

// long is how long BenchmarkSoak takes; half an hour shows what slow leaks do:
// go test -bench Soak -soak 30m ./test/bench.
var long = flag.Duration("soak", 30*time.Second, "how long BenchmarkSoak soaks")

// BenchmarkSoak lets two replicas work on an accelerated schedule, a run every
// second, in which every key is replaced each half minute, and looks at what
// they hold: it must not grow. The figures are those of the replica that holds
// most; the grown ones are the last quarter's median over the second's.
func BenchmarkSoak(b *testing.B) {
	s := newStack(b, unlimited, 0)
	s.seed(fleet{projects: 20, keys: 2})
	s.env = append(s.env, "ROTATOR_SCHEDULE=@every 1s", "ROTATOR_JITTER=0s", "ROTATOR_LEASE=5s", "ROTATOR_RECHECK=5s",
		"ROTATOR_OVERLAP=20s", "ROTATOR_MARGIN=10s", "ROTATOR_MAX_AGE=60s", "ROTATOR_CONCURRENCY=4", "SINCH_VERIFY_TIMEOUT=4s", "SINCH_TIMEOUT=4s")
	daemons := []*daemon{s.serve(), s.serve()}
	taken := make([][]sample, len(daemons))
	pause := max(*long/200, 500*time.Millisecond)
	for begun := time.Now(); time.Since(begun) < *long; time.Sleep(pause) {
		for i, d := range daemons {
			taken[i] = append(taken[i], d.sample(time.Since(begun)))
		}
	}
	for _, d := range daemons {
		d.stop()
	}
	growth := map[string]float64{}
	for i, d := range daemons {
		b.Logf("replica %d, in quarters: %s", i+1, quarters(taken[i]))
		for name, g := range grown(taken[i]) {
			growth[name] = max(growth[name], g)
		}
		b.Logf("replica %d logged %d errors", i+1, strings.Count(d.log.String(), `"level":"ERROR"`))
	}
	s.run(nil, "audit", "verify")
	b.ReportMetric(0, "ns/op")
	for name, g := range growth {
		b.ReportMetric(g, name+"-grown")
	}
	b.ReportMetric(float64(s.one(`select count(*) from rotator.run`)), "runs")
	b.ReportMetric(float64(s.one(`select count(*) from audit.event where type = 'rotation.published'`)), "rotations")
	b.ReportMetric(float64(s.one(`select count(*) from audit.event where type = 'key.deleted' or type = 'key.retired'`)), "deletions")
	if len(taken[0]) > 30 && (growth["goroutines"] > 1.3 || growth["connections"] > 1.3 || growth["files"] > 1.3) {
		b.Errorf("something grows: %v", growth)
	}
}

// daemon is a replica at work.
type daemon struct {
	s       *stack
	cmd     *exec.Cmd
	log     rig.Buffer
	address string
}

var listening = regexp.MustCompile(`"msg":"listening","address":"([^"]+)"`)

// serve starts a replica and waits until it listens.
func (s *stack) serve(settings ...string) *daemon {
	s.b.Helper()
	d := &daemon{s: s}
	d.cmd = exec.CommandContext(context.WithoutCancel(s.b.Context()), rig.Program(s.b), "serve")
	d.cmd.Env, d.cmd.Stderr = slices.Concat(s.env, settings), &d.log
	if err := d.cmd.Start(); err != nil {
		s.b.Fatal(err)
	}
	s.b.Cleanup(func() { _ = d.cmd.Process.Kill() }) // an error says that it has ended
	for begun := time.Now(); d.address == ""; time.Sleep(2 * time.Millisecond) {
		if m := listening.FindStringSubmatch(d.log.String()); m != nil {
			d.address = m[1]
		}
		if time.Since(begun) > time.Minute {
			s.b.Fatalf("the daemon does not listen:\n%s", d.log.String())
		}
	}
	return d
}

// stop ends a replica as an orchestrator does.
func (d *daemon) stop() usage {
	d.s.b.Helper()
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	if err := d.cmd.Wait(); err != nil {
		d.s.b.Fatalf("the daemon ended with %v:\n%s", err, tail(d.log.String()))
	}
	return usageOf(d.cmd.ProcessState, 0, nil)
}

// sample is what a process holds at a time.
type sample struct {
	at                                            time.Duration
	resident, heap, goroutines, files, links, cpu float64
}

func (d *daemon) sample(at time.Duration) sample {
	d.s.b.Helper()
	m := d.scrape()
	return sample{
		at: at, resident: m["process_resident_memory_bytes"], heap: m["go_memstats_heap_inuse_bytes"],
		goroutines: m["go_goroutines"], files: m["process_open_fds"], cpu: m["process_cpu_seconds_total"],
		links: float64(d.s.one(`select count(*) from pg_stat_activity where application_name = 'rotator'`)) / 2,
	}
}

// scrape reads the metrics without labels.
func (d *daemon) scrape() map[string]float64 {
	d.s.b.Helper()
	req, err := http.NewRequestWithContext(d.s.b.Context(), http.MethodGet, "http://"+d.address+"/metrics", nil)
	if err != nil {
		d.s.b.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.s.b.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	all := map[string]float64{}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if name, text, ok := strings.Cut(lines.Text(), " "); ok {
			if n, err := strconv.ParseFloat(text, 64); err == nil {
				all[name] = n
			}
		}
	}
	return all
}

// of is one figure of all samples.
func of(samples []sample, figure func(sample) float64) []float64 {
	var all []float64
	for _, s := range samples {
		all = append(all, figure(s))
	}
	return all
}

var figures = map[string]func(sample) float64{
	"resident":    func(s sample) float64 { return s.resident },
	"goroutines":  func(s sample) float64 { return s.goroutines },
	"files":       func(s sample) float64 { return s.files },
	"connections": func(s sample) float64 { return s.links },
}

// grown is each figure's median in the last quarter over that in the second.
func grown(samples []sample) map[string]float64 {
	g, n := map[string]float64{}, len(samples)/4
	for name, f := range figures {
		if then := median(of(samples[n:2*n], f)); then > 0 {
			g[name] = median(of(samples[3*n:], f)) / then
		}
	}
	return g
}

// quarters tells the medians of each quarter, and the CPU time of a minute.
func quarters(samples []sample) string {
	var all []string
	for n, q := len(samples)/4, 0; q < 4; q++ {
		part := samples[q*n : (q+1)*n]
		first, last := part[0], part[len(part)-1]
		all = append(all, fmt.Sprintf("%.1f MiB resident, %.1f MiB of heap, %.0f goroutines, %.0f files, %.1f connections, %.2f s of CPU a minute",
			median(of(part, figures["resident"]))/(1<<20), median(of(part, func(s sample) float64 { return s.heap }))/(1<<20),
			median(of(part, figures["goroutines"])), median(of(part, figures["files"])), median(of(part, figures["connections"])),
			(last.cpu-first.cpu)/(last.at-first.at).Minutes()))
	}
	return strings.Join(all, " | ")
}
