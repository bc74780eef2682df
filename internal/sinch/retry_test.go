package sinch_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"rotator/internal/sinch"
	"rotator/internal/sinch/sinchtest"
)

const opList = "access_keys.list"

func TestReadsAreRepeated(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]sinchtest.Behaviour{
		"500": sinchtest.Status(500), "503": sinchtest.Status(503), "429": sinchtest.RateLimited(""),
		"lost": sinchtest.Lost(), "408": sinchtest.Status(408),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := startDirect(t, sinchtest.Config{})
				g.Fault(sinchtest.Fault{Operation: opList, Times: 4, Do: do})
				if _, err := g.ListKeys(t.Context(), child); err != nil {
					t.Error(err)
				}
				g.Fault(sinchtest.Fault{Operation: opList, Do: do})
				_, err := g.ListKeys(t.Context(), child)
				want := []error{sinch.ErrRetryable}
				if name == "429" {
					want = append(want, sinch.ErrNotApplied)
				}
				matches(t, err, want...)
				if n := g.sent(opList); n != 10 {
					t.Errorf("%d attempts, want 5 and 5", n)
				}
			})
		})
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	date := func(d time.Duration) func() string {
		return func() string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	}
	text := func(s string) func() string { return func() string { return s } }
	for name, tc := range map[string]struct {
		header   func() string
		min, max time.Duration
	}{
		"seconds":  {text("7"), 7 * time.Second, 7 * time.Second},
		"spaced":   {text(" 7 "), 7 * time.Second, 7 * time.Second},
		"date":     {date(9 * time.Second), 8 * time.Second, 9 * time.Second},
		"too long": {text("86400"), time.Minute, time.Minute},
		"far date": {date(24 * time.Hour), time.Minute, time.Minute},
		"past":     {date(-time.Hour), 0, 250 * time.Millisecond},
		"negative": {text("-5"), 0, 250 * time.Millisecond},
		"huge":     {text("99999999999999999999"), 0, 250 * time.Millisecond},
		"nonsense": {text("soon"), 0, 250 * time.Millisecond},
		"none":     {text(""), 0, 250 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := startDirect(t, sinchtest.Config{})
				g.Fault(sinchtest.Fault{Operation: opList, Times: 1, Do: sinchtest.RateLimited(tc.header())})
				begin := time.Now()
				if _, err := g.ListKeys(t.Context(), child); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(begin); took < tc.min || took > tc.max {
					t.Errorf("waited %s, want %s to %s", took, tc.min, tc.max)
				}
			})
		})
	}
}

func TestBackoffGrowsAndIsCapped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := startDirect(t, sinchtest.Config{})
		g.Fault(sinchtest.Fault{Operation: opList, Do: sinchtest.Status(500)})
		begin := time.Now()
		for range 20 {
			_, _ = g.ListKeys(t.Context(), child)
		}
		// Four waits of at most 0.25, 0.5, 1 and 2 s, half of that on average.
		if took := time.Since(begin); took < 20*time.Second || took > 60*time.Second {
			t.Errorf("20 times five attempts took %s", took)
		}
	})
}

// TestRetryRespectsTheDeadline: no waiting for what the deadline forbids, and
// the error says what went wrong, not just that time is up.
func TestRetryRespectsTheDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := startDirect(t, sinchtest.Config{})
		g.Fault(sinchtest.Fault{Operation: opList, Do: sinchtest.RateLimited("30")})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		begin := time.Now()
		_, err := g.ListKeys(ctx, child)
		var e *sinch.Error
		if !errors.As(err, &e) || e.Status != 429 || e.RetryAfter != 30*time.Second || e.Operation != opList {
			t.Errorf("error is %#v", err)
		}
		if time.Since(begin) > time.Second {
			t.Error("waited in vain")
		}
	})
}

func TestCancelledWhileWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := startDirect(t, sinchtest.Config{})
		g.Fault(sinchtest.Fault{Operation: opList, Do: sinchtest.RateLimited("30")})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Second, cancel)
		_, err := g.ListKeys(ctx, child)
		if !errors.Is(err, context.Canceled) || !errors.Is(err, sinch.ErrRetryable) {
			t.Errorf("error %v tells neither the end nor the cause", err)
		}
	})
}

func TestAttemptTimesOut(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{}, func(c *sinch.Config) { c.Timeout = 300 * time.Millisecond })
	g.Fault(sinchtest.Fault{Operation: opList, Times: 1, Do: sinchtest.Delay(3 * time.Second)})
	if _, err := g.ListKeys(t.Context(), child); err != nil {
		t.Error(err)
	}
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := startDirect(t, sinchtest.Config{}, func(c *sinch.Config) { c.RateLimit = 20 })
		list := func(n int) time.Duration {
			begin := time.Now()
			for range n {
				if _, err := g.ListKeys(t.Context(), child); err != nil {
					t.Fatal(err)
				}
			}
			return time.Since(begin)
		}
		if took := list(120); took < 5200*time.Millisecond || took > 5300*time.Millisecond {
			t.Errorf("120 requests at 20/s took %s", took)
		}
		g.Share(4)
		if took := list(50); took < 9*time.Second || took > 11*time.Second {
			t.Errorf("50 requests at a quarter of 20/s took %s", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, _, err := g.CreateKey(ctx, child, "a")
		matches(t, err, sinch.ErrNotApplied)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v", err)
		}
	})
}
