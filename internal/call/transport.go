package call

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// BodyLimit is how much of an answer is read, in bytes (SINCH.md section 4).
const BodyLimit = 1 << 20

// Transport is an http.RoundTripper that records every attempt. It reads the
// whole answer (up to BodyLimit) before it records the outcome, so that a cut
// body counts as an answer that did not come.
type Transport struct {
	Service  string
	Base     http.RoundTripper
	Recorder Recorder
	// LabelFor labels a request whose context carries no Label; nil means
	// that such a request is refused.
	LabelFor func(*http.Request) Label
}

var _ http.RoundTripper = (*Transport)(nil)

// RoundTrip sends one attempt, with its intent before it where it mutates,
// and its outcome after it. Errors match ErrNotSent or ErrNotRecorded where
// those apply; any other error means that the answer is unknown.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	label, ok := LabelOf(req.Context())
	if !ok {
		if t.LabelFor == nil {
			return nil, fmt.Errorf("%w: request to %s carries no label", ErrNotSent, cleanURL(req.URL))
		}
		label = t.LabelFor(req)
	}
	c := Call{
		Label: label, ID: newID(), Service: t.Service,
		Method: req.Method, URL: cleanURL(req.URL), Attempt: nextAttempt(label.Attempts),
	}
	a := begin(req.Context(), c, req.URL.Hostname())
	if label.Mutating {
		if err := t.Recorder.Intent(req.Context(), a.last().Call); err != nil {
			a.last().span.End("not sent: " + err.Error())
			return nil, fmt.Errorf("%w: committing the intent: %w", ErrNotSent, err)
		}
	}
	return t.send(req, a)
}

func (t *Transport) send(req *http.Request, a *attempts) (*http.Response, error) {
	ctx := req.Context()
	out := req.Clone(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { a.connected(ctx) },
	}))
	if a.last().Mutating {
		out.GetBody = nil // or Go's transport might repeat it unasked
	}
	a.goWith(out)
	start := time.Now()
	resp, err := t.Base.RoundTrip(out)
	var body []byte
	if err == nil {
		body, err = readBody(resp)
	}
	r := result(a.last().Call, resp, body, err)
	r.Duration = time.Since(start)
	recErr := a.end(r, func(c Call, r Result) error { return t.Recorder.Outcome(ctx, c, r) })
	if recErr != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotRecorded, recErr)
	}
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

func result(c Call, resp *http.Response, body []byte, err error) Result {
	r := Result{Outcome: Unknown}
	if err != nil {
		r.Error = Sanitize(err.Error())
		return r
	}
	r.Status, r.Outcome = resp.StatusCode, OK
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		r.Outcome = Error
	}
	for _, name := range []string{"X-Request-Id", "X-Correlation-Id", "X-Vault-Request-Id"} {
		if id := resp.Header.Get(name); id != "" && r.RequestID == "" {
			r.RequestID = Clean(id, 128)
		}
	}
	if c.Inspect != nil {
		c.Inspect(resp.StatusCode, body, &r)
	}
	r.Error, r.Key = Sanitize(r.Error), Clean(r.Key, 128)
	return r
}

// errBodyTooLarge is an answer that goes on past BodyLimit.
var errBodyTooLarge = errors.New("answer is larger than 1 MiB")

func readBody(resp *http.Response) ([]byte, error) {
	defer resp.Body.Close() //nolint:errcheck // the body has been read or given up
	body, err := io.ReadAll(io.LimitReader(resp.Body, BodyLimit+1))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	if len(body) > BodyLimit {
		return nil, errBodyTooLarge
	}
	return body, nil
}

func nextAttempt(n *atomic.Int32) int {
	if n == nil {
		return 1
	}
	return int(n.Add(1))
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }
