package jobs

import (
	"math/rand/v2"
	"time"

	"github.com/robfig/cron/v3"
)

const (
	// manyTicks is how many missed ticks are counted one by one.
	manyTicks = 100_000
	// setBack is by how much the clock may go back unnoticed: a clock that is
	// slewed or stepped by a little must not repeat a tick.
	setBack = time.Minute
)

// ticks follows a schedule by a clock that may jump. Whatever has passed since
// the last tick that was dealt with is one tick: the newest.
type ticks struct {
	schedule cron.Schedule
	jitter   time.Duration
	last     time.Time // the tick that was dealt with last
	later    time.Duration
	seen     time.Time // the latest time of the clock
}

// next is when the next run begins: at the tick after the last one, and up to
// jitter later, at random but the same however often it is asked. It is the
// zero time when there is no such tick.
func (t *ticks) next(now time.Time) time.Time {
	if now.Before(t.seen.Add(-setBack)) { // else everything waited until the clock is back where it was
		t.last = now
	}
	t.seen = now
	tick := t.schedule.Next(t.last)
	if tick.IsZero() {
		return tick
	}
	return tick.Add(t.later)
}

// take deals with everything until now. It returns the newest tick that has
// come, the last one known if none has, and how many before it were missed.
func (t *ticks) take(now time.Time) (tick time.Time, missed int) {
	if every, ok := t.schedule.(cron.ConstantDelaySchedule); ok && now.Sub(t.last) > manyTicks*every.Delay {
		n := now.Sub(t.last) / every.Delay
		missed, t.last = int(n)-1, t.last.Add((n-1)*every.Delay)
	}
	for passed := 0; ; passed++ {
		next := t.schedule.Next(t.last)
		if next.IsZero() || next.After(now) {
			break
		}
		if passed > 0 {
			missed++
		}
		t.last = next
	}
	t.later = 0
	if t.jitter > 0 {
		t.later = rand.N(t.jitter) // #nosec G404 -- to spread load, not to be secret
	}
	return t.last, missed
}
