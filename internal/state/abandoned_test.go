package state_test

import (
	"testing"
	"time"

	"rotator/internal/state"
)

// TestWhatADeadWorkerLeftIsDue: a project whose worker died is due at once,
// whenever its next look was to be; one that was given back is not.
func TestWhatADeadWorkerLeftIsDue(t *testing.T) {
	t.Parallel()
	g := newRig(t, "a", "b")
	g.exec(`UPDATE rotator.project SET next_check_at = now() + interval '1 day'`)
	g.lease("a")
	g.must(g.Release(t.Context(), state.Release{Lease: g.lease("b"), NextCheck: time.Now().Add(time.Hour)}))
	g.expire("a")
	due := g.claiming(func(c *state.Claiming) { c.Due, c.Since = true, g.now() })
	due.Known = true
	if l := g.claim(due); l == nil || l.Project.ID != "a" {
		t.Errorf("claimed %+v, want what the dead worker left", l)
	}
	if l := g.claim(due); l != nil {
		t.Errorf("claimed %s, which is not due", l.Project.ID)
	}
}
