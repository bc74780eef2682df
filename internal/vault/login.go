package vault

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/api/auth/approle"

	"rotator/internal/call"
	"rotator/internal/secret"
)

// Auth says how to log in.
type Auth struct {
	Method   string       // "token" (default) or "approle"
	Token    secret.Value // of method token
	RoleID   string       // of method approle
	SecretID secret.Value // of method approle
	Mount    string       // of the login method; default its name
}

func (a *Auth) defaults() {
	if a.Method == "" {
		a.Method = "token"
	}
	if a.Mount = strings.Trim(a.Mount, "/"); a.Mount == "" {
		a.Mount = a.Method
	}
}

func (a *Auth) check() error {
	switch a.Method {
	case "token":
		if a.Token.IsZero() {
			return fmt.Errorf("%w: method token needs VAULT_TOKEN", ErrConfig)
		}
	case "approle":
		if a.RoleID == "" || a.SecretID.IsZero() {
			return fmt.Errorf("%w: method approle needs VAULT_ROLE_ID and VAULT_SECRET_ID", ErrConfig)
		}
	case "kubernetes", "jwt", "cert":
		return fmt.Errorf("%w: VAULT_AUTH_METHOD %s is not supported yet, use token or approle", ErrConfig, a.Method)
	default:
		return fmt.Errorf("%w: unknown VAULT_AUTH_METHOD %q, use token or approle", ErrConfig, a.Method)
	}
	return nil
}

// session keeps the client's token alive.
type session struct {
	client *api.Client
	auth   Auth
	now    func() time.Time
	log    *slog.Logger
	turn   chan struct{} // held by the one goroutine that logs in or renews

	mu       sync.Mutex
	token    secret.Value // kept so that secret.Scrub knows it
	logins   int          // tokens so far
	entity   string
	expires  time.Time // zero: never
	renewAt  time.Time // zero: never
	canRenew bool      // the token may be renewed, or a new one be got
}

func newSession(cfg Config, client *api.Client) *session {
	return &session{
		client: client, auth: cfg.Auth, now: cfg.Now, log: cfg.Logger,
		turn: make(chan struct{}, 1),
	}
}

func (s *session) who() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entity
}

func (s *session) generation() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logins
}

// open gets the first token.
func (s *session) open(ctx context.Context) error {
	s.client.ClearToken() // the library takes VAULT_TOKEN by itself
	if s.auth.Method == "approle" {
		return s.login(ctx)
	}
	s.client.SetToken(s.auth.Token.Reveal())
	start := s.now()
	self, err := s.lookup(ctx)
	if err != nil {
		return err
	}
	renewable, _ := self.Data["renewable"].(bool)
	s.adopt(start, s.auth.Token, seconds(self.Data["ttl"]), renewable, identity(self.Data))
	return nil
}

// login gets a new token from AppRole.
func (s *session) login(ctx context.Context) error {
	method, err := approle.NewAppRoleAuth(s.auth.RoleID,
		&approle.SecretID{FromString: s.auth.SecretID.Reveal()}, approle.WithMountPath(s.auth.Mount))
	if err != nil {
		return fmt.Errorf("%w: preparing the AppRole login: %w", ErrConfig, err)
	}
	start := s.now()
	answer, err := s.request(ctx, label{operation: opLogin}, func(ctx context.Context, _ *api.Logical) (*api.Secret, error) {
		return method.Login(ctx, s.client)
	})
	if err != nil {
		return fmt.Errorf("logging in with AppRole: %w", err)
	}
	if answer == nil || answer.Auth == nil || answer.Auth.ClientToken == "" {
		return fmt.Errorf("%w: the login's answer holds no token", ErrUnreachable)
	}
	s.client.SetToken(answer.Auth.ClientToken)
	name := answer.Auth.EntityID
	if name == "" {
		name = s.auth.Method
	}
	s.adopt(start, secret.New(answer.Auth.ClientToken),
		time.Duration(answer.Auth.LeaseDuration)*time.Second, true, name)
	return nil
}

// renew prolongs the token of method token.
func (s *session) renew(ctx context.Context) error {
	start := s.now()
	answer, err := s.request(ctx, label{operation: opRenew}, func(ctx context.Context, l *api.Logical) (*api.Secret, error) {
		return l.WriteWithContext(ctx, "auth/token/renew-self", nil)
	})
	if err != nil {
		return fmt.Errorf("renewing the Vault token: %w", err)
	}
	if answer == nil || answer.Auth == nil {
		return fmt.Errorf("%w: the renewal's answer holds no token", ErrUnreachable)
	}
	s.adopt(start, s.auth.Token, time.Duration(answer.Auth.LeaseDuration)*time.Second, answer.Auth.Renewable, s.who())
	return nil
}

func (s *session) lookup(ctx context.Context) (*api.Secret, error) {
	self, err := s.request(ctx, label{operation: opRead, api: "auth/token/lookup-self", capabilities: `"read"`},
		func(ctx context.Context, l *api.Logical) (*api.Secret, error) {
			return l.ReadWithContext(ctx, "auth/token/lookup-self")
		})
	if err != nil {
		return nil, fmt.Errorf("looking up the Vault token: %w", err)
	}
	if self == nil {
		return nil, fmt.Errorf("%w: the token's lookup is empty", ErrUnreachable)
	}
	return self, nil
}

// request sends what must not itself wait for a live token.
func (s *session) request(ctx context.Context, l label, req request) (*api.Secret, error) {
	return repeat(ctx, func(ctx context.Context, attempts *atomic.Int32) (*api.Secret, error) {
		return attempt(ctx, s.client, l, attempts, req)
	})
}

// adopt takes over what is now known of the token. It is renewed when two
// thirds of its life are over, counted from before the request was sent.
func (s *session) adopt(start time.Time, token secret.Value, ttl time.Duration, canRenew bool, entity string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token, s.entity, s.canRenew = token, call.Clean(entity, 128), canRenew
	s.logins++
	s.expires, s.renewAt = time.Time{}, time.Time{}
	if ttl > 0 {
		s.expires = start.Add(ttl)
		s.renewAt = start.Add(ttl * 2 / 3)
	}
}

// identity is the entity id of a looked-up token, else its display name.
func identity(self map[string]any) string {
	for _, field := range []string{"entity_id", "display_name"} {
		if text, _ := self[field].(string); text != "" {
			return text
		}
	}
	return ""
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
