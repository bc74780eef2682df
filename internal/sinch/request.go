package sinch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"unicode"

	"rotator/internal/call"
)

// Operations as AUDIT.md section 5 names them.
const (
	opExchange    = "token.exchange"
	opSubprojects = "subprojects.list"
	opList        = "access_keys.list"
	opCreate      = "access_keys.create"
	opGet         = "access_keys.get"
	opUpdate      = "access_keys.update"
	opDelete      = "access_keys.delete"
	opProbe       = "probe." // and the probe's name
)

// request is one operation's HTTP request, which may be sent several times.
type request struct {
	operation   string
	method      string
	url         string
	contentType string
	body        []byte

	project, key, name string // for the record

	mutating bool // needs an intent
	once     bool // is never repeated: a create

	attempts *atomic.Int32 // real attempts so far
	// inspect tells the record what the answer says; nil: the status alone.
	inspect func(status int, body []byte, r *call.Result)
}

// answer is a whole answer.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// send sends the request as the session's key, when the rate limit allows. A
// refused token is dropped; unless the request must not be repeated, it is
// sent once more with a fresh one.
func (c *Client) send(ctx context.Context, s *session, r request) (answer, error) {
	a, stale, err := c.sendOnce(ctx, s, r)
	if stale && !r.once {
		a, _, err = c.sendOnce(ctx, s, r)
	}
	return a, err
}

// sendOnce also reports whether the answer is due to a token that has been
// dropped now.
func (c *Client) sendOnce(ctx context.Context, s *session, r request) (a answer, stale bool, err error) {
	u, err := url.Parse(r.url)
	if err != nil {
		return answer{}, false, r.unsent(errors.New("building the URL"))
	}
	if err := c.limits.wait(ctx, u.Host); err != nil {
		return answer{}, false, r.unsent(err)
	}
	auth, err := s.authorize(ctx)
	if err != nil {
		return answer{}, false, r.unsent(&spentError{err})
	}
	a, err = c.do(ctx, r, auth)
	if errors.Is(err, ErrUnauthenticated) {
		stale = s.drop(auth)
	}
	return a, stale, err
}

// do sends the request once and reads the answer. The error is an *Error
// unless the answer is 2xx.
func (c *Client) do(ctx context.Context, r request, auth authorization) (answer, error) {
	attempt, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	req, err := r.build(attempt, auth)
	if err != nil {
		return answer{}, r.unsent(err)
	}
	sent := c.cfg.Now()
	resp, err := c.http.Do(req)
	runtime.KeepAlive(auth) // Scrub knows it until the outcome is recorded
	if err != nil {
		return answer{}, r.lost(ctx, err)
	}
	defer resp.Body.Close()            //nolint:errcheck // it is a buffer by now
	body, err := io.ReadAll(resp.Body) // call.Transport has read and capped it
	if err != nil {
		return answer{}, r.lost(ctx, err)
	}
	c.observe(resp.Header, sent, c.cfg.Now())
	a := answer{status: resp.StatusCode, header: resp.Header, body: body}
	if a.status < 200 || a.status > 299 {
		return a, r.refused(a, c.cfg.Now())
	}
	return a, nil
}

func (r request) build(ctx context.Context, auth authorization) (*http.Request, error) {
	ctx = call.With(ctx, call.Label{
		Operation: r.operation, Mutating: r.mutating,
		Project: r.project, Key: r.key, DisplayName: r.name,
		Attempts: r.attempts, Inspect: r.inspect,
	})
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, bytes.NewReader(r.body))
	if err != nil {
		return nil, fmt.Errorf("building the request: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "rotator")
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	req.Header.Set("Authorization", auth.header())
	return req, nil
}

// lost is the error of a request whose answer did not come.
func (r request) lost(ctx context.Context, err error) *Error {
	var wrapped *url.Error // repeats method and URL, page tokens included
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	e := &Error{Operation: r.operation, cause: err}
	switch {
	case errors.Is(err, call.ErrNotSent):
		e.kind = []error{ErrNotApplied}
	case errors.Is(err, call.ErrNotRecorded), ctx.Err() != nil: // repeating would not help
		if r.mutating {
			e.kind = []error{ErrStateUnknown}
		}
	default:
		e.kind = r.unanswered()
	}
	return e
}

// path joins escaped segments to a base URL. What stands in the place of an
// id must be one: "." and ".." would address another resource.
func (r request) path(base string, segments ...string) (string, error) {
	var b strings.Builder
	b.WriteString(strings.TrimRight(base, "/"))
	for _, s := range segments {
		if !validID(s) {
			return "", r.unsent(fmt.Errorf("%w: %q cannot be an id", ErrPermanent, call.Clean(s, 64)))
		}
		b.WriteString("/" + url.PathEscape(s))
	}
	return b.String(), nil
}

// validID reports whether text can be an id: opaque, but one path segment
// that can be stored.
func validID(text string) bool {
	return text != "" && text != "." && text != ".." && len(text) <= 128 &&
		strings.ToValidUTF8(text, "") == text && !strings.ContainsFunc(text, unicode.IsControl)
}
