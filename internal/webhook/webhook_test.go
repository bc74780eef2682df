package webhook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/secret"
	"rotator/internal/webhook"
)

// rig is a sender, who it sends to, and what it is to tell.
type rig struct {
	*testing.T
	*webhook.Sender
	server *httptest.Server
	came   chan webhook.Message
	log    buffer

	mu      sync.Mutex
	answers []http.HandlerFunc // of the next attempts, then 200
	queue   []webhook.News
	ended   []bool
}

// buffer is a bytes.Buffer for several.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

const path = "/services/T0/B0/verysecret"

func newRig(t *testing.T, edits ...func(*webhook.Config)) *rig {
	t.Helper()
	g := &rig{T: t, came: make(chan webhook.Message, 100)}
	g.server = httptest.NewServer(http.HandlerFunc(g.answer))
	cfg := webhook.Config{
		From: webhook.From{Host: "host1", Project: "parent"}, URL: secret.New(g.server.URL + path),
		Logger: slog.New(slog.NewTextHandler(&g.log, nil)), Collect: g.collect,
		Delivered: func(ok bool) { g.mu.Lock(); defer g.mu.Unlock(); g.ended = append(g.ended, ok) },
		Pause:     time.Millisecond, Now: func() time.Time { return time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC) },
	}
	for _, edit := range edits {
		edit(&cfg)
	}
	g.Sender = webhook.Start(cfg)
	t.Cleanup(func() {
		g.Close()
		g.server.CloseClientConnections()
		g.server.Close()
		if strings.Contains(g.log.String(), "verysecret") {
			t.Errorf("the log shows the URL:\n%s", g.log.String())
		}
	})
	return g
}

func (g *rig) answer(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var m webhook.Message
	if err == nil {
		err = json.Unmarshal(body, &m)
	}
	if err != nil || r.Method != http.MethodPost || r.URL.Path != path || r.Header.Get("Content-Type") != "application/json" {
		g.Errorf("%v: %s %s %s", err, r.Method, r.URL, body)
	}
	g.came <- m
	g.mu.Lock()
	var do http.HandlerFunc
	if len(g.answers) > 0 {
		do, g.answers = g.answers[0], g.answers[1:]
	}
	g.mu.Unlock()
	if do != nil {
		do(w, r)
	}
}

func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, h := range header {
			name, value, _ := strings.Cut(h, ": ")
			w.Header().Set(name, value)
		}
		w.WriteHeader(code)
	}
}

func (g *rig) answering(answers ...http.HandlerFunc) { g.answers = answers }

func (g *rig) collect(context.Context) (n webhook.News, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.queue) > 0 {
		n, g.queue = g.queue[0], g.queue[1:]
	}
	if len(g.queue) > 0 {
		g.Wake()
	}
	return n, nil
}

// tell lets the sender find news.
func (g *rig) tell(n webhook.News) {
	g.mu.Lock()
	g.queue = append(g.queue, n)
	g.mu.Unlock()
	g.Wake()
}

// next is the next attempt.
func (g *rig) next() webhook.Message {
	g.Helper()
	select {
	case m := <-g.came:
		return m
	case <-time.After(20 * time.Second):
		g.Fatalf("no message came; log:\n%s", g.log.String())
		return webhook.Message{}
	}
}

// results are how messages ended, once there are so many.
func (g *rig) results(n int) []bool {
	g.Helper()
	for begun := time.Now(); ; time.Sleep(time.Millisecond) {
		g.mu.Lock()
		ended := append([]bool{}, g.ended...)
		g.mu.Unlock()
		if len(ended) >= n {
			return ended
		}
		if time.Since(begun) > 20*time.Second {
			g.Fatalf("%d messages ended, want %d; log:\n%s", len(ended), n, g.log.String())
		}
	}
}

var since = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

func problem(project string) webhook.Problem {
	return webhook.Problem{Kind: webhook.Failed, Project: project, Credential: "api", Error: "create: refused", Since: since}
}

func problems(projects ...string) (n webhook.News) {
	for _, p := range projects {
		n.Problems = append(n.Problems, problem(p))
	}
	n.Total, n.Open = len(projects), len(projects)
	return n
}

func recovered(open int, projects ...string) (n webhook.News) {
	for _, p := range projects {
		n.Recovered = append(n.Recovered, problem(p))
	}
	n.Over, n.Open = len(projects), open
	return n
}

