package kill_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// minKills are made at least, and each window is hit minHits times at
	// least; maxKills bounds the trying.
	minKills = 200
	minHits  = 5
	maxKills = 600
	// workers make kills side by side, each in a world of its own.
	workers = 5
	// shortOverlap makes a key of one run ready to be retired in the next.
	shortOverlap = 300 * time.Millisecond
)

var seedFlag = flag.Uint64("seed", 0, "seed of the random kills; 0 takes the time")

// TestRandom kills rotator at random moments while it retires one key and
// makes another. The moments are drawn so that no window, from one step to
// the next, is left out: the one with the fewest hits comes next, and a random
// moment in it, by how long it took in earlier runs. What counts as hit is the
// window in which the process then really died, as the gates have seen it.
func TestRandom(t *testing.T) {
	if testing.Short() {
		t.Skip("needs servers; left out by -short")
	}
	t.Parallel()
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	tally := &tally{seed: seed, hits: map[mark]int{}, spans: map[mark]time.Duration{}}
	t.Cleanup(func() { tally.verdict(t) }) // after all workers
	first := newLine(t)
	tally.learn(first.undisturbed(), true)
	tally.learn(first.undisturbed(), true)
	for n := range workers {
		t.Run(fmt.Sprint("worker ", n), func(t *testing.T) {
			t.Parallel()
			l := newLine(t)
			for {
				aim, ok := tally.aim()
				if !ok || t.Failed() {
					break
				}
				l.kill(tally, aim)
			}
			l.checkLog()
			l.checkInventory()
		})
	}
}

// line is a world in which one credential's key is replaced again and again.
type line struct{ *world }

func newLine(t *testing.T) line {
	t.Helper()
	w := newWorld(t, pace{
		sinch:    span{5 * time.Millisecond, 15 * time.Millisecond},
		vault:    span{2 * time.Millisecond, 6 * time.Millisecond},
		postgres: span{time.Millisecond, 3 * time.Millisecond},
	})
	w.sim.AddSubproject(parent, "line", "Line", nil)
	w.publish("line", "billing", w.key("line", "billing", 10*day))
	l := line{w}
	l.undisturbed() // the first is not like the others
	return l
}

// replace are the arguments of a run that retires one key and makes another.
func replace() []string {
	return []string{"run-now", "--project", "line", "--force", "--reason", "kill", "--overlap", shortOverlap.String()}
}

// undisturbed does a run that nobody kills, and waits until the key that it
// has superseded may be retired. It returns the run's steps.
func (l line) undisturbed() []step {
	l.t.Helper()
	p := l.start(nil, nil, replace()...)
	if code := p.wait(); code != 0 {
		l.t.Fatalf("an undisturbed run: exit code %d\n%s%s", code, p.out.String(), p.err.String())
	}
	passed := l.gate.passed()
	time.Sleep(shortOverlap + 50*time.Millisecond)
	return passed
}

// kill kills one run where it is aimed at, lets the fleet converge, and
// counts the window that was hit.
func (l line) kill(tally *tally, aim aim) {
	l.t.Helper()
	if len(l.sim.Keys("line")) < 2 { // nothing to retire
		tally.learn(l.undisturbed(), false)
	}
	began := make(chan struct{})
	p := l.start(nil, func(s step) {
		if s.mark == aim.window {
			close(began)
		}
	}, replace()...)
	select {
	case <-began:
		time.Sleep(aim.delay)
	case <-p.ended:
	case <-time.After(limit):
	}
	killed := p.kill()
	l.bury()
	passed := l.gate.passed()
	l.expire()
	begun := time.Now()
	runs := l.converge("--project", "line")
	took := time.Since(begun)
	time.Sleep(2 * sampleEvery)
	l.checkSamples()
	l.checkKeys(map[string]int{parent: 1})
	l.checkIntents()
	if again := l.gate.repeated(); len(again) > 0 {
		l.t.Errorf("display names sent more than once: %q", again)
	}
	hit := "no window: it had ended"
	if killed {
		hit = tally.count(passed, runs, took)
	}
	if l.t.Failed() {
		l.t.Errorf("kill %d: aimed %s into %q, died in %q", aim.n, aim.delay, aim.window, hit)
	}
}

