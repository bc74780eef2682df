package kill_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rotator/test/rig"
)

// scenario is a fleet with something to do, and how it should be afterwards.
type scenario struct {
	name    string
	prepare func(*world)
	died    string         // step after which an earlier run died; may be empty
	first   string         // of the steps to kill at
	last    string         // of them, as its label ends; empty: until the run's end
	keys    map[string]int // of each project, at the end
}

func (sc scenario) world(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, pace{})
	w.Gate.Vouch = w.Vouched
	sc.prepare(w)
	for _, c := range w.Credentials {
		w.watch(c.Project, c.Name)
	}
	if sc.died != "" {
		w.die(mark{sc.died, 1}, true)
		w.Expire()
	}
	return w
}

// die runs rotator and kills it at a step.
func (w *world) die(m mark, after bool) {
	w.T.Helper()
	h := newHold(m, after)
	p := w.start(h, nil, "run-now")
	p.Await(h.arrived)
	p.Kill()
	close(h.dropped)
	w.bury()
}

var scenarios = []scenario{
	{
		name: "run",
		// In one project a key is due, in another one's overlap has passed.
		prepare: func(w *world) {
			w.Past("retire")
			w.Due("due")
		},
		first: "postgres: claim", last: "key.retired",
		keys: map[string]int{parent: 1, "retire": 1, "due": 2},
	},
	{
		name: "quiet run",
		// There is nothing to do, but everything is there for the first time.
		prepare: func(*world) {},
		first:   "postgres: intent of vault.write",
		keys:    map[string]int{parent: 1},
	},
	{
		name: "orphan",
		// A run has died with a key in hand: it is an orphan now.
		prepare: func(w *world) { w.Due("due") },
		died:    "sinch: create in due",
		first:   "postgres: resolved of access_keys.create", last: "key.orphan_deleted",
		keys: map[string]int{parent: 1, "due": 2},
	},
	{
		name: "first orphan",
		// The same, of a credential that Vault has never held.
		prepare: func(w *world) {
			w.Sim.AddSubproject(parent, "due", "Due", nil)
			w.Sim.AddKey("due", "billing", time.Now().Add(-100*day))
			w.Credentials = append(w.Credentials, rig.Credential{Project: "due", Name: "billing"})
		},
		died:  "sinch: create in due",
		first: "postgres: resolved of access_keys.create", last: "key.orphan_deleted",
		keys: map[string]int{parent: 1, "due": 2},
	},
}

// TestMatrix kills rotator before and after each step of a run.
func TestMatrix(t *testing.T) {
	if testing.Short() {
		t.Skip("needs servers; left out by -short")
	}
	t.Parallel()
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			var table results
			marks := sc.marks(t)
			t.Cleanup(func() { t.Log(table.String(marks)) }) // after all cases
			for _, m := range marks {
				for _, after := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s/%s", when(after), m), func(t *testing.T) {
						t.Parallel()
						runs := sc.kill(t, m, after)
						table.add(m, after, runs)
					})
				}
			}
		})
	}
}

// marks does an undisturbed run and returns the steps to kill at: all that
// change something, and the reading back of what was published.
func (sc scenario) marks(t *testing.T) []mark {
	t.Helper()
	w := sc.world(t)
	p := w.start(nil, nil, "run-now")
	if code := p.Wait(); code != 0 {
		t.Fatalf("an undisturbed run: exit code %d\n%s%s", code, p.Out.String(), p.Err.String())
	}
	passed := w.gate.passed()
	w.check(sc.keys)
	w.CheckInventory()
	begin := slices.IndexFunc(passed, func(s step) bool { return s.label == sc.first })
	if begin < 0 {
		t.Fatalf("an undisturbed run has no step %q", sc.first)
	}
	passed = passed[begin:]
	if sc.last != "" {
		end := slices.IndexFunc(passed, func(s step) bool { return strings.HasSuffix(s.label, sc.last) })
		if end < 0 {
			t.Fatalf("an undisturbed run has no step %q", sc.last)
		}
		passed = passed[:end+1]
	}
	var marks []mark
	for _, s := range worth(passed) {
		marks = append(marks, s.mark)
	}
	return marks
}

// kill kills rotator at a step and lets it run again. It returns how many
// runs it took to converge.
func (sc scenario) kill(t *testing.T, m mark, after bool) int {
	t.Helper()
	w := sc.world(t)
	w.die(m, after)
	w.Expire()
	runs := w.converge()
	w.check(sc.keys)
	w.CheckInventory()
	return runs
}

func when(after bool) string {
	if after {
		return "after"
	}
	return "before"
}

// results are how many runs it took to converge, by step.
type results struct {
	mu   sync.Mutex
	runs map[string]int
}

func (r *results) add(m mark, after bool, runs int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.runs == nil {
		r.runs = map[string]int{}
	}
	r.runs[when(after)+m.String()] = runs
}

func (r *results) String(marks []mark) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := []string{"runs until converged, killed before | after it was applied (- failed):"}
	for _, m := range marks {
		cells := []string{"-", "-"}
		for i, after := range []bool{false, true} {
			if n, ok := r.runs[when(after)+m.String()]; ok {
				cells[i] = fmt.Sprint(n)
			}
		}
		lines = append(lines, fmt.Sprintf("  %s | %s  %s", cells[0], cells[1], m))
	}
	return strings.Join(slices.Clip(lines), "\n")
}