func names(problems []webhook.Problem) string {
	var all []string
	for _, p := range problems {
		all = append(all, p.Project)
	}
	return strings.Join(all, " ")
}

func (g *rig) want(m webhook.Message, event, open, over string) {
	g.Helper()
	if m.Event != event || names(m.Problems) != open || names(m.Recovered) != over {
		g.Errorf("%s with problems %q, recovered %q; want %s, %q, %q\n%s", m.Event, names(m.Problems), names(m.Recovered), event, open, over, m.Text)
	}
}

// TestTells: a problem is told, then that it is over; nothing new is no message.
func TestTells(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.tell(problems("p1", "p2"))
	g.want(g.next(), "problem", "p1 p2", "")
	g.tell(webhook.News{Open: 2})
	g.tell(recovered(1, "p1"))
	m := g.next()
	g.want(m, "recovery", "", "p1")
	if want := "rotator on host1, project parent: 1 recovered, 1 more open\n• recovered (was failed) p1/api: create: refused"; m.Text != want {
		t.Errorf("got %q\nwant %q", m.Text, want)
	}
	if got := g.results(2); !got[0] || !got[1] {
		t.Errorf("messages ended %v", got)
	}
}

// TestTriesAgain: after a 500, a 429 and a closed connection, not after a 404
// or a redirect.
func TestTriesAgain(t *testing.T) {
	t.Parallel()
	hangUp := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	for _, c := range []struct {
		name    string
		answers []http.HandlerFunc
		want    bool
	}{
		{"500", []http.HandlerFunc{status(500), status(200)}, true},
		{"429", []http.HandlerFunc{status(429), status(204)}, true},
		{"closed", []http.HandlerFunc{hangUp, status(200)}, true},
		{"404", []http.HandlerFunc{status(404)}, false},
		{"redirect", []http.HandlerFunc{status(307, "Location: "+path)}, false},
		{"always 503", []http.HandlerFunc{status(503), status(503), status(503)}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t, func(cfg *webhook.Config) { cfg.Attempts = 3 })
			g.answering(c.answers...)
			g.tell(problems("p1"))
			if got := g.results(1); got[0] != c.want {
				t.Errorf("delivered: %t", got[0])
			}
			if n := len(g.came); n != len(c.answers) {
				t.Errorf("%d attempts, want %d", n, len(c.answers))
			}
			if lines := strings.Count(g.log.String(), "\n"); lines != map[bool]int{true: 0, false: 1}[c.want] {
				t.Errorf("the log says:\n%s", g.log.String())
			}
			if host := strings.TrimPrefix(g.server.URL, "http://"); !c.want && !strings.Contains(g.log.String(), host) {
				t.Errorf("the log does not name the host:\n%s", g.log.String())
			}
		})
	}
}

// TestRetryAfter: the server says when to come back.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.answering(status(429, "Retry-After: 1"))
	g.tell(problems("p1"))
	g.next()
	begun := time.Now()
	g.next()
	if waited := time.Since(begun); waited < 900*time.Millisecond {
		t.Errorf("it came back after %s", waited)
	}
}

// TestNewestStateWins: what becomes known while the server is away joins the
// message, what is over leaves it.
func TestNewestStateWins(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	free := make(chan struct{})
	g.answering(func(w http.ResponseWriter, r *http.Request) { <-free; status(500)(w, r) })
	g.tell(problems("p1", "p2"))
	g.want(g.next(), "problem", "p1 p2", "")
	g.tell(webhook.News{
		Problems: []webhook.Problem{problem("p3")}, Recovered: []webhook.Problem{problem("p1"), problem("p0")}, Total: 1, Over: 2, Open: 2,
	})
	close(free)
	m := g.next()
	g.want(m, "problem", "p2 p3", "p0")
	if m.ProblemsTotal != 2 || m.RecoveredTotal != 1 || m.Open != 2 {
		t.Errorf("totals: %+v", m)
	}
}

// TestOverBeforeItWasTold: a problem that came and went while the server was
// away is not worth a message.
func TestOverBeforeItWasTold(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	free := make(chan struct{})
	g.answering(func(w http.ResponseWriter, r *http.Request) { <-free; status(500)(w, r) })
	g.tell(problems("p1"))
	g.next()
	g.tell(recovered(0, "p1"))
	close(free)
	time.Sleep(50 * time.Millisecond)
	g.tell(problems("p2"))
	g.want(g.next(), "problem", "p2", "")
}

