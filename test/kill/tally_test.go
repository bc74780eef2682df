package kill_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rotator/test/rig"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the random moments; 0 takes the time")

// goal is how many strikes, kills or signals, are to be made.
type goal struct {
	strikes int // in all, at least
	hits    int // in each window, at least
	tries   int // at most
}

// tally counts the hits of each window, and says where to strike next.
type tally struct {
	goal goal
	seed uint64
	cut  func(passed []step) []step // the steps that begin a window

	mu      sync.Mutex
	aimed   uint64
	struck  int // that hit a window
	idle    int // that hit none
	windows []mark
	hits    map[mark]int
	spans   map[mark]time.Duration // how long each window was open lately
	ends    map[string]int         // what came of the strikes
	longest time.Duration
}

// newTally returns a tally that speaks its verdict when all workers are done.
func newTally(t *testing.T, g goal, cut func([]step) []step) *tally {
	t.Helper()
	y := &tally{goal: g, seed: *seedFlag, cut: cut, hits: map[mark]int{}, spans: map[mark]time.Duration{}, ends: map[string]int{}}
	if y.seed == 0 {
		y.seed = uint64(time.Now().UnixNano())
	}
	t.Cleanup(func() { y.verdict(t) })
	return y
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
	return worth(passed)
}

// learn takes the length of the windows from an undisturbed run. If define is
// set, only windows that this run has, too, are to be hit.
func (y *tally) learn(passed []step, define bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	var found []mark
	steps := y.cut(passed)
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

// aim is where the next strike should go.
type aim struct {
	n      uint64 // of the strike
	window mark   // by the step that it begins with
	delay  time.Duration
	random *rand.Rand // for whatever else is left to chance
}

// aim draws the next strike: in a window with the fewest hits, at a random
// moment by how long it was open lately. False when there have been enough.
func (y *tally) aim() (aim, bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	least := y.least()
	if y.aimed == uint64(y.goal.tries) || y.struck >= y.goal.strikes && least >= y.goal.hits {
		return aim{}, false
	}
	random := rand.New(rand.NewPCG(y.seed, y.aimed))
	scarce := slices.DeleteFunc(slices.Clone(y.windows), func(m mark) bool { return y.hits[m] > least })
	a := aim{n: y.aimed, window: scarce[random.IntN(len(scarce))], random: random}
	a.delay = time.Duration(random.Float64() * float64(y.spans[a.window]))
	y.aimed++
	return a, true
}

func (y *tally) least() int {
	least := y.goal.tries
	for _, m := range y.windows {
		least = min(least, y.hits[m])
	}
	return least
}

// startTo runs rotator and returns at the moment that is aimed at, or at its
// end.
func (w *world) startTo(y *tally, a aim, args ...string) *rig.Process {
	w.T.Helper()
	began := make(chan struct{})
	once := sync.OnceFunc(func() { close(began) })
	p := w.start(nil, func(step) {
		if steps := y.cut(w.gate.passed()); len(steps) > 0 && steps[len(steps)-1].mark == a.window {
			once()
		}
	}, args...)
	select {
	case <-began:
		time.Sleep(a.delay)
	case <-p.Ended:
	case <-time.After(rig.Limit):
		w.T.Fatalf("the run hangs; log:\n%s", p.Log())
	}
	return p
}

// count notes where a process was struck and what came of it, and names the
// window. took is how long that was.
func (y *tally) count(passed []step, end string, took time.Duration) string {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.ends[end]++
	y.longest = max(y.longest, took)
	steps := y.cut(passed)
	if len(steps) == 0 || !slices.Contains(y.windows, steps[len(steps)-1].mark) {
		y.idle++
		return "idle time"
	}
	m := steps[len(steps)-1].mark
	y.hits[m]++
	y.struck++
	return m.String()
}

// verdict prints the table and fails the test if a window was missed.
func (y *tally) verdict(t *testing.T) {
	t.Helper()
	y.mu.Lock()
	defer y.mu.Unlock()
	lines := []string{fmt.Sprintf("seed %d, strikes 0 to %d: %d hit a window, %d idle time; longest %s; what came of them:",
		y.seed, y.aimed, y.struck, y.idle, y.longest.Round(10*time.Millisecond))}
	for _, end := range slices.Sorted(maps.Keys(y.ends)) {
		lines = append(lines, fmt.Sprintf("  %3d  %s", y.ends[end], end))
	}
	lines = append(lines, "hits by window:")
	for _, m := range y.windows {
		lines = append(lines, fmt.Sprintf("  %3d  %s", y.hits[m], m))
		if y.hits[m] < y.goal.hits {
			t.Errorf("only %d strikes hit the window after %q, want %d", y.hits[m], m, y.goal.hits)
		}
	}
	if y.struck < y.goal.strikes {
		t.Errorf("only %d strikes hit a window, want %d", y.struck, y.goal.strikes)
	}
	t.Log(strings.Join(lines, "\n"))
}
