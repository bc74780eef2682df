package jobs_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"rotator/internal/jobs"
)

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func TestParseScheduleUsesTheZone(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 1, 10, 0, 0, 0, 0, time.UTC)
	for _, test := range []struct{ spec, want string }{
		{"30 3 * * *", "2026-01-10T07:00:00Z"}, // St John's is 3½ hours behind
		{" @daily ", "2026-01-10T03:30:00Z"},
		{"CRON_TZ=UTC 30 3 * * *", "2026-01-10T03:30:00Z"},
		{"TZ=Asia/Tokyo 0 12 * * *", "2026-01-10T03:00:00Z"},
		{"@every 90m", "2026-01-10T01:30:00Z"},
	} {
		s, err := jobs.ParseSchedule(test.spec, zone(t, "America/St_Johns"))
		if err != nil {
			t.Errorf("%q: %v", test.spec, err)
			continue
		}
		if got := s.Next(from).UTC().Format(time.RFC3339); got != test.want {
			t.Errorf("%q first fires at %s, want %s", test.spec, got, test.want)
		}
	}
}

func TestParseScheduleRefuses(t *testing.T) {
	t.Parallel()
	for spec, want := range map[string]string{
		"":                             "empty",
		"CRON_TZ=UTC":                  "names a time zone but no times",
		"TZ=":                          "names a time zone but no times",
		"CRON_TZ=Nowhere/At 1 * * * *": "location",
		"0 0 30 2 *":                   "never fires",
		"@every 10ms":                  "too short",
		"@every -1h":                   "too short",
		"@every soon":                  "duration",
		"@sometimes":                   "descriptor",
		"61 * * * *":                   "range",
		"* * * * * *":                  "expected",
	} {
		if _, err := jobs.ParseSchedule(spec, time.UTC); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got error %v, want one with %q", spec, err, want)
		}
	}
}

func TestLongestGap(t *testing.T) {
	t.Parallel()
	const day, year = 24 * time.Hour, 365 * 24 * time.Hour
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		spec, zone string
		want       time.Duration
	}{
		{"@hourly", "UTC", time.Hour},
		{"@every 6h", "UTC", 6 * time.Hour},
		{"@daily", "UTC", day},
		{"@daily", "Europe/Stockholm", day + time.Hour},       // the night the clocks go back
		{"30 2 * * *", "America/New_York", 2*day - time.Hour}, // the day without a 02:30
		{"0 3 * * 1-5", "UTC", 3 * day},
		{"0 8-18 * * *", "UTC", 14 * time.Hour},
		{"@monthly", "UTC", 31 * day},
		{"*/7 * * * *", "UTC", 7 * time.Minute},
		{"* * * * *", "Europe/Stockholm", time.Minute},
		{"*/5 8-18 * 3-11 *", "UTC", 90*day + 13*time.Hour + 5*time.Minute}, // all winter, from 18:55
		{"0 0 29 2 *", "UTC", 789 * day},                                    // until 2028
	} {
		s, err := jobs.ParseSchedule(test.spec, zone(t, test.zone))
		if err != nil {
			t.Fatal(err)
		}
		if got := jobs.LongestGap(s, from, year); got != test.want {
			t.Errorf("%q in %s: got %s, want %s", test.spec, test.zone, got, test.want)
		}
	}
}

// FuzzParseSchedule: whatever people write, no panic, and what is accepted
// fires, after the instant asked about.
func FuzzParseSchedule(f *testing.F) {
	for _, spec := range []string{"@hourly", "CRON_TZ=UTC", "TZ= * * * * *", "*/7 1-3,5 * JAN-mar ?", "@every 1h", "@every -9223372036854775808ns", "0 0 31 */5 *"} {
		f.Add(spec)
	}
	from := time.Date(2026, 3, 29, 0, 59, 59, 1, time.UTC)
	f.Fuzz(func(t *testing.T, spec string) {
		s, err := jobs.ParseSchedule(spec, time.UTC)
		if err != nil {
			return
		}
		if next := s.Next(from); !next.After(from) {
			t.Errorf("%q fires at %s, not after %s", spec, next, from)
		}
	})
}

// TestLongestGapAgainstAWalk compares with looking at every gap one by one.
func TestLongestGapAgainstAWalk(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 3, 20, 10, 17, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		field := func(name string, most int) string {
			low := rapid.IntRange(0, most).Draw(t, name)
			high := rapid.IntRange(low, most).Draw(t, name+" to")
			return fmt.Sprintf("%d-%d/%d", low, high, rapid.IntRange(1, 7).Draw(t, name+" step"))
		}
		spec := field("minute", 59) + " " + field("hour", 23) + " * * " + field("weekday", 6)
		loc, err := time.LoadLocation(rapid.SampledFrom([]string{"UTC", "Europe/Stockholm", "America/St_Johns"}).Draw(t, "zone"))
		if err != nil {
			t.Fatal(err)
		}
		s, err := jobs.ParseSchedule(spec, loc)
		if err != nil {
			t.Fatal(err)
		}
		const span = 21 * 24 * time.Hour
		var want time.Duration
		for last := from; last.Before(from.Add(span)); last = s.Next(last) {
			want = max(want, s.Next(last).Sub(last))
		}
		if got := jobs.LongestGap(s, from, span); got != want {
			t.Fatalf("%q in %s: got %s, want %s", spec, loc, got, want)
		}
	})
}

// BenchmarkLongestGap is the worst case, at every start: every minute of a year.
func BenchmarkLongestGap(b *testing.B) {
	s, err := jobs.ParseSchedule("* * * * *", time.UTC)
	if err != nil {
		b.Fatal(err)
	}
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for b.Loop() {
		jobs.LongestGap(s, from, 365*24*time.Hour)
	}
}
