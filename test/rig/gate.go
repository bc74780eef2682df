package rig

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Sent is a request that would change something.
type Sent struct {
	What    string // what it changes; see intents
	At      time.Time
	Vouched bool // its intent was seen in the log, as far as Vouch was asked
}

// Action is what becomes of a request: pass hands it on and writes the answer
// to w. It is handed on whole even when its client has gone by then: a late
// arrival. The context of r tells of that.
type Action func(w http.ResponseWriter, r *http.Request, pass func(w http.ResponseWriter))

// rule applies an action to the requests that it hits.
type rule struct {
	hit  func(*http.Request) bool
	left int // requests still to hit; below zero: all
	do   Action
}

// Gate is what every request to Sinch and to Vault passes.
type Gate struct {
	// Vouch, if set, is asked for each request that would change something
	// whether its intent, the nth of its kind, is in the log by now.
	Vouch func(what string, nth int) bool

	mu    sync.Mutex
	rules []*rule
	sent  []Sent
	times map[string]int
	under int // requests under way
}

func newGate() *Gate { return &Gate{times: map[string]int{}} }

// On adds a rule for the next n requests (below zero: all) that hit accepts.
// Of several rules the oldest counts. The returned function ends it.
func (g *Gate) On(n int, hit func(*http.Request) bool, do Action) (end func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := &rule{hit, n, do}
	g.rules = append(g.rules, r)
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		r.left = 0
	}
}

func (g *Gate) actionFor(r *http.Request) Action {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, rule := range g.rules {
		if rule.left != 0 && rule.hit(r) {
			rule.left--
			return rule.do
		}
	}
	return func(w http.ResponseWriter, _ *http.Request, pass func(http.ResponseWriter)) { pass(w) }
}

// note notes a request that would change something, as it arrives.
func (g *Gate) note(what string) {
	if what == "" {
		return
	}
	g.mu.Lock()
	g.times[what]++
	nth, at, vouch := g.times[what], time.Now(), g.Vouch
	g.mu.Unlock()
	vouched := vouch == nil || vouch(what, nth)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sent = append(g.sent, Sent{what, at, vouched})
}

// Sent returns the requests so far that would change something, except those
// with which the log keeps its checkpoints.
func (g *Gate) Sent() []Sent {
	return slices.DeleteFunc(g.All(), func(s Sent) bool { return strings.Contains(s.What, "|"+logPrefix) })
}

// All returns every request so far that would change something, in the order
// of their arrival. That is not the order in which they were vouched for.
func (g *Gate) All() []Sent {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.SortedStableFunc(slices.Values(g.sent), func(a, b Sent) int { return a.At.Compare(b.At) })
}

// Count is how many of Sent are named so.
func (g *Gate) Count(prefix string) (n int) {
	for _, s := range g.Sent() {
		if strings.HasPrefix(s.What, prefix) {
			n++
		}
	}
	return n
}

// Creates are the display names of all creates, in order.
func (g *Gate) Creates() []string {
	var names []string
	for _, s := range g.Sent() {
		if rest, ok := strings.CutPrefix(s.What, "access_keys.create|"); ok {
			names = append(names, rest[strings.LastIndex(rest, "|")+1:])
		}
	}
	return names
}

// Idle reports whether every request that arrived has been dealt with.
func (g *Gate) Idle() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.under == 0
}

func (g *Gate) enter(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.under += n
}

// web puts the gate before a server.
func (g *Gate) web(t *testing.T, name func(*http.Request, []byte) string, next http.Handler) (address string) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.enter(1)
		defer g.enter(-1)
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		g.note(name(r, body))
		g.actionFor(r)(w, r, func(w http.ResponseWriter) { //nolint:contextcheck // late on purpose
			late := r.WithContext(context.WithoutCancel(r.Context()))
			late.Body = io.NopCloser(bytes.NewReader(body))
			next.ServeHTTP(w, late)
		})
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}

// forward hands requests on to the server at addr. The answer is kept until
// it is whole, so that a client that has gone does not cut the request off.
func forward(t *testing.T, addr string) http.Handler {
	t.Helper()
	target, err := url.Parse(addr)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 8}
	t.Cleanup(transport.CloseIdleConnections)
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: transport, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0),
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		whole := httptest.NewRecorder()
		proxy.ServeHTTP(whole, r)
		maps.Copy(w.Header(), whole.Header())
		w.WriteHeader(whole.Code)
		_, _ = w.Write(whole.Body.Bytes()) // the client may have gone
	})
}
