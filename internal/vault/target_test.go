package vault_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"rotator/internal/call"
	"rotator/internal/secret"
	"rotator/internal/vault"
	"rotator/internal/vault/vaultmem"
	"rotator/internal/vault/vaulttest"
)

// rule grants capabilities at a path; %s in it is the test's prefix.
type rule struct {
	path         string
	capabilities []string
}

// target is one server under one test, with a prefix of the test's own.
type target struct {
	addr, prefix string
	root         secret.Value
	auth         vault.Auth
}

// kind makes targets. An empty rules means the root token, else an AppRole
// whose tokens live for ttl.
type kind func(t *testing.T, rules []rule, ttl time.Duration) target

func memory(t *testing.T, rules []rule, ttl time.Duration) target {
	t.Helper()
	to := target{prefix: vaulttest.Prefix()}
	role := vaultmem.Role{RoleID: "role", SecretID: secret.New("role-secret-id"), TTL: ttl}
	for _, r := range rules {
		role.Rules = append(role.Rules, vaultmem.Rule{Path: strings.ReplaceAll(r.path, "%s", to.prefix), Capabilities: r.capabilities})
	}
	server := vaultmem.New(vaultmem.Config{Roles: []vaultmem.Role{role}})
	var err error
	to.addr, to.root, err = server.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	to.auth = vault.Auth{Token: to.root}
	if rules != nil {
		to.auth = vault.Auth{Method: "approle", RoleID: role.RoleID, SecretID: role.SecretID}
	}
	return to
}

func realServer(t *testing.T, rules []rule, ttl time.Duration) target {
	t.Helper()
	server := vaulttest.Real(t)
	to := target{addr: server.Addr, root: server.Token, prefix: vaulttest.Prefix(), auth: vault.Auth{Token: server.Token}}
	if rules == nil {
		return to
	}
	var policy strings.Builder
	for _, r := range rules {
		fmt.Fprintf(&policy, "path %q { capabilities = [%s] }\n",
			strings.ReplaceAll(r.path, "%s", to.prefix), `"`+strings.Join(r.capabilities, `", "`)+`"`)
	}
	role := server.AppRole(t, policy.String(), ttl)
	to.auth = vault.Auth{Method: "approle", RoleID: role.RoleID, SecretID: role.SecretID}
	return to
}

// full is the policy that CanWrite asks for.
func full() []rule {
	return []rule{
		{"secret/data/%s/*", []string{"create", "read", "update"}},
		{"secret/metadata/%s/*", []string{"create", "read", "update", "list"}},
		{"secret/delete/%s/*", []string{"update"}},
		{"secret/destroy/%s/*", []string{"update"}},
	}
}

// open opens a store on the target; change may adapt the configuration.
func (to target) open(t *testing.T, change ...func(*vault.Config)) (*vault.Store, *recorder) {
	t.Helper()
	s, rec, err := to.tryOpen(t, change...)
	if err != nil {
		t.Fatal(err)
	}
	return s, rec
}

func (to target) tryOpen(t *testing.T, change ...func(*vault.Config)) (*vault.Store, *recorder, error) {
	t.Helper()
	rec := new(recorder)
	cfg := vault.Config{
		API: config(to.addr), Auth: to.auth, Prefix: to.prefix, Recorder: rec,
		Logger: slog.New(slog.DiscardHandler), Timeout: 5 * time.Second,
	}
	for _, c := range change {
		c(&cfg)
	}
	s, err := vault.Open(t.Context(), cfg)
	return s, rec, err
}

func config(addr string) *api.Config {
	c := api.DefaultConfig()
	c.Address = addr
	return c
}

// admin is a root client that nobody records.
func (to target) admin(t *testing.T) *api.Client {
	t.Helper()
	return vaulttest.Server{Addr: to.addr, Token: to.root}.Client(t)
}

// recorder remembers what it is told, and may refuse intents.
type recorder struct {
	mu      sync.Mutex
	refuse  error
	intents []call.Call
	calls   []call.Call
	results []call.Result
}

var errLogDown = errors.New("the log is down")

func (r *recorder) Intent(_ context.Context, c call.Call) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuse != nil {
		return r.refuse
	}
	r.intents = append(r.intents, c)
	return nil
}

func (r *recorder) Outcome(_ context.Context, c call.Call, res call.Result) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls, r.results = append(r.calls, c), append(r.results, res)
	return nil
}

// operations lists the outcomes so far as "operation status".
func (r *recorder) operations() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for i, c := range r.calls {
		out = append(out, fmt.Sprintf("%s %d", c.Operation, r.results[i].Status))
	}
	return out
}

func (r *recorder) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.intents, r.calls, r.results = nil, nil, nil
}

// text is all that was recorded.
func (r *recorder) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprintf("%+v %+v %+v", r.intents, r.calls, r.results)
}

// data is a credential's data with a key named key.
func data(key string) vault.Data {
	return vault.Data{
		ProjectID: "p1", KeyID: key, KeySecret: secret.New("the-secret-of-" + key),
		CreatedAt: time.Date(2026, 3, 4, 5, 6, 7, 891_000_000, time.UTC), RotationID: "0123456789abc",
	}
}

// path is a credential's path, or the test ends.
func path(t *testing.T, s *vault.Store, credential string) string {
	t.Helper()
	p, err := s.Path("p1", credential)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// must ends the test on an error.
func must[T any](t *testing.T) func(v T, err error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// want reports an error that is not the wanted one.
func want(t *testing.T, err, sentinel error) {
	t.Helper()
	if !errors.Is(err, sentinel) {
		t.Errorf("error is %v, want %v", err, sentinel)
	}
}
