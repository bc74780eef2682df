package call

import (
	"context"
	"net/http"
	"sync"

	"rotator/internal/trace"
)

// attempts are one request as it really goes out. Go's transport repeats an
// idempotent one on a stale connection without telling: each lost attempt gets
// a row of its own, and each attempt a traceparent.
type attempts struct {
	mu          sync.Mutex
	host        string
	header      http.Header // of what goes out
	connections int
	all         []traced
}

// traced is an attempt and its span.
type traced struct {
	Call
	span *trace.Span
}

// begin begins the first attempt.
func begin(ctx context.Context, c Call, host string) *attempts {
	a := &attempts{host: host}
	a.add(ctx, c)
	return a
}

func (a *attempts) add(ctx context.Context, c Call) {
	span := trace.Send(ctx, c.Operation,
		trace.Text("http.request.method", c.Method), trace.Text("server.address", a.host),
		trace.Text("rotator.call", c.ID), trace.Number("rotator.attempt", c.Attempt))
	c.Traceparent = span.Parent()
	a.all = append(a.all, traced{c, span})
}

// goWith says what goes out, and has it carry the attempt's traceparent.
func (a *attempts) goWith(out *http.Request) {
	if out.Header == nil {
		out.Header = http.Header{}
	}
	a.header = out.Header
	a.header.Set(trace.Header, a.last().Traceparent)
}

// connected is told that a connection has been found for an attempt. The
// header is nobody else's then: before it tries again, Go's transport waits
// until the writer of the lost connection is done, and asks for the next
// connection in RoundTrip itself.
func (a *attempts) connected(ctx context.Context) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.connections++
	if c := a.all[len(a.all)-1].Call; a.connections > 1 && !c.Mutating {
		c.ID, c.Attempt = newID(), nextAttempt(c.Attempts)
		a.add(ctx, c)
		a.header.Set(trace.Header, a.all[len(a.all)-1].Traceparent)
	}
}

func (a *attempts) last() traced {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.all[len(a.all)-1]
}

// end records how each attempt ended: the last with r, those before were lost.
func (a *attempts) end(r Result, record func(Call, Result) error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	last := len(a.all) - 1
	for i, try := range a.all {
		how := r
		if i < last {
			how = Result{Outcome: Unknown, Error: "connection lost, repeated by the HTTP transport"}
		}
		try.span.End(failure(how), outcomeOf(how)...)
		if err := record(try.Call, how); err != nil {
			return err
		}
	}
	return nil
}

// failure is why an attempt failed, empty if it did not.
func failure(r Result) string {
	switch {
	case r.Outcome == OK:
		return ""
	case r.Error == "":
		return string(r.Outcome)
	}
	return r.Error
}

func outcomeOf(r Result) []trace.Attr {
	attrs := []trace.Attr{trace.Text("rotator.outcome", string(r.Outcome))}
	if r.Status != 0 {
		attrs = append(attrs, trace.Number("http.response.status_code", r.Status))
	}
	return attrs
}
