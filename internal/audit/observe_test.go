package audit_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rotator/internal/audit"
	"rotator/internal/postgres/pgtest"
)

// TestObserve: each batch that was committed is told of once, and nothing else.
func TestObserve(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var took []time.Duration
	log := open(t, pgtest.New(t), func(c *audit.Config) {
		c.Observe = func(d time.Duration) { mu.Lock(); defer mu.Unlock(); took = append(took, d) }
	})
	told := func(want int, when string) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if len(took) != want {
			t.Errorf("%s: told of %d batches, want %d", when, len(took), want)
		}
		for _, d := range took {
			if d <= 0 || d > 10*time.Second {
				t.Errorf("a batch took %s", d)
			}
		}
	}
	event := audit.Event{Type: audit.Pause}
	if err := log.Append(t.Context(), event, event); err != nil {
		t.Fatal(err)
	}
	told(1, "after two events at once")
	applies := func(yes bool) audit.Entry {
		return audit.Entry{Events: []audit.Event{event}, Update: func(*pgx.Batch) func() bool { return func() bool { return yes } }}
	}
	if err := log.Commit(t.Context(), applies(false)); !errors.Is(err, audit.ErrNotApplied) {
		t.Fatal(err)
	}
	told(1, "after a change that did not apply")
	if err := log.Commit(t.Context(), applies(true)); err != nil {
		t.Fatal(err)
	}
	told(2, "after a change that did")
}
