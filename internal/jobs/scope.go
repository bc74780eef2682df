package jobs

import (
	"context"

	"github.com/google/uuid"

	"rotator/internal/state"
)

// scope is what an event says about the work that a call belongs to. It
// travels in the context, so that the clients of Sinch and Vault need not
// know of runs and rotations.
type scope struct {
	run      uuid.UUID
	trigger  string
	reason   string
	lease    *lease
	project  string
	cred     string
	rotation string
	replaces string

	anchoring bool // making a checkpoint, which needs no lease
	// followed says that whatever comes of a change is committed next, and its
	// outcome before or with that: nobody waits for the outcome alone.
	followed bool
}

type scopeKey struct{}

func scopeOf(ctx context.Context) scope {
	s, _ := ctx.Value(scopeKey{}).(scope)
	return s
}

// within returns a context whose scope has been changed by edit.
func within(ctx context.Context, edit func(*scope)) context.Context {
	s := scopeOf(ctx)
	edit(&s)
	return context.WithValue(ctx, scopeKey{}, s)
}

// followed returns a context for a change whose result, success or not, is
// committed next.
func followed(ctx context.Context) context.Context {
	return within(ctx, func(s *scope) { s.followed = true })
}

// lease is the lease under which a worker works, and how to end its work.
type lease struct {
	*state.Lease
	lose func() // cancels the work; further calls do nothing
}
