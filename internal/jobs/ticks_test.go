package jobs

import (
	"testing"
	"time"
)

// follow is a schedule followed from a time on, without jitter.
func follow(t *testing.T, spec, zone, from string) *ticks {
	t.Helper()
	loc, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	schedule, err := ParseSchedule(spec, loc)
	if err != nil {
		t.Fatal(err)
	}
	return &ticks{schedule: schedule, last: at(t, from), seen: at(t, from)}
}

func at(t *testing.T, text string) time.Time {
	t.Helper()
	found, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// expect checks what the ticks are when the clock reads now.
func (f *ticks) expect(t *testing.T, now, tick string, missed int, next string) {
	t.Helper()
	got, n := f.take(at(t, now))
	if !got.Equal(at(t, tick)) || n != missed {
		t.Errorf("at %s: tick %s with %d missed, want %s and %d", now, got, n, tick, missed)
	}
	if got := f.next(at(t, now)); !got.Equal(at(t, next)) {
		t.Errorf("at %s: the next is %s, want %s", now, got.UTC(), next)
	}
}

func TestTicks(t *testing.T) {
	t.Parallel()
	f := follow(t, "@hourly", "UTC", "2026-05-01T10:20:00Z")
	f.expect(t, "2026-05-01T11:00:00Z", "2026-05-01T11:00:00Z", 0, "2026-05-01T12:00:00Z")
	f.expect(t, "2026-05-01T12:00:03Z", "2026-05-01T12:00:00Z", 0, "2026-05-01T13:00:00Z")
	// A run took three hours, or nobody was there: one run makes up for them.
	f.expect(t, "2026-05-01T15:59:59Z", "2026-05-01T15:00:00Z", 2, "2026-05-01T16:00:00Z")
	// Nothing has come since.
	f.expect(t, "2026-05-01T15:59:59Z", "2026-05-01T15:00:00Z", 0, "2026-05-01T16:00:00Z")
	// A year passed.
	f.expect(t, "2027-05-01T15:10:00Z", "2027-05-01T15:00:00Z", 365*24-1, "2027-05-01T16:00:00Z")
}

func TestTicksOfAnInterval(t *testing.T) {
	t.Parallel()
	f := follow(t, "@every 10s", "UTC", "2026-05-01T10:00:03Z")
	f.expect(t, "2026-05-01T10:00:35Z", "2026-05-01T10:00:33Z", 2, "2026-05-01T10:00:43Z")
	// Too many to count one by one.
	f.expect(t, "2027-05-01T10:00:35Z", "2027-05-01T10:00:33Z", 365*24*360-1, "2027-05-01T10:00:43Z")
}

// TestTicksWhenClocksChange: a night in which an hour is missing, and one that
// has it twice.
func TestTicksWhenClocksChange(t *testing.T) {
	t.Parallel()
	const zone = "Europe/Stockholm"
	spring := follow(t, "30 2 * * *", zone, "2026-03-28T01:30:00Z") // 02:30, the day before
	// There is no 02:30: robfig/cron goes on to the next day that has one.
	spring.expect(t, "2026-03-29T12:00:00Z", "2026-03-28T01:30:00Z", 0, "2026-03-30T00:30:00Z")
	hourly := follow(t, "0 * * * *", zone, "2026-03-29T00:00:00Z") // 01:00
	hourly.expect(t, "2026-03-29T01:00:00Z", "2026-03-29T01:00:00Z", 0, "2026-03-29T02:00:00Z")
	autumn := follow(t, "30 2 * * *", zone, "2026-10-24T00:30:00Z")
	// 02:30 comes twice, and so does the run: another look does no harm.
	autumn.expect(t, "2026-10-25T00:30:00Z", "2026-10-25T00:30:00Z", 0, "2026-10-25T01:30:00Z")
	twice := follow(t, "0 * * * *", zone, "2026-10-25T00:00:00Z")                              // 02:00
	twice.expect(t, "2026-10-25T01:00:00Z", "2026-10-25T01:00:00Z", 0, "2026-10-25T02:00:00Z") // 02:00 again, an hour later
}

// TestTicksWhenTheClockIsSet: forward, missed ticks are one run; a little back
// repeats nothing; far back, ticks go on from there.
func TestTicksWhenTheClockIsSet(t *testing.T) {
	t.Parallel()
	f := follow(t, "@hourly", "UTC", "2026-05-01T10:00:00Z")
	f.expect(t, "2026-05-03T10:30:00Z", "2026-05-03T10:00:00Z", 47, "2026-05-03T11:00:00Z")
	f.expect(t, "2026-05-03T11:00:00Z", "2026-05-03T11:00:00Z", 0, "2026-05-03T12:00:00Z")
	if next := f.next(at(t, "2026-05-03T10:59:30Z")); !next.Equal(at(t, "2026-05-03T12:00:00Z")) {
		t.Errorf("30 s back, the tick comes again: %s", next)
	}
	if next := f.next(at(t, "2026-05-01T10:30:00Z")); !next.Equal(at(t, "2026-05-01T11:00:00Z")) {
		t.Errorf("two days back, the next tick is %s", next)
	}
	f.expect(t, "2026-05-01T11:00:01Z", "2026-05-01T11:00:00Z", 0, "2026-05-01T12:00:00Z")
}

func TestTicksJitter(t *testing.T) {
	t.Parallel()
	f := follow(t, "@hourly", "UTC", "2026-05-01T10:00:00Z")
	f.jitter = 10 * time.Minute
	begin, end := at(t, "2026-05-01T11:00:00Z"), at(t, "2026-05-01T11:10:00Z")
	seen := map[time.Time]bool{}
	for range 50 {
		f.take(at(t, "2026-05-01T10:00:00Z"))
		next := f.next(at(t, "2026-05-01T10:00:00Z"))
		if next.Before(begin) || !next.Before(end) || !f.next(at(t, "2026-05-01T10:59:00Z")).Equal(next) {
			t.Fatalf("the next is %s, or another one when asked again", next)
		}
		seen[next] = true
	}
	if len(seen) < 40 {
		t.Errorf("only %d different moments", len(seen))
	}
}