// TestHangs: a server that does not answer holds neither who wakes the sender
// nor, beyond a while, who closes it.
func TestHangs(t *testing.T) {
	t.Parallel()
	g := newRig(t, func(cfg *webhook.Config) { cfg.Flush = 300 * time.Millisecond })
	free := make(chan struct{})
	defer close(free)
	g.answering(func(http.ResponseWriter, *http.Request) { <-free })
	g.tell(problems("p1"))
	g.next()
	begun := time.Now()
	for range 1000 {
		g.Wake()
	}
	if took := time.Since(begun); took > 200*time.Millisecond {
		t.Errorf("waking took %s", took)
	}
	begun = time.Now()
	g.Close()
	if took := time.Since(begun); took < 200*time.Millisecond || took > 5*time.Second {
		t.Errorf("closing took %s, want 300 ms", took)
	}
	if got := g.results(1); got[0] {
		t.Error("the message counts as delivered")
	}
}

// TestFlush: what is new at the end is sent yet.
func TestFlush(t *testing.T) {
	t.Parallel()
	for range 20 { // a stop and something new at once: neither may hide the other
		g := newRig(t)
		g.tell(problems("p1"))
		g.Close()
		g.want(g.next(), "problem", "p1", "")
	}
}

// TestUse: without a URL nothing is taken; with one, it is told then.
func TestUse(t *testing.T) {
	t.Parallel()
	g := newRig(t, func(cfg *webhook.Config) { cfg.URL = secret.Value{} })
	g.tell(problems("p1"))
	time.Sleep(50 * time.Millisecond)
	if len(g.came) > 0 {
		t.Error("something was sent")
	}
	g.Use(secret.New(g.server.URL + path))
	g.Wake()
	g.want(g.next(), "problem", "p1", "")
}

// TestMany: of long lists the beginning is told, and how many there are.
func TestMany(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	n := webhook.News{Total: 1000, Open: 1000}
	for i := range webhook.Listed {
		n.Problems = append(n.Problems, problem(fmt.Sprintf("p%02d", i)))
	}
	g.tell(n)
	m := g.next()
	if len(m.Problems) != webhook.Listed || m.ProblemsTotal != 1000 || !strings.HasSuffix(m.Text, "\n• and 990 more") || len(m.Text) > 4000 {
		t.Errorf("%d listed of %d:\n%s", len(m.Problems), m.ProblemsTotal, m.Text)
	}
}

// TestHarmless: texts from outside are neither links nor mentions, nor secrets.
func TestHarmless(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	plain := secret.New("hunter2-hunter2-hunter2")
	p := problem("p1")
	p.Credential, p.Error = "<!channel>\x00", "said <https://evil.example|ok> & "+plain.Reveal()
	g.tell(webhook.News{Problems: []webhook.Problem{p}, Total: 1, Open: 1})
	m := g.next()
	all, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(all), "hunter2") || strings.ContainsAny(m.Text, "<>\x00") || !strings.Contains(m.Text, "&lt;!channel&gt;") {
		t.Errorf("sent %s", all)
	}
}

// TestStanding: a process's own problem is told once, again after a day, and
// when it is over.
func TestStanding(t *testing.T) {
	t.Parallel()
	var s webhook.Standing
	down := func(why string) []webhook.Problem { return []webhook.Problem{{Kind: webhook.Down, Error: why}} }
	told := func(why string, first bool) webhook.News {
		return webhook.News{Problems: []webhook.Problem{{Kind: webhook.Down, Error: why, Since: since, Reminder: !first}}, Total: 1, Open: 1}
	}
	for _, step := range []struct {
		after   time.Duration
		present []webhook.Problem
		want    webhook.News
	}{
		{0, nil, webhook.News{}},
		{0, down("no route"), told("no route", true)},
		{time.Hour, down("timed out"), webhook.News{Open: 1}},
		{webhook.Remind, down("timed out"), told("timed out", false)},
		{webhook.Remind + time.Hour, down("timed out"), webhook.News{Open: 1}},
		{webhook.Remind + time.Hour, nil, webhook.News{Recovered: []webhook.Problem{{Kind: webhook.Down, Error: "timed out", Since: since}}, Over: 1}},
		{webhook.Remind + time.Hour, nil, webhook.News{}},
	} {
		if diff := cmp.Diff(step.want, s.Now(since.Add(step.after), step.present)); diff != "" {
			t.Errorf("after %s (-want +got):\n%s", step.after, diff)
		}
	}
}
