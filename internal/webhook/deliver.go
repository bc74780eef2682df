package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sethvargo/go-retry"

	"rotator/internal/secret"
)

const (
	longestPause  = time.Minute
	retryAfterCap = 2 * time.Minute
	answerLimit   = 64 << 10 // bytes that are read, so that the connection can be used again
)

// client follows no redirect: the payload goes where the setting says, or
// nowhere.
var client = &http.Client{
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Transport: &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		ForceAttemptHTTP2:   true,
		IdleConnTimeout:     30 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
	},
}

// statusError is an answer that is no success.
type statusError struct {
	status int
	after  time.Duration // what the server asked for
}

func (e *statusError) Error() string {
	return fmt.Sprintf("answered %d %s", e.status, http.StatusText(e.status))
}

// deliver sends the news until they are taken, refused for good, or tried often
// enough. News that come meanwhile join them.
func (s *Sender) deliver(ctx context.Context, news *News) error {
	wait := &pauses{first: s.Pause, left: s.Attempts}
	var last error
	err := retry.Do(ctx, wait, func(ctx context.Context) error {
		select {
		case <-s.wake:
			s.collect(ctx, news)
		default:
		}
		if news.empty() {
			return nil
		}
		err := s.attempt(ctx, news.message(s.From, s.Now()))
		last = err
		var refused *statusError
		switch {
		case err == nil:
			return nil
		case !errors.As(err, &refused):
			wait.after = 0
		case refused.status >= 500, refused.status == http.StatusTooManyRequests:
			wait.after = refused.after
		default:
			return err
		}
		return retry.RetryableError(err)
	})
	if err != nil && last != nil && !errors.Is(err, last) { // the end came while it waited
		return fmt.Errorf("stopped before it was taken: %w", last)
	}
	return err //nolint:wrapcheck // attempt's own
}

// attempt sends a message once. No error shows the URL.
func (s *Sender) attempt(ctx context.Context, m Message) error {
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encoding the message: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.target().Reveal(), bytes.NewReader(body))
	if err != nil {
		return errors.New("the URL cannot be used")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "rotator")
	answer, err := client.Do(req)
	if err != nil {
		return bare(err)
	}
	defer answer.Body.Close() //nolint:errcheck // it was read
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, answerLimit))
	if answer.StatusCode/100 == 2 {
		return nil
	}
	return &statusError{answer.StatusCode, retryAfter(answer.Header.Get("Retry-After"), s.Now())}
}

// bare is an error of the client's without the URL.
func bare(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// hostOf is all of a URL that may be shown.
func hostOf(target secret.Value) string {
	u, err := url.Parse(target.Reveal())
	if err != nil {
		return ""
	}
	return u.Host
}

// pauses double, with jitter, and are as long as the server asked for.
type pauses struct {
	first time.Duration
	left  int
	tries int
	after time.Duration
}

// Next returns how long to wait, or that it was tried often enough.
func (p *pauses) Next() (time.Duration, bool) {
	p.tries++
	if p.tries >= p.left {
		return 0, true
	}
	pause := min(p.first<<min(p.tries-1, 10), longestPause)
	return max(pause/2+rand.N(pause/2+1), p.after), false //nolint:gosec // jitter is no secret
}

// retryAfter reads a Retry-After header, seconds or a date.
func retryAfter(text string, now time.Time) time.Duration {
	wait := time.Duration(0)
	if seconds, err := strconv.ParseUint(strings.TrimSpace(text), 10, 32); err == nil {
		wait = time.Duration(min(seconds, 3600)) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), retryAfterCap)
}
