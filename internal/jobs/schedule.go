package jobs

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// everySecond is the finest `@every` that is accepted. robfig/cron silently
// turns anything below, negative ones too, into one second.
const everySecond = time.Second

// scheduleProbe is the instant from which ParseSchedule looks for a first
// tick. It begins a leap year, so that 29 February counts as a date.
var scheduleProbe = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// ParseSchedule reads a schedule as robfig/cron does: five cron fields, or a
// descriptor such as `@hourly` or `@every 6h`; times are read in loc unless
// the schedule itself begins with `CRON_TZ=Zone`. A schedule that never fires
// is an error.
func ParseSchedule(spec string, loc *time.Location) (cron.Schedule, error) {
	spec = strings.TrimSpace(spec)
	zoned := strings.HasPrefix(spec, "TZ=") || strings.HasPrefix(spec, "CRON_TZ=")
	// The library cuts the zone at the first space and panics without one.
	if zoned && !strings.Contains(spec, " ") {
		return nil, errors.New("names a time zone but no times; write for example CRON_TZ=Europe/Stockholm 0 3 * * *")
	}
	if err := checkEvery(spec); err != nil {
		return nil, err
	}
	schedule, err := cron.ParseStandard(spec)
	if err != nil {
		return nil, fmt.Errorf("reading the schedule: %w", err)
	}
	if s, ok := schedule.(*cron.SpecSchedule); ok && !zoned {
		s.Location = loc
	}
	if schedule.Next(scheduleProbe).IsZero() {
		return nil, errors.New("never fires: there is no such date")
	}
	return schedule, nil
}

// checkEvery refuses an `@every` below everySecond.
func checkEvery(spec string) error {
	_, text, ok := strings.Cut(spec, "@every ")
	if !ok {
		return nil
	}
	d, err := time.ParseDuration(text)
	if err == nil && d < everySecond {
		return fmt.Errorf("@every %s is too short; write at least @every %s", text, everySecond)
	}
	return nil // what cannot be read is the library's to refuse
}

const (
	// denseGap is what LongestGap takes for short, and denseLook how long it
	// looks at every short gap: cron's minutes are alike in every hour and
	// its hours in every day, so what is short stays as short as it was.
	denseGap  = time.Hour
	denseLook = 48 * time.Hour
)

// LongestGap returns the longest time between two ticks of s among the gaps
// that begin within span after from. Nights, weekends and the change to
// daylight saving time make it longer than the schedule's usual gap.
func LongestGap(s cron.Schedule, from time.Time, span time.Duration) time.Duration {
	if every, ok := s.(cron.ConstantDelaySchedule); ok {
		return every.Delay
	}
	var longest time.Duration
	end := from.Add(span)
	for last := from; last.Before(end); {
		known := longest
		if last.Sub(from) > denseLook {
			known = max(known, denseGap)
		}
		next := leap(s, last, known)
		if next.IsZero() { // no tick within the five years that cron looks ahead
			return max(longest, end.Sub(last))
		}
		if gap := next.Sub(last); gap > known {
			longest = gap
		}
		last = next
	}
	return longest
}

// leap returns a tick at most reach after last, as late as is quickly found:
// no gap before it is longer than reach. Where there is none it returns the
// first tick after last. A year of minutes takes tens of milliseconds
// that way.
func leap(s cron.Schedule, last time.Time, reach time.Duration) time.Time {
	for step := reach / 2; step >= time.Minute; step /= 2 {
		if next := s.Next(last.Add(step)); !next.IsZero() && next.Sub(last) <= reach {
			return next
		}
	}
	return s.Next(last)
}
