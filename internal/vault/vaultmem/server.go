// Package vaultmem is a small in-memory Vault server: the part of KV v2, of
// AppRole and of the token API that rotator uses, over real HTTP, with the
// status codes and error texts of the real server. `rotator demo` runs on it
// where no Vault is installed; the contract tests of package vault run
// against it and against the real server alike. What it holds is gone when it
// is closed. It is no replacement for Vault.
package vaultmem

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"rotator/internal/secret"
)

// Config describes a server; its zero value is usable.
type Config struct {
	Listen string           // default "127.0.0.1:0"
	Mount  string           // of KV v2, default "secret"
	Token  secret.Value     // root token; zero: a random one
	Roles  []Role           // AppRole logins at auth/approle
	Now    func() time.Time // nil: time.Now
}

// Role is an AppRole.
type Role struct {
	RoleID   string
	SecretID secret.Value
	TTL      time.Duration // of a login's token; 0: for ever
	Rules    []Rule        // what it may do
}

// Rule grants capabilities at an API path, such as "secret/data/sinch/*".
type Rule struct {
	Path         string // exact, or a prefix with * at its end
	Capabilities []string
}

// Server is a running or future server.
type Server struct {
	cfg  Config
	http *http.Server

	mu      sync.Mutex
	entries map[string]*entry
	tokens  map[string]login
}

// New returns a server that is not yet listening.
func New(cfg Config) *Server {
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if cfg.Mount == "" {
		cfg.Mount = "secret"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Token.IsZero() {
		cfg.Token = newToken()
	}
	s := &Server{cfg: cfg, entries: map[string]*entry{}, tokens: map[string]login{}}
	s.tokens[cfg.Token.Reveal()] = login{name: "root", rules: []Rule{{Path: "*", Capabilities: []string{"root"}}}}
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	return s
}

// Start listens and returns the server's URL and root token.
func (s *Server) Start(ctx context.Context) (addr string, token secret.Value, err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.cfg.Listen)
	if err != nil {
		return "", secret.Value{}, fmt.Errorf("listening: %w", err)
	}
	go func() { _ = s.http.Serve(listener) }() // ends with Close, which reports
	return "http://" + listener.Addr().String(), s.cfg.Token, nil
}

// Close ends the server at once.
func (s *Server) Close() error {
	if err := s.http.Close(); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("closing the in-memory Vault: %w", err)
	}
	return nil
}

// ServeHTTP answers one request. Requests are served one at a time, which
// makes every one of them atomic.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path, ok := strings.CutPrefix(r.URL.Path, "/v1/")
	if !ok {
		refuse(http.StatusNotFound).write(w)
		return
	}
	req := request{method: r.Method, path: path, query: r.URL.Query(), token: r.Header.Get("X-Vault-Token")}
	if r.Method == http.MethodGet && req.query.Get("list") == "true" {
		req.method = "LIST"
	}
	if r.ContentLength != 0 && r.Method != http.MethodGet {
		decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
		decoder.UseNumber()
		if err := decoder.Decode(&req.body); err != nil {
			refuse(http.StatusBadRequest, "failed to parse JSON input").write(w)
			return
		}
	}
	s.route(req).write(w)
}

// request is one request, read.
type request struct {
	method, path, token string
	query               url.Values
	body                map[string]any
}

// response is what goes back; without data, auth and errors it is a 204.
type response struct {
	status int
	data   map[string]any
	auth   map[string]any
	errors []string
	plain  bool // data is the whole body, as under sys/health
}

func refuse(status int, errs ...string) response {
	if errs == nil {
		errs = []string{}
	}
	return response{status: status, errors: errs}
}

func (p response) write(w http.ResponseWriter) {
	var body any
	switch {
	case p.errors != nil:
		body = map[string]any{"errors": p.errors}
	case p.data == nil && p.auth == nil:
		w.WriteHeader(http.StatusNoContent)
		return
	case p.plain:
		body = p.data
	default:
		body = map[string]any{
			"request_id": uuid.NewString(), "lease_id": "", "renewable": false, "lease_duration": 0,
			"data": p.data, "auth": p.auth, "wrap_info": nil, "warnings": nil,
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(max(p.status, http.StatusOK))
	_ = json.NewEncoder(w).Encode(body) // a client that has gone needs no answer
}

func newToken() secret.Value { return secret.New("hvs." + rand.Text()) }
