package jobs

import (
	"sync"
	"sync/atomic"
)

// budget is a limit per run.
type budget struct{ left *atomic.Int64 }

func newBudget(limit int) budget {
	if limit < 0 {
		return budget{}
	}
	b := budget{left: new(atomic.Int64)}
	b.left.Store(int64(limit))
	return b
}

// take takes one from the budget, and reports false when there is none.
func (b budget) take() bool {
	return b.left == nil || b.left.Add(-1) >= 0
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
