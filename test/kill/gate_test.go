package kill_test

import (
	"fmt"
	"sync"
	"time"
)

// mark names a step of a run: what it does, and the how manieth of its kind.
type mark struct {
	label string
	nth   int
}

func (m mark) String() string {
	if m.nth == 1 {
		return m.label
	}
	return fmt.Sprintf("%s #%d", m.label, m.nth)
}

// step is a step that has been seen: it has arrived at a gate.
type step struct {
	mark
	at time.Time
}

// hold keeps one step: before it takes effect, or after it, so that only its
// answer is missing.
type hold struct {
	mark
	after   bool
	arrived chan struct{} // closed when it is being kept
	dropped chan struct{} // closed to let go of it; no answer is ever sent
}

func newHold(m mark, after bool) *hold {
	return &hold{mark: m, after: after, arrived: make(chan struct{}), dropped: make(chan struct{})}
}

// keep blocks until the hold is dropped.
func (h *hold) keep() {
	close(h.arrived)
	<-h.dropped
}

// gate is what every step of a process passes.
type gate struct {
	mu      sync.Mutex
	steps   []step
	seen    map[string]int
	hold    *hold
	watch   func(step) // told of each step as it arrives; may be nil
	pending int        // conversations with Postgres under way
}

// expect begins a new process: its steps are counted from here.
func (g *gate) expect(h *hold, watch func(step)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.steps, g.seen, g.hold, g.watch = nil, map[string]int{}, h, watch
}

// enter notes a step and returns the hold that is to keep it, if any.
func (g *gate) enter(label string) *hold {
	g.mu.Lock()
	g.seen[label]++
	s := step{mark{label, g.seen[label]}, time.Now()}
	g.steps = append(g.steps, s)
	watch, h := g.watch, g.hold
	g.mu.Unlock()
	if watch != nil {
		watch(s)
	}
	if h != nil && h.mark == s.mark {
		return h
	}
	return nil
}

// begin notes that something is under way; the returned function ends it.
func (g *gate) begin() (end func()) {
	g.add(1)
	return func() { g.add(-1) }
}

func (g *gate) add(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pending += n
}

func (g *gate) idle() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.pending == 0
}

// passed returns the steps of the process so far.
func (g *gate) passed() []step {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]step(nil), g.steps...)
}
