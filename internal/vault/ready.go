package vault

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// watch is how often a login is looked at that need not be renewed soon, or
// cannot be.
const watch = 30 * time.Second

// KeepAlive renews the login before it ends, until ctx does: between two runs
// nothing else would.
func (s *Store) KeepAlive(ctx context.Context) {
	timer := time.NewTimer(s.session.rest())
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		pause := s.session.rest
		if err := s.session.ensure(ctx); err != nil && ctx.Err() == nil {
			s.session.log.ErrorContext(ctx, "vault_login_lost", "err", err)
			pause = func() time.Duration { return watch } // a dead login is due all the time
		}
		timer.Reset(pause())
	}
}

// rest is how long the login can be left alone.
func (s *session) rest() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.renewAt.IsZero() {
		return watch
	}
	return max(min(s.renewAt.Sub(s.clock()), watch), 100*time.Millisecond)
}

// alive returns nil while the login lives, as far as we know.
func (s *session) alive() error {
	if end := s.now().expires(); !end.IsZero() && s.clock().After(end) {
		return fmt.Errorf("%w: the login has ended", ErrDenied)
	}
	return nil
}

// Ready returns nil when the server serves and our login lives; else an error
// that matches ErrUnreachable, ErrSealed or ErrDenied. It asks without the
// login, and is no call that the audit log tells of.
func (s *Store) Ready(ctx context.Context) error {
	if err := s.session.alive(); err != nil {
		return err
	}
	address := s.client.Address() + "/v1/sys/health?standbyok=true&perfstandbyok=true"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	answer, err := (&http.Client{Transport: s.base}).Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	_ = answer.Body.Close() // the status says it all
	switch answer.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusServiceUnavailable:
		return fmt.Errorf("%w: unseal it", ErrSealed)
	}
	return fmt.Errorf("%w: its health is answered with status %d", ErrUnreachable, answer.StatusCode)
}
