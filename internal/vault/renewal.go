package vault

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ensure sees to it that the token is not near its end. A renewal that fails
// while the token still lives is logged and tried again later.
func (s *session) ensure(ctx context.Context) error {
	if !s.due() {
		return nil
	}
	release, err := s.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	if !s.due() {
		return nil // somebody else has done it while we waited
	}
	err = s.advance(ctx, s.now())
	if err == nil || !s.postpone() {
		return err
	}
	s.log.WarnContext(ctx, "vault_login_not_renewed", "err", err)
	return nil
}

// revive gets another token if the one of that generation is dead, and says
// whether there is a newer one now.
func (s *session) revive(ctx context.Context, used int) bool {
	if !s.method.replaces() {
		return false
	}
	release, err := s.take(ctx)
	if err != nil {
		return false
	}
	defer release()
	if s.generation() != used {
		return true
	}
	now := s.now()
	if _, err := s.lookup(ctx, now.token); !errors.Is(err, ErrDenied) {
		return false
	}
	now.dead = true
	if err := s.advance(ctx, now); err != nil {
		s.log.WarnContext(ctx, "vault_login_failed", "err", err)
		return false
	}
	return true
}

func (s *session) due() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.renewAt.IsZero() && !s.clock().Before(s.renewAt)
}

// postpone puts a failed renewal off by a quarter of the token's remaining
// life. It says no when none is left.
func (s *session) postpone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock()
	left := s.present.expires().Sub(now)
	if left <= 0 {
		return false
	}
	s.renewAt = now.Add(min(left/4, time.Minute))
	return true
}

// take waits for the turn to log in or renew.
func (s *session) take(ctx context.Context) (release func(), err error) {
	select {
	case s.turn <- struct{}{}:
		return func() { <-s.turn }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: waiting for a login: %w", ErrUnreachable, ctx.Err())
	}
}
