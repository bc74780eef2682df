package jobs

import (
	"context"
	"sync"
	"sync/atomic"

	"rotator/internal/audit"
	"rotator/internal/rotation"
)

// Guards of a run's limits, as events name them.
const (
	guardRotations = "max_rotations"
	guardDeletions = "max_deletions"
)

// budget is a limit per run.
type budget struct {
	left *atomic.Int64 // nil: unlimited
	told *atomic.Bool  // whether the log knows that it is used up
}

func newBudget(limit int) budget {
	if limit < 0 {
		return budget{}
	}
	b := budget{new(atomic.Int64), new(atomic.Bool)}
	b.left.Store(int64(limit))
	return b
}

// take takes one from the budget, and reports false when there is none.
func (b budget) take() bool {
	return b.left == nil || b.left.Add(-1) >= 0
}

// tell records in the log what the project's results skip for a limit of the
// run, which is told once a run, or for want of a slot, once a project.
func (w *work) tell(ctx context.Context) error {
	full := false
	for _, r := range w.results {
		switch r.guard {
		case guardRotations:
			if w.rotations.told.Swap(true) {
				continue
			}
		case guardDeletions:
			if w.deletions.told.Swap(true) {
				continue
			}
		case rotation.GuardFullProject:
			if full {
				continue
			}
			full = true
		default:
			continue
		}
		e := event(within(ctx, func(s *scope) { s.cred = r.Credential }), audit.GuardRefused)
		e.Key, e.Reason = string(r.OldKeyID), r.guard+": "+string(r.Error)
		if err := commit(ctx, w.Log, audit.Entry{Events: []audit.Event{e}, Update: w.lease.Held()}); err != nil {
			return failedAt("refuse", err)
		}
	}
	return nil
}

// streak counts consecutive different projects that fail at the same step.
type streak struct {
	limit int
	mu    sync.Mutex
	at    string
	n     int
}

func (s *streak) success() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.limit <= 0 || s.n < s.limit {
		s.at, s.n = "", 0
	}
}

func (s *streak) failure(step string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.limit > 0 && s.n >= s.limit {
		return
	}
	if s.at != step {
		s.at, s.n = step, 0
	}
	s.n++
}

func (s *streak) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.limit > 0 && s.n >= s.limit
}

func (s *streak) step() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}
