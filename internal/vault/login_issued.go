package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"rotator/internal/secret"
)

// issued is a login for which Vault makes a token. It is renewed as long as
// that gives it at least half of a new token's life; then comes another login.
// A login costs what may be scarce: uses of a secret id, leases in Vault.
type issued struct {
	name  string // for people
	mount string
	// proof returns the login request's fields.
	proof func(context.Context, *session) (map[string]any, error)
	// remedy is what to look at when Vault refuses them.
	remedy string
}

func (m *issued) replaces() bool { return true }

func (m *issued) next(ctx context.Context, s *session, now login) (login, error) {
	var longer login
	if now.renewable && !now.dead {
		var err error
		longer, err = s.renew(ctx, now)
		switch {
		case err == nil && 2*longer.life >= now.full:
			return longer, nil
		case err != nil && !final(err):
			return login{}, err
		}
	}
	fresh, err := m.ask(ctx, s)
	if err != nil && !longer.token.IsZero() { // some life is left to try again in
		s.log.WarnContext(ctx, "vault_login_not_renewed", "err", err)
		return longer, nil
	}
	return fresh, err
}

func (m *issued) ask(ctx context.Context, s *session) (login, error) {
	start := s.clock()
	fields, err := m.proof(ctx, s)
	if err != nil {
		return login{}, fmt.Errorf("logging in with %s: %w", m.name, err)
	}
	answer, err := s.request(ctx, label{operation: opLogin},
		s.bearing(secret.Value{}, http.MethodPut, "auth/"+m.mount+"/login", fields))
	if errors.Is(err, ErrDenied) {
		err = fmt.Errorf("%w; see VAULT_AUTH_MOUNT (%s) and %s", err, m.mount, m.remedy)
	}
	if err != nil {
		return login{}, fmt.Errorf("logging in with %s: %w", m.name, err)
	}
	if answer == nil || answer.Auth == nil || answer.Auth.ClientToken == "" {
		return login{}, fmt.Errorf("%w: the login's answer holds no token", ErrUnreachable)
	}
	g := login{
		token: secret.New(answer.Auth.ClientToken), entity: answer.Auth.EntityID, start: start,
		life: time.Duration(answer.Auth.LeaseDuration) * time.Second, renewable: answer.Auth.Renewable,
	}
	if g.entity == "" {
		g.entity = m.name
	}
	g.full = g.life
	return g, nil
}
