package kill_test

import (
	"fmt"
	"testing"
	"time"
)

// shortOverlap makes a key of one run ready to be retired in the next.
const shortOverlap = 300 * time.Millisecond

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
	tally := newTally(t, goal{strikes: 200, hits: 5, tries: 600}, windows)
	first := newLine(t)
	tally.learn(first.undisturbed(), true)
	tally.learn(first.undisturbed(), true)
	for n := range 5 {
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
			l.CheckLog()
			l.CheckInventory()
		})
	}
}

// walk is a pace at which each window is open long enough to be hit.
var walk = pace{
	sinch:    span{5 * time.Millisecond, 15 * time.Millisecond},
	vault:    span{2 * time.Millisecond, 6 * time.Millisecond},
	postgres: span{time.Millisecond, 3 * time.Millisecond},
}

// line is a world in which one credential's key is replaced again and again.
type line struct{ *world }

func newLine(t *testing.T) line {
	t.Helper()
	w := newWorld(t, walk)
	w.Sim.AddSubproject(parent, "line", "Line", nil)
	w.Publish("line", "billing", w.Key("line", "billing", 10*day))
	w.watch("line", "billing")
	l := line{w}
	l.undisturbed() // the first is not like the others
	return l
}

// replace are the arguments of a run that retires one key and makes another.
func replace() []string {
	return []string{"run-now", "--project", "line", "--force", "--reason", "kill", "--overlap", shortOverlap.String()}
}

func (l line) undisturbed() []step { return l.repeat(replace()...) }

// repeat does a run that nobody disturbs, and waits until the keys that it has
// superseded may be retired. It returns the run's steps.
func (w *world) repeat(args ...string) []step {
	w.T.Helper()
	p := w.start(nil, nil, args...)
	p.Exits(0)
	passed := w.gate.passed()
	time.Sleep(shortOverlap + 50*time.Millisecond)
	return passed
}

// kill kills one run where it is aimed at, lets the fleet converge, and
// counts the window that was hit.
func (l line) kill(tally *tally, aim aim) {
	l.T.Helper()
	if len(l.Sim.Keys("line")) < 2 { // nothing to retire
		tally.learn(l.undisturbed(), false)
	}
	p := l.startTo(tally, aim, replace()...)
	killed := p.TryKill()
	l.bury()
	passed := l.gate.passed()
	l.Expire()
	begun := time.Now()
	runs := l.converge("--project", "line")
	took := time.Since(begun)
	time.Sleep(2 * sampleEvery)
	l.checkSamples()
	l.CheckKeys(map[string]int{parent: 1})
	l.CheckSent()
	l.CheckIntents()
	l.CheckRotations()
	hit := "no window: it had ended"
	if killed {
		hit = tally.count(passed, fmt.Sprint(runs, " runs"), took)
	}
	if l.T.Failed() {
		l.T.Errorf("kill %d: aimed %s into %q, died in %q", aim.n, aim.delay, aim.window, hit)
	}
}
