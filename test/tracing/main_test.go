// Package tracing_test looks at what leaves the real binary: the traceparent of
// each request, and the spans that a collector gets.
package tracing_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	span "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"rotator/internal/sinch/sinchtest"
	"rotator/test/rig"
)

func TestMain(m *testing.M) { rig.Main(m, 2) }

// fleet is a world with something to rotate and something to delete, where
// Sinch's answers are lost or late at first.
func fleet(t *testing.T, env ...string) *rig.World {
	t.Helper()
	w := rig.New(t, rig.Config{Env: env})
	w.Due("due")
	w.Past("retire")
	w.Sim.Fault(sinchtest.Fault{Operation: "access_keys.list", Project: "due", Times: 2, Do: sinchtest.Status(503)})
	return w
}

// request is one that arrived at Sinch or Vault.
type request struct{ method, path, traceparent string }

// arrivals are the requests that arrived.
type arrivals struct {
	mu  sync.Mutex
	all []request
}

// watch notes all requests from now on.
func watch(w *rig.World) *arrivals {
	a := new(arrivals)
	w.Gate.On(-1, func(r *http.Request) bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.all = append(a.all, request{r.Method, r.URL.Path, strings.Join(r.Header["Traceparent"], " ")})
		return false
	}, nil)
	return a
}

// sent are the requests so far.
func (a *arrivals) sent() []request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]request(nil), a.all...)
}

// sink is a collector of spans.
type sink struct {
	*httptest.Server

	mu    sync.Mutex
	paths map[string]bool
	raw   strings.Builder
	spans []*span.Span
	about []*common.KeyValue // the resource
}

// collect starts a collector that answers as they do.
func collect(t *testing.T) *sink {
	t.Helper()
	s := &sink{paths: map[string]bool{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var sent collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &sent)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if err != nil {
			t.Errorf("an export cannot be read: %v", err)
			return
		}
		s.paths[r.Method+" "+r.URL.Path] = true
		s.raw.Write(body)
		for _, rs := range sent.GetResourceSpans() {
			s.about = rs.GetResource().GetAttributes()
			for _, ss := range rs.GetScopeSpans() {
				s.spans = append(s.spans, ss.GetSpans()...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(s.Close)
	return s
}

// text is an attribute as text, empty if there is none.
func text(attrs []*common.KeyValue, key string) string {
	for _, a := range attrs {
		if a.GetKey() == key {
			if a.GetValue().GetStringValue() != "" {
				return a.GetValue().GetStringValue()
			}
			return a.GetValue().String()
		}
	}
	return ""
}