// aim is where the next kill should go.
type aim struct {
	n      uint64 // of the kill
	window mark   // by the step that it begins with
	delay  time.Duration
}

// tally counts the hits of each window.
type tally struct {
	mu      sync.Mutex
	seed    uint64
	aimed   uint64
	kills   int // that hit a window
	idle    int // that hit none
	windows []mark
	hits    map[mark]int
	spans   map[mark]time.Duration // how long each window was open lately
	runs    map[int]int            // how many kills took so many runs to converge
	longest time.Duration
}

// windows returns the steps that begin a window: from the claim of the project
// until it is given back. What comes before and after is idle time.
func windows(passed []step) []step {
	is := func(label string) func(step) bool { return func(s step) bool { return s.label == label } }
	begin := slices.IndexFunc(passed, is("postgres: claim"))
	if begin < 0 {
		return nil
	}
	passed = passed[begin:]
	if end := slices.IndexFunc(passed, is("postgres: update project")); end >= 0 {
		passed = passed[:end+1]
	}
	return only(passed, stable)
}

// learn takes the length of the windows from an undisturbed run. If define is
// set, only windows that this run has, too, are to be hit.
func (y *tally) learn(passed []step, define bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	var found []mark
	steps := windows(passed)
	for i, s := range steps[:len(steps)-1] {
		found = append(found, s.mark)
		y.spans[s.mark] = steps[i+1].at.Sub(s.at)
	}
	if define && y.windows != nil {
		found = slices.DeleteFunc(found, func(m mark) bool { return !slices.Contains(y.windows, m) })
	}
	if define {
		y.windows = found
	}
}

// aim draws the next kill; false when there have been enough.
func (y *tally) aim() (aim, bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.aimed == maxKills || y.kills >= minKills && y.least() >= minHits {
		return aim{}, false
	}
	random := rand.New(rand.NewPCG(y.seed, y.aimed))
	least := y.least()
	scarce := slices.DeleteFunc(slices.Clone(y.windows), func(m mark) bool { return y.hits[m] > least })
	a := aim{n: y.aimed, window: scarce[random.IntN(len(scarce))]}
	a.delay = time.Duration(random.Float64() * float64(y.spans[a.window]))
	y.aimed++
	return a, true
}

func (y *tally) least() int {
	least := maxKills
	for _, m := range y.windows {
		least = min(least, y.hits[m])
	}
	return least
}

// count notes where a process died and what came of it, and names the window.
func (y *tally) count(passed []step, runs int, took time.Duration) string {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.runs == nil {
		y.runs = map[int]int{}
	}
	y.runs[runs]++
	y.longest = max(y.longest, took)
	steps := windows(passed)
	if len(steps) == 0 || !slices.Contains(y.windows, steps[len(steps)-1].mark) {
		y.idle++
		return "idle time"
	}
	m := steps[len(steps)-1].mark
	y.hits[m]++
	y.kills++
	return m.String()
}

// verdict prints the table and fails the test if a window was missed.
func (y *tally) verdict(t *testing.T) {
	t.Helper()
	y.mu.Lock()
	defer y.mu.Unlock()
	lines := []string{fmt.Sprintf("seed %d, kills 0 to %d: %d hit a window, %d idle time; runs until converged: %v (runs: kills), at most %s",
		y.seed, y.aimed, y.kills, y.idle, y.runs, y.longest.Round(10*time.Millisecond))}
	for _, m := range y.windows {
		lines = append(lines, fmt.Sprintf("  %3d  %s", y.hits[m], m))
		if y.hits[m] < minHits {
			t.Errorf("only %d kills hit the window after %q, want %d", y.hits[m], m, minHits)
		}
	}
	if y.kills < minKills {
		t.Errorf("only %d kills hit a window, want %d", y.kills, minKills)
	}
	t.Log(strings.Join(lines, "\n"))
}
