package call_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"rotator/internal/call"
	"rotator/internal/secret"
)

// book is a recorder that keeps what it is told, in order.
type book struct {
	mu     sync.Mutex
	lines  []string
	calls  []call.Call
	res    []call.Result
	refuse error // of intents
	lose   error // of outcomes
}

func (b *book) Intent(_ context.Context, c call.Call) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, "intent "+c.ID)
	return b.refuse
}

func (b *book) Outcome(_ context.Context, c call.Call, r call.Result) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines, b.calls, b.res = append(b.lines, "outcome "+c.ID), append(b.calls, c), append(b.res, r)
	return b.lose
}

// send sends one labelled request through a Transport and returns the body.
func send(t *testing.T, b *book, l call.Label, method, url string, body io.Reader) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(call.With(t.Context(), l), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &call.Transport{Service: call.Sinch, Base: new(http.Transport), Recorder: b}}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	return string(got), err
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func TestIntentComesBeforeTheCall(t *testing.T) {
	t.Parallel()
	b := &book{}
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		b.mu.Lock()
		b.lines = append(b.lines, "served")
		b.mu.Unlock()
		w.Header().Set("X-Request-Id", "req-1")
		_, _ = w.Write([]byte("made"))
	})
	body, err := send(t, b, call.Label{Operation: "access_keys.create", Mutating: true}, http.MethodPost, s.URL+"/v1?pageToken=opaque", strings.NewReader("{}"))
	if err != nil || body != "made" {
		t.Errorf("body %q, %v", body, err)
	}
	c := b.calls[0]
	if len(b.lines) != 3 || b.lines[0] != "intent "+c.ID || b.lines[1] != "served" || b.lines[2] != "outcome "+c.ID {
		t.Errorf("order: %v", b.lines)
	}
	if r := b.res[0]; r.Status != 200 || r.Outcome != call.OK || r.RequestID != "req-1" || c.Attempt != 1 || strings.Contains(c.URL, "opaque") {
		t.Errorf("call %+v, result %+v", c, r)
	}
}

func TestWithoutIntentNothingIsSent(t *testing.T) {
	t.Parallel()
	var served atomic.Int32
	s := serve(t, func(http.ResponseWriter, *http.Request) { served.Add(1) })
	b := &book{refuse: errors.New("the log is down")}
	_, err := send(t, b, call.Label{Operation: "access_keys.delete", Mutating: true}, http.MethodDelete, s.URL, nil)
	if !errors.Is(err, call.ErrNotSent) || !errors.Is(err, b.refuse) || served.Load() != 0 {
		t.Errorf("%v, served %d times", err, served.Load())
	}
}

func TestUnlabelledRequestIsRefused(t *testing.T) {
	t.Parallel()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:1/", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = (&call.Transport{Base: new(http.Transport), Recorder: &book{}}).RoundTrip(req) //nolint:bodyclose // there is none
	if !errors.Is(err, call.ErrNotSent) {
		t.Errorf("%v", err)
	}
}

// TestNoWholeAnswerIsUnknown: a cut body, one past the limit and a hung-up
// connection are answers that did not come.
func TestNoWholeAnswerIsUnknown(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{
		"cut": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("short"))
		},
		"huge":    func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, call.BodyLimit+1)) },
		"hung up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &book{}
			_, err := send(t, b, call.Label{Operation: "access_keys.create", Mutating: true}, http.MethodPost, serve(t, handler).URL, strings.NewReader("{}"))
			if err == nil || len(b.res) != 1 || b.res[0].Outcome != call.Unknown || b.res[0].Status != 0 || b.res[0].Error == "" {
				t.Errorf("%v, results %+v", err, b.res)
			}
		})
	}
}

func TestUnrecordedOutcomeIsAnError(t *testing.T) {
	t.Parallel()
	s := serve(t, func(http.ResponseWriter, *http.Request) {})
	_, err := send(t, &book{lose: errors.New("disk full")}, call.Label{Operation: "access_keys.list"}, http.MethodGet, s.URL, nil)
	if !errors.Is(err, call.ErrNotRecorded) {
		t.Errorf("%v", err)
	}
}

// TestSilentRepetitionHasARow: Go's transport repeats a GET on a connection
// that the server has closed meanwhile. Both attempts have a row.
func TestSilentRepetitionHasARow(t *testing.T) {
	t.Parallel()
	var connections atomic.Int32
	var mu sync.Mutex
	var carried []string
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		carried = append(carried, r.Header.Get("Traceparent"))
		mu.Unlock()
		if r.URL.Path == "/second" && connections.Load() == 1 {
			panic(http.ErrAbortHandler) // the reused connection dies with the request
		}
	}))
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			connections.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	b := &book{}
	client := &http.Client{Transport: &call.Transport{Service: call.Sinch, Base: new(http.Transport), Recorder: b}}
	attempts := new(atomic.Int32)
	for _, path := range []string{"/first", "/second"} {
		ctx := call.With(t.Context(), call.Label{Operation: "access_keys.list", Attempts: attempts})
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	if len(b.res) != 3 || b.res[1].Outcome != call.Unknown || b.res[2].Outcome != call.OK || b.calls[1].Attempt != 2 || b.calls[2].Attempt != 3 {
		t.Errorf("calls %+v\nresults %+v", b.calls, b.res)
	}
	if b.calls[1].ID == b.calls[2].ID {
		t.Error("two attempts share a call id")
	}
	var recorded []string
	for _, c := range b.calls {
		recorded = append(recorded, c.Traceparent)
	}
	slices.Sort(recorded)
	slices.Sort(carried)
	if !slices.Equal(recorded, carried) || len(slices.Compact(recorded)) != 3 {
		t.Errorf("three attempts carried %v, recorded are %v", carried, recorded)
	}
}

func FuzzClean(f *testing.F) {
	f.Add("plain", 10)
	f.Add("nul\x00 tab\t \xff\xfe \u202e", 7)
	f.Add("the-secret-text inside", 100)
	v := secret.New("the-secret-text")
	f.Fuzz(func(t *testing.T, text string, limit int) {
		if limit < 3 || limit > 1<<16 {
			return // outside of what callers use
		}
		got := call.Clean(text, limit)
		if !utf8.ValidString(got) || len(got) > limit || strings.ContainsAny(got, "\x00\n\r\t") || strings.Contains(got, v.Reveal()) {
			t.Errorf("Clean(%q, %d) = %q", text, limit, got)
		}
	})
}
