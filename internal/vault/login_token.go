package vault

import (
	"context"
	"errors"
	"fmt"
)

// givenToken is a token that somebody else has made. One from a file is
// replaced by them, too: the file is read again whenever the login is to be
// prolonged, and when it is dead.
type givenToken struct{ source source }

func (a *Auth) byToken() (method, error) {
	m := givenToken{fileOr("VAULT_TOKEN", a.TokenFile, a.Token)}
	if !m.source.isSet() {
		return nil, fmt.Errorf("%w: method token needs VAULT_TOKEN", ErrConfig)
	}
	return m, nil
}

func (m givenToken) replaces() bool { return m.source.file != "" }

func (m givenToken) next(ctx context.Context, s *session, now login) (login, error) {
	token, err := m.source.read()
	if err != nil {
		return login{}, err
	}
	var refused error
	if token.Equal(now.token) && now.renewable && !now.dead {
		longer, err := s.renew(ctx, now)
		if err == nil || !final(err) {
			return longer, err
		}
		refused = err
	}
	next, err := s.lookup(ctx, token) // whoever has made it may have prolonged it
	switch {
	case errors.Is(err, ErrDenied):
		return login{}, fmt.Errorf("%w; the token in %s has ended, was revoked, or is another server's or namespace's: put a new one there", err, m.source.name())
	case err == nil && refused != nil:
		return login{}, refused // it lives, but not for long
	}
	return next, err
}
