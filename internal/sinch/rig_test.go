package sinch_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rotator/internal/call"
	"rotator/internal/secret"
	"rotator/internal/sinch"
	"rotator/internal/sinch/sinchtest"
)

const (
	parent = "parent-1"
	child  = "01child"
)

// rig is a client in front of a simulated Sinch with a parent, its key, and a
// subproject. At the end of the test every request must have conformed to the
// API's description, every intent must have come before its outcome, and
// nothing that was recorded may hold a secret.
type rig struct {
	*sinchtest.Server
	*sinch.Client
	log *recorder
	own sinch.Credentials
	url string
}

func start(t *testing.T, sim sinchtest.Config, change ...func(*sinch.Config)) *rig {
	t.Helper()
	server := sinchtest.New(sim)
	check, err := sinchtest.Check(server)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(check)
	t.Cleanup(func() {
		_ = server.Close() // lets go of held requests
		front.Close()
		if bad := check.Violations(); len(bad) > 0 {
			t.Errorf("requests or answers do not conform: %s", strings.Join(bad, "\n"))
		}
	})
	g := &rig{Server: server, log: &recorder{}, url: front.URL}
	g.begin(t, change...)
	return g
}

// begin seeds the server and makes the client.
func (g *rig) begin(t *testing.T, change ...func(*sinch.Config)) {
	t.Helper()
	g.AddParent(parent, "Parent")
	g.AddSubproject(parent, child, "Child", nil)
	g.own = credentials(g.AddKey(parent, "rotator", time.Now().Add(-time.Hour)))
	cfg := config(g.url, g.log)
	for _, f := range change {
		f(&cfg)
	}
	var err error
	if g.Client, err = sinch.New(cfg, g.own); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.Client.Close()
		g.log.check(t)
	})
}

func config(url string, log call.Recorder) sinch.Config {
	return sinch.Config{
		AuthURL: url + "/oauth2/token", AccessKeysURL: url, SubprojectsURL: url + "/",
		Subprojects: "auto", AuthMethod: "oauth2", TokenRate: 1000, TokenBurst: 1000,
		Timeout: 5 * time.Second, VerifyTimeout: 20 * time.Second, Recorder: log, MaxConns: 8,
	}
}

func credentials(k sinchtest.Issued) sinch.Credentials {
	return sinch.Credentials{KeyID: k.KeyID, Secret: secret.New(k.Secret)}
}

// sent counts the requests of an operation that reached the server.
func (g *rig) sent(operation string) int {
	n := 0
	for _, r := range g.Requests() {
		if r.Operation == operation {
			n++
		}
	}
	return n
}

// entry is an intent (Result is zero) or an outcome.
type entry struct {
	intent bool
	call   call.Call
	result call.Result
}

// recorder is the audit log of a test.
type recorder struct {
	refuseIntents, refuseOutcomes error // set before the first call

	mu      sync.Mutex
	entries []entry
}

func (l *recorder) Intent(_ context.Context, c call.Call) error {
	if l.refuseIntents != nil {
		return l.refuseIntents
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, entry{intent: true, call: c})
	return nil
}

func (l *recorder) Outcome(_ context.Context, c call.Call, r call.Result) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, entry{call: c, result: r})
	if c.Mutating {
		return l.refuseOutcomes
	}
	return nil
}

func (l *recorder) all() []entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]entry(nil), l.entries...)
}

// story tells what was recorded of an operation, one line an entry.
func (l *recorder) story(operation string) []string {
	var lines []string
	for _, e := range l.all() {
		switch {
		case e.call.Operation != operation:
		case e.intent:
			lines = append(lines, fmt.Sprintf("intent %d", e.call.Attempt))
		default:
			lines = append(lines, fmt.Sprintf("%s %d %d", e.result.Outcome, e.call.Attempt, e.result.Status))
		}
	}
	return lines
}

func (l *recorder) check(t *testing.T) {
	t.Helper()
	intended := map[string]bool{}
	for _, e := range l.all() {
		if e.intent {
			intended[e.call.ID] = true
		} else if e.call.Mutating && !intended[e.call.ID] {
			t.Errorf("%s has an outcome without an intent before it", e.call.Operation)
		}
		if text := fmt.Sprintf("%+v", e); secret.Scrub(text) != text {
			t.Errorf("record of %s holds a secret", e.call.Operation)
		}
	}
}

// direct lets a client call a handler without a network, so that the time
// that a test waits can be synctest's.
type direct struct{ http.Handler }

func (d direct) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	defer func() {
		if p := recover(); p != nil {
			resp, err = nil, errors.New("connection closed")
		}
	}()
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	resp = w.Result()
	resp.Request = r
	return resp, nil
}

// startDirect is start without a network, for use within synctest.
func startDirect(t *testing.T, sim sinchtest.Config, change ...func(*sinch.Config)) *rig {
	t.Helper()
	g := &rig{Server: sinchtest.New(sim), log: &recorder{}, url: "http://sinch.test"}
	g.begin(t, append([]func(*sinch.Config){func(c *sinch.Config) { c.Base = direct{g.Server} }}, change...)...)
	return g
}

// answering is a client whose every request to a resource API gets the same
// answer.
func answering(tb testing.TB, log *recorder, status int, body []byte) *sinch.Client {
	tb.Helper()
	cfg := config("http://sinch.test", log)
	cfg.Base = direct{http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write(body)
	})}
	cfg.AuthMethod = "basic"
	c, err := sinch.New(cfg, sinch.Credentials{KeyID: "own", Secret: secret.New("own-secret-1234")})
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// matches checks which sentinels an error matches, and which it does not.
func matches(t *testing.T, err error, want ...error) {
	t.Helper()
	for name, sentinel := range map[string]error{
		"ErrRetryable": sinch.ErrRetryable, "ErrPermanent": sinch.ErrPermanent,
		"ErrStateUnknown": sinch.ErrStateUnknown, "ErrNotApplied": sinch.ErrNotApplied,
		"ErrNotFound": sinch.ErrNotFound, "ErrUnauthenticated": sinch.ErrUnauthenticated,
		"ErrForbidden": sinch.ErrForbidden, "ErrNameTaken": sinch.ErrNameTaken, "ErrFull": sinch.ErrFull,
		"ErrIncomplete": sinch.ErrIncomplete, "ErrNoSubprojects": sinch.ErrNoSubprojects, "ErrVerify": sinch.ErrVerify,
		"call.ErrNotSent": call.ErrNotSent, "call.ErrNotRecorded": call.ErrNotRecorded,
	} {
		wanted := slices.Contains(want, sentinel)
		if got := errors.Is(err, sentinel); got != wanted {
			t.Errorf("matches %s: %v, want %v; error: %v", name, got, wanted, err)
		}
	}
}
