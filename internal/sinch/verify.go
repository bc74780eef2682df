package sinch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
)

// otherKeyError keeps the refusal of another key than the client's own from
// matching ErrUnauthenticated, which callers take as the end of their work.
type otherKeyError struct{ cause error }

func (e *otherKeyError) Error() string { return e.cause.Error() }

// Is stands in for Unwrap, so that one sentinel can be left out.
func (e *otherKeyError) Is(target error) bool {
	return target != ErrUnauthenticated && errors.Is(e.cause, target)
}

// As gives access to the *Error.
func (e *otherKeyError) As(target any) bool { return errors.As(e.cause, target) }

// step is one proof that a key works.
type step struct {
	name string
	try  func(ctx context.Context) error
}

// Verify returns nil when the key has been proven to work: it can be
// exchanged for a token, with which it can be read itself, and no probe says
// that it is unknown. What fails is repeated while the key may still be
// spreading, until VerifyTimeout. Errors match ErrVerify and name the step.
func (c *Client) Verify(ctx context.Context, project string, cred Credentials) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.VerifyTimeout)
	defer cancel()
	steps, err := c.steps(project, cred)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrVerify, err)
	}
	for _, s := range steps {
		if err := again(ctx, unlimited, propagating, s.try); err != nil {
			return fmt.Errorf("%w: access key %s: %s: %w", ErrVerify, cred.KeyID, s.name, &otherKeyError{err})
		}
	}
	return nil
}

func (c *Client) steps(project string, cred Credentials) ([]step, error) {
	self, err := c.keyRequest(opGet, http.MethodGet, project, cred.KeyID)
	if err != nil {
		return nil, err
	}
	if cred.Secret.IsZero() {
		return nil, fmt.Errorf("%w: it has no secret", ErrPermanent)
	}
	s := c.newSession(cred)
	s.attempts = new(atomic.Int32)
	steps := []step{
		{"exchanging it for a token", func(ctx context.Context) error {
			_, err := s.authorize(ctx)
			return err
		}},
		{"reading the key itself", func(ctx context.Context) error {
			a, err := c.send(ctx, s, self)
			if err == nil {
				_, err = self.sameKey(a)
			}
			return err
		}},
	}
	for _, p := range c.cfg.Probes {
		for _, base := range p.Bases {
			r := request{
				operation: opProbe + p.Name, method: http.MethodGet, url: p.url(base, project),
				project: project, key: cred.KeyID, attempts: new(atomic.Int32),
			}
			steps = append(steps, step{"probing " + p.Name, func(ctx context.Context) error { return c.probe(ctx, s, r) }})
		}
	}
	return steps, nil
}

// probe fails where the key is not known. Any other refusal says that it is,
// and that the project does not have the product.
func (c *Client) probe(ctx context.Context, s *session, r request) error {
	_, err := c.send(ctx, s, r)
	var e *Error
	if errors.As(err, &e) && e.Operation == r.operation && e.Status >= 400 && e.Status <= 499 &&
		!errors.Is(err, ErrUnauthenticated) && !errors.Is(err, ErrRetryable) {
		return nil
	}
	return err
}
