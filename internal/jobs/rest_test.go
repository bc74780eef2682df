package jobs

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestRest: a tick that has passed begins a run at once, but not during a pause:
// then the stop switch is looked at now and again, not all the time.
func TestRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		schedule, err := ParseSchedule("@hourly", time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		d := &Daemon{Runner: New(Config{Now: time.Now})}
		for name, c := range map[string]struct {
			last   time.Duration // ago
			start  time.Duration // from now
			paused bool
			want   time.Duration
		}{
			"a tick has passed":           {2 * time.Hour, look, false, 0},
			"a tick has passed, paused":   {2 * time.Hour, look, true, look},
			"no tick has passed, a retry": {0, firstRetry, false, firstRetry},
		} {
			begun := time.Now()
			f := &ticks{schedule: schedule, last: begun.Add(-c.last)}
			if !d.rest(t.Context(), f, begun.Add(c.start), c.paused) {
				t.Errorf("%s: told to stop", name)
			}
			if took := time.Since(begun); took != c.want {
				t.Errorf("%s: rested for %s, want %s", name, took, c.want)
			}
		}
	})
}
