package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"

	"rotator/internal/call"
	"rotator/internal/secret"
)

// session keeps the client's token alive.
type session struct {
	client *api.Client
	method method
	clock  func() time.Time
	log    *slog.Logger
	turn   chan struct{} // held by the one goroutine that logs in or renews

	mu      sync.Mutex
	present login        // its token is known to secret.Scrub as long as it is here
	proof   secret.Value // the same for what the last login sent
	logins  int          // so far
	renewAt time.Time    // zero: never
}

func newSession(cfg Config, m method, client *api.Client) *session {
	client.ClearToken() // the library takes VAULT_TOKEN by itself
	return &session{client: client, method: m, clock: cfg.Now, log: cfg.Logger, turn: make(chan struct{}, 1)}
}

func (s *session) who() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.present.entity
}

func (s *session) generation() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logins
}

// hold keeps what a login sends known to secret.Scrub.
func (s *session) hold(proof secret.Value) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proof = proof
}

// now is the present login.
func (s *session) now() login {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.present
}

// advance goes on to the login that follows the given one.
func (s *session) advance(ctx context.Context, now login) error {
	next, err := s.method.next(ctx, s, now)
	if err != nil {
		return err
	}
	s.client.SetToken(next.token.Reveal())
	s.adopt(next)
	return nil
}

// adopt takes over a login. It is renewed when two thirds of its life are over.
func (s *session) adopt(l login) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.entity = call.Clean(l.entity, 128)
	s.present, s.renewAt = l, time.Time{}
	s.logins++
	if l.life > 0 && (l.renewable || s.method.replaces()) {
		s.renewAt = l.start.Add(l.life * 2 / 3)
	}
}

// renew prolongs the present token. One that is at the end of the longest life
// that Vault allows it is refused.
func (s *session) renew(ctx context.Context, now login) (login, error) {
	start := s.clock()
	answer, err := s.request(ctx, label{operation: opRenew}, s.bearing(now.token, http.MethodPut, "auth/token/renew-self", nil))
	if err != nil {
		return login{}, fmt.Errorf("renewing the Vault token: %w", err)
	}
	if answer == nil || answer.Auth == nil {
		return login{}, fmt.Errorf("%w: the renewal's answer holds no token", ErrUnreachable)
	}
	if answer.Auth.LeaseDuration <= 0 {
		return login{}, fmt.Errorf("renewing the Vault token: %w: it has reached its longest life", ErrDenied)
	}
	now.start, now.renewable = start, answer.Auth.Renewable
	now.life = time.Duration(answer.Auth.LeaseDuration) * time.Second
	return now, nil
}

// final says whether a renewal was refused for good.
func final(err error) bool { return errors.Is(err, ErrDenied) || errors.Is(err, ErrRejected) }

// lookup asks what a token is worth.
func (s *session) lookup(ctx context.Context, token secret.Value) (login, error) {
	const path = "auth/token/lookup-self"
	start := s.clock()
	self, err := s.request(ctx, label{operation: opRead, api: path, capabilities: `"read"`}, s.bearing(token, http.MethodGet, path, nil))
	if err != nil {
		return login{}, fmt.Errorf("looking up the Vault token: %w", err)
	}
	if self == nil {
		return login{}, fmt.Errorf("%w: the token's lookup is empty", ErrUnreachable)
	}
	g := login{token: token, start: start, life: seconds(self.Data["ttl"]), entity: text(self, "entity_id")}
	if g.life == 0 && self.Data["expire_time"] != nil {
		g.life = time.Second / 2 // Vault rounds down: it is about to end, not everlasting
	}
	if g.entity == "" {
		g.entity = text(self, "display_name")
	}
	g.renewable, _ = self.Data["renewable"].(bool)
	g.full = g.life
	return g, nil
}

// request sends what must not itself wait for a live token.
func (s *session) request(ctx context.Context, l label, req request) (*api.Secret, error) {
	return repeat(ctx, func(ctx context.Context, attempts *atomic.Int32) (*api.Secret, error) {
		return attempt(ctx, s.client, l, attempts, req)
	})
}

// bearing is a request with the given token, not the client's own; the zero
// Value sends none.
func (s *session) bearing(token secret.Value, verb, path string, body map[string]any) request {
	return func(ctx context.Context, _ *api.Logical) (*api.Secret, error) {
		r := s.client.NewRequest(verb, "/v1/"+path)
		r.ClientToken = token.Reveal()
		if body != nil {
			if err := r.SetJSONBody(body); err != nil {
				return nil, fmt.Errorf("encoding the request: %w", err)
			}
		}
		answer, err := s.client.RawRequestWithContext(ctx, r) //nolint:staticcheck // nothing else in the library takes a token for one request
		if answer != nil {
			defer answer.Body.Close() //nolint:errcheck // the transport has read it already
		}
		if err != nil {
			return nil, err //nolint:wrapcheck // verdict judges it
		}
		return api.ParseSecret(answer.Body)
	}
}

func seconds(v any) time.Duration {
	n, ok := v.(json.Number)
	if !ok {
		return 0
	}
	s, err := n.Int64()
	if err != nil {
		return 0
	}
	return time.Duration(s) * time.Second
}
