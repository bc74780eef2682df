package sinchtest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"rotator/internal/sinch/sinchtest"
)

const (
	parent = "parent-1"
	child  = "child-1"
)

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) Move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// rig is a server with one parent, its key, and one subproject.
type rig struct {
	*sinchtest.Server
	t     *testing.T
	url   string
	http  *http.Client
	clock *clock
	own   sinchtest.Issued // the parent's key
}

func start(t *testing.T, cfg sinchtest.Config) *rig {
	t.Helper()
	g := &rig{t: t, clock: newClock()}
	cfg.Now = g.clock.Now
	g.Server = sinchtest.New(cfg)
	// Without connections to reuse, Go's transport repeats nothing by itself.
	g.http = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	url, err := g.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	g.url = url
	g.AddParent(parent, "Parent")
	g.AddSubproject(parent, child, "Child", map[string]string{"team": "a"})
	g.own = g.AddKey(parent, "rotator", time.Time{})
	return g
}

// serve makes the rig talk to another handler in front of its server.
func (g *rig) serve(h http.Handler) {
	front := httptest.NewServer(h)
	g.t.Cleanup(front.Close)
	g.url = front.URL
}

// reply is what came back; err is set when no complete answer did.
type reply struct {
	status int
	header http.Header
	body   string
	err    error
}

func (r reply) json(t *testing.T) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(r.body), &m); err != nil {
		t.Fatalf("body %q: %v", r.body, err)
	}
	return m
}

// state is error.status.
func (r reply) state(t *testing.T) string {
	t.Helper()
	e, _ := r.json(t)["error"].(map[string]any)
	state, _ := e["status"].(string)
	return state
}

func (g *rig) request(method, path, auth, body string) *http.Request {
	g.t.Helper()
	r, err := http.NewRequestWithContext(g.t.Context(), method, g.url+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	if auth != "" {
		r.Header.Set("Authorization", auth)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return r
}

func (g *rig) send(r *http.Request) reply {
	resp, err := g.http.Do(r)
	if err != nil {
		return reply{err: err}
	}
	defer resp.Body.Close() //nolint:errcheck // nothing depends on it
	body, err := io.ReadAll(resp.Body)
	return reply{status: resp.StatusCode, header: resp.Header, body: string(body), err: err}
}

func (g *rig) do(method, path, auth, body string) reply {
	g.t.Helper()
	return g.send(g.request(method, path, auth, body))
}

func (g *rig) exchange(key sinchtest.Issued) reply {
	g.t.Helper()
	r := g.request(http.MethodPost, "/oauth2/token", "", "grant_type=client_credentials")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(key.KeyID, key.Secret)
	return g.send(r)
}

// bearer returns an Authorization header for the key.
func (g *rig) bearer(key sinchtest.Issued) string {
	g.t.Helper()
	r := g.exchange(key)
	if r.status != http.StatusOK {
		g.t.Fatalf("exchange: %d %s %v", r.status, r.body, r.err)
	}
	token, _ := r.json(g.t)["access_token"].(string)
	return "Bearer " + token
}

func keysPath(project string, more ...string) string {
	return "/v1/projects/" + project + "/accessKeys" + strings.Join(more, "")
}

// create makes a key through the API.
func (g *rig) create(auth, project, name string) (sinchtest.Issued, reply) {
	g.t.Helper()
	body, err := json.Marshal(map[string]string{"displayName": name})
	if err != nil {
		g.t.Fatal(err)
	}
	r := g.do(http.MethodPost, keysPath(project), auth, string(body))
	if r.status != http.StatusOK {
		return sinchtest.Issued{}, r
	}
	var made struct {
		AccessKey sinchtest.Key
		Secret    string
	}
	if err := json.Unmarshal([]byte(r.body), &made); err != nil {
		g.t.Fatal(err)
	}
	return sinchtest.Issued{KeyID: made.AccessKey.ID, Secret: made.Secret}, r
}

func (g *rig) want(r reply, status int, what string) {
	g.t.Helper()
	if r.err != nil || r.status != status {
		g.t.Fatalf("%s: status %d body %q err %v, want %d", what, r.status, r.body, r.err, status)
	}
}

// eventually waits for what a request does after its client has gone.
func (g *rig) eventually(done func() bool, otherwise string) {
	g.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); {
		if time.Now().After(deadline) {
			g.t.Fatal(otherwise)
		}
		time.Sleep(time.Millisecond)
	}
}
