package sinch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sethvargo/go-retry"
)

const (
	backoffBase   = 250 * time.Millisecond
	backoffCap    = 10 * time.Second
	retryAfterCap = 60 * time.Second

	callAttempts = 5
	// exchangeAttempts take about 13 s on average: the token bucket is
	// shared with other processes and refills within three.
	exchangeAttempts = 8
	unlimited        = 0 // attempts until the context ends
)

// spentError is an error that has been retried already, where it arose.
type spentError struct{ error }

// Unwrap gives the error.
func (e *spentError) Unwrap() error { return e.error }

// retryable reports whether repeating a call at once may help.
func retryable(err error) bool {
	var spent *spentError
	return errors.Is(err, ErrRetryable) && !errors.As(err, &spent)
}

// propagating reports whether a step of verifying may still succeed: a key
// that Sinch has just made is unknown in places for a while. What call.Transport refused matches
// none of these: the log does not mend by asking Sinch again.
func propagating(err error) bool {
	return errors.Is(err, ErrRetryable) || errors.Is(err, ErrUnauthenticated) ||
		errors.Is(err, ErrForbidden) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrIncomplete)
}

// again calls f until it succeeds, fails for good, has been called so often
// (0 means any number), or ctx ends. The error is f's last one.
func again(ctx context.Context, attempts int, worthIt func(error) bool, f func(context.Context) error) error {
	var last error
	wait := &backoff{ctx: ctx, left: attempts, last: &last}
	err := retry.Do(ctx, wait, func(ctx context.Context) error {
		last = f(ctx)
		if last != nil && worthIt(last) {
			return retry.RetryableError(last)
		}
		return last
	})
	if err != nil && last != nil && !errors.Is(err, last) { // ctx ended while waiting
		return fmt.Errorf("%w, after: %w", err, last)
	}
	return err //nolint:wrapcheck // f's own error
}

// backoff is exponential with full jitter, or what the server asked for.
type backoff struct {
	ctx   context.Context // one loop's, for its deadline
	left  int
	tries int
	last  *error
}

// Next returns how long to wait, or that there is no point in waiting.
func (b *backoff) Next() (time.Duration, bool) {
	b.tries++
	if b.left != unlimited && b.tries >= b.left {
		return 0, true
	}
	ceiling := backoffCap
	if b.tries < 7 {
		ceiling = min(backoffCap, backoffBase<<(b.tries-1))
	}
	wait := rand.N(ceiling) //nolint:gosec // jitter is no secret
	var e *Error
	if errors.As(*b.last, &e) {
		wait = max(wait, e.RetryAfter)
	}
	if deadline, ok := b.ctx.Deadline(); ok && time.Until(deadline) < wait {
		return 0, true
	}
	return wait, false
}

// retryAfter reads a Retry-After header, seconds or a date.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if text == "" {
		return 0
	}
	wait := time.Duration(0)
	if seconds, err := strconv.ParseUint(text, 10, 32); err == nil {
		wait = time.Duration(min(seconds, 3600)) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), retryAfterCap)
}
