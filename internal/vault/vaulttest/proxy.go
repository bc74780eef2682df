package vaulttest

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
)

// Fault is what a Proxy does to a request.
type Fault int

// Faults. The first two look the same to the client.
const (
	NotApplied     Fault = iota + 1 // connection dropped, the server sees nothing
	Unanswered                      // the server acts, its answer is dropped
	InternalError                   // the server sees nothing, the answer is a 500
	BadGatewayPage                  // the server acts, the answer is a 502 page in HTML
	Redirect                        // the server sees nothing, the answer is a redirect in circles
)

// Proxy stands between a client and a server and makes trouble as told.
type Proxy struct {
	URL string

	forward http.Handler

	mu   sync.Mutex
	next []Fault
	hit  func(*http.Request) bool
	seen []*http.Request
}

// NewProxy starts a proxy before the server at addr.
func NewProxy(t testing.TB, addr string) *Proxy {
	t.Helper()
	target, err := url.Parse(addr)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{forward: httputil.NewSingleHostReverseProxy(target)}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	p.URL = server.URL
	return p
}

// Fail applies the faults, one each, to the next requests that hit accepts.
func (p *Proxy) Fail(hit func(*http.Request) bool, faults ...Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hit, p.next = hit, faults
}

// Seen returns the requests so far, those dropped included.
func (p *Proxy) Seen() []*http.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*http.Request(nil), p.seen...)
}

// ServeHTTP forwards a request or makes its trouble.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch p.fault(r) {
	case NotApplied:
		panic(http.ErrAbortHandler)
	case Unanswered:
		p.forward.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	case InternalError:
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write([]byte(`{"errors":["internal error"]}`))
	case BadGatewayPage:
		p.forward.ServeHTTP(httptest.NewRecorder(), r)
		w.WriteHeader(http.StatusBadGateway)
		_, _ = w.Write([]byte("<html>502 Bad Gateway</html>"))
	case Redirect:
		w.Header().Set("Location", r.URL.Path)
		w.WriteHeader(http.StatusTemporaryRedirect)
	default:
		p.forward.ServeHTTP(w, r)
	}
}

func (p *Proxy) fault(r *http.Request) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, r.Clone(r.Context()))
	if len(p.next) == 0 || !p.hit(r) {
		return 0
	}
	f := p.next[0]
	p.next = p.next[1:]
	return f
}
