package outage_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// sent is a request that would change something.
type sent struct {
	what    string // what it changes; see checkSent
	at      time.Time
	vouched bool // its intent was seen in the log, or Postgres was away
}

// action is what becomes of a request: pass hands it on and answers.
type action func(w http.ResponseWriter, r *http.Request, pass func())

// rule applies an action to the requests that it hits.
type rule struct {
	hit  func(*http.Request) bool
	left int // requests still to hit; below zero: all
	do   action
}

// gate is what every request to Sinch and to Vault passes.
type gate struct {
	vouch func(what string, nth int) bool // asks Postgres for the nth intent

	mu    sync.Mutex
	rules []*rule
	sent  []sent
	times map[string]int
}

// on adds a rule for the next n requests (below zero: all) that hit accepts.
// The returned function ends it.
func (g *gate) on(n int, hit func(*http.Request) bool, do action) (end func()) {
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

func (g *gate) actionFor(r *http.Request) action {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, rule := range g.rules {
		if rule.left != 0 && rule.hit(r) {
			rule.left--
			return rule.do
		}
	}
	return func(_ http.ResponseWriter, _ *http.Request, pass func()) { pass() }
}

// note notes a request that would change something, as it arrives.
func (g *gate) note(what string) {
	if what == "" {
		return
	}
	g.mu.Lock()
	g.times[what]++
	nth := g.times[what]
	g.mu.Unlock()
	s := sent{what, time.Now(), g.vouch(what, nth)}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sent = append(g.sent, s)
}

// mutations returns what was sent so far.
func (g *gate) mutations() []sent {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]sent(nil), g.sent...)
}

// count is how many requests so far would have changed what is named so.
func (g *gate) count(prefix string) (n int) {
	for _, s := range g.mutations() {
		if strings.HasPrefix(s.what, prefix) {
			n++
		}
	}
	return n
}

// web puts the gate before a server. The request goes on even when its client
// is gone by then: that is a late arrival.
func (g *gate) web(t *testing.T, name func(*http.Request, []byte) string, next http.Handler) (address string) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r = r.WithContext(context.WithoutCancel(r.Context()))
		r.Body = io.NopCloser(bytes.NewReader(body))
		g.note(name(r, body))
		g.actionFor(r)(w, r, func() { next.ServeHTTP(w, r) })
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
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
		Transport: transport, ErrorLog: log.New(io.Discard, "", 0),
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		whole := httptest.NewRecorder()
		proxy.ServeHTTP(whole, r)
		maps.Copy(w.Header(), whole.Header())
		w.WriteHeader(whole.Code)
		_, _ = w.Write(whole.Body.Bytes()) // the client may have gone
	})
}

// held is a request that is kept, or its answer.
type held struct {
	arrived chan struct{} // closed when it is being kept
	passed  chan struct{} // closed when it has been handed on and answered
	free    chan struct{}
	release func()
}

func newHeld(t *testing.T) *held {
	t.Helper()
	h := &held{arrived: make(chan struct{}), passed: make(chan struct{}), free: make(chan struct{})}
	h.release = sync.OnceFunc(func() { close(h.free) })
	t.Cleanup(h.release)
	return h
}

// before keeps one request until it is released.
func (h *held) before(_ http.ResponseWriter, _ *http.Request, pass func()) {
	close(h.arrived)
	<-h.free
	defer close(h.passed)
	pass()
}

// after hands one request on and keeps its answer until it is released.
func (h *held) after(_ http.ResponseWriter, _ *http.Request, pass func()) {
	defer close(h.passed)
	pass()
	close(h.arrived)
	<-h.free
}

// drop closes the connection; the server sees nothing.
func drop(http.ResponseWriter, *http.Request, func()) { panic(http.ErrAbortHandler) }

var keyPath = regexp.MustCompile(`^/v1/projects/([^/]+)/accessKeys(?:/([^/]+))?$`)

var sinchOperations = map[string]string{
	http.MethodPost: "access_keys.create", http.MethodPatch: "access_keys.update", http.MethodDelete: "access_keys.delete",
}

// sinchMutation names what a request to Sinch would change, as checkSent does.
func sinchMutation(r *http.Request, body []byte) string {
	at := keyPath.FindStringSubmatch(r.URL.Path)
	op := sinchOperations[r.Method]
	if at == nil || op == "" {
		return ""
	}
	var asked struct{ DisplayName string }
	_ = json.Unmarshal(body, &asked)
	return strings.Join([]string{op, at[1], at[2], asked.DisplayName}, "|")
}

var vaultOperations = map[string]string{
	"data": "vault.write", "metadata": "vault.metadata", "delete": "vault.delete", "destroy": "vault.destroy",
}

// vaultMutation does the same for Vault's mount secret/.
func vaultMutation(r *http.Request, body []byte) string {
	rest, found := strings.CutPrefix(r.URL.Path, "/v1/secret/")
	if !found || r.Method == http.MethodGet {
		return ""
	}
	kind, path, _ := strings.Cut(rest, "/")
	var asked struct{ Options struct{ CAS int } }
	_ = json.Unmarshal(body, &asked)
	return strings.Join([]string{vaultOperations[kind], path, strconv.Itoa(asked.Options.CAS)}, "|")
}

// publishing accepts writes of a credential's path.
func publishing(credential string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		return r.Method != http.MethodGet && strings.Contains(r.URL.Path, "/secret/data/") &&
			strings.HasSuffix(r.URL.Path, "/"+credential)
	}
}
