package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/sethvargo/go-retry"

	"rotator/internal/call"
)

// Operations as AUDIT.md section 5 names them.
const (
	opLogin    = "vault.login"
	opRenew    = "vault.renew"
	opRead     = "vault.read"
	opWrite    = "vault.write"
	opMetadata = "vault.metadata"
	opDelete   = "vault.delete"
	opDestroy  = "vault.destroy"
	opTransit  = "vault.transit"
)

// A read is tried four times, with full jitter below 100, 200 and 400 ms: long
// enough for a leader election to be seen, short enough not to hide an outage.
const (
	readRetries = 3
	retryBase   = 100 * time.Millisecond
	retryCap    = 2 * time.Second
)

// label says what a request is; the zero label is an unspecific read.
type label struct {
	operation    string
	mutating     bool
	path         string // credential's path below the mount
	project      string
	key          string
	cas          int
	api          string // API path that a policy must grant, without v1/
	capabilities string // what it must grant there
}

// request is one attempt at something.
type request func(context.Context, *api.Logical) (*api.Secret, error)

// read repeats a request that changes nothing until it has a usable answer.
func (s *Store) read(ctx context.Context, l label, req request) (*api.Secret, error) {
	return repeat(ctx, func(ctx context.Context, attempts *atomic.Int32) (*api.Secret, error) {
		return s.authorised(ctx, l, attempts, req)
	})
}

// write sends a request that changes something, once.
func (s *Store) write(ctx context.Context, l label, req request) (*api.Secret, error) {
	l.mutating = true
	return s.authorised(ctx, l, new(atomic.Int32), req)
}

// authorised sends one request with a live token. A 403 that turns out to be
// a dead token is the only answer that it repeats: nothing was done.
func (s *Store) authorised(ctx context.Context, l label, attempts *atomic.Int32, req request) (*api.Secret, error) {
	if err := s.session.ensure(ctx); err != nil {
		if l.mutating {
			return nil, fmt.Errorf("%w: %w", call.ErrNotSent, err)
		}
		return nil, err
	}
	used := s.session.generation()
	secret, err := attempt(ctx, s.client, l, attempts, req)
	if errors.Is(err, ErrDenied) && s.session.revive(ctx, used) {
		return attempt(ctx, s.client, l, attempts, req)
	}
	return secret, err
}

// repeat runs f until it gives no retryable error.
func repeat(ctx context.Context, f func(context.Context, *atomic.Int32) (*api.Secret, error)) (*api.Secret, error) {
	attempts := new(atomic.Int32)
	backoff := retry.WithMaxRetries(readRetries,
		retry.WithFullJitter(retry.WithCappedDuration(retryCap, retry.NewExponential(retryBase))))
	var last error
	secret, err := retry.DoValue(ctx, backoff, func(ctx context.Context) (*api.Secret, error) {
		var secret *api.Secret
		secret, last = f(ctx, attempts)
		if retryable(last) {
			return nil, retry.RetryableError(last)
		}
		return secret, last
	})
	if err != nil && last != nil {
		err = last // without the retry library's wrapping, and not a bare "context canceled"
	}
	return secret, err
}

// attempt sends one labelled request and judges its answer.
func attempt(ctx context.Context, client *api.Client, l label, attempts *atomic.Int32, req request) (*api.Secret, error) {
	if l.operation == "" {
		l.operation = opRead
	}
	var a answer
	secret, err := req(call.With(ctx, call.Label{
		Operation: l.operation, Mutating: l.mutating,
		Project: l.project, Key: l.key, VaultPath: l.path, VaultCAS: l.cas,
		Attempts: attempts, Inspect: a.inspect,
	}), client.Logical())
	if err == nil && a.status == http.StatusNotFound && secret != nil {
		return secret, nil // a deleted version: KV answers 404 with its metadata
	}
	if err := a.verdict(l, err); err != nil {
		return nil, err
	}
	return secret, nil
}

// answer is what is kept of an answer besides the library's Secret.
type answer struct {
	status int
	text   string // Vault's own error messages
}

// inspect takes error messages, request id and version from an answer. It
// never looks at the data that a path holds.
func (a *answer) inspect(status int, body []byte, r *call.Result) {
	var said struct {
		Errors    []string `json:"errors"`
		RequestID string   `json:"request_id"`
		Data      struct {
			Version  int `json:"version"`
			Metadata struct {
				Version int `json:"version"`
			} `json:"metadata"`
		} `json:"data"`
	}
	err := json.Unmarshal(body, &said)
	a.status, a.text = status, strings.Join(said.Errors, "; ")
	if status >= 400 && len(body) > 0 && err != nil {
		a.text = "the answer is not Vault's: no JSON" // a proxy's page, worth nothing
	}
	if r.RequestID == "" {
		r.RequestID = call.Clean(said.RequestID, 128)
	}
	r.Error = a.text
	r.VaultVersion = max(said.Data.Version, said.Data.Metadata.Version)
}

// labelFor labels what the library might send by itself. What it does not
// know counts as a write, so that nothing can change Vault without an intent.
func labelFor(r *http.Request) call.Label {
	switch {
	case strings.Contains(r.URL.Path, "/v1/auth/") && strings.HasSuffix(r.URL.Path, "/login"):
		return call.Label{Operation: opLogin}
	case strings.HasSuffix(r.URL.Path, "/auth/token/renew-self"):
		return call.Label{Operation: opRenew}
	case r.Method == http.MethodGet, r.Method == http.MethodHead, r.Method == "LIST":
		return call.Label{Operation: opRead}
	}
	return call.Label{Operation: opWrite, Mutating: true}
}
