package jobs

import (
	"context"
	"slices"

	"github.com/google/uuid"

	"rotator/internal/audit"
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
	carried  *carried
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

// carried is an entry that the next intent takes along, because nothing happens
// between the two: both are committed at once, or neither.
type carried struct {
	audit.Entry
	tried bool
	err   error // of its commit, once tried
}

// carrying returns a context whose first intent takes the entry along. Its
// Update must hold the fence, as a lease's do.
func carrying(ctx context.Context, e audit.Entry) (context.Context, *carried) {
	c := &carried{Entry: e}
	return within(ctx, func(s *scope) { s.carried = c }), c
}

// commit commits the entry, if no intent has come that would take it along.
func (c *carried) commit(ctx context.Context, log Log) error {
	if !c.tried {
		c.tried, c.err = true, commit(ctx, log, c.Entry)
	}
	return c.err
}

// with commits the entry together with an intent.
func (c *carried) with(ctx context.Context, log Log, intent audit.Event) error {
	both := audit.Entry{Events: append(slices.Clip(c.Events), intent), Update: c.Update}
	c.tried, c.err = true, commit(ctx, log, both)
	return c.err
}

// lease is the lease under which a worker works, and how to end its work.
type lease struct {
	*state.Lease
	lose func() // cancels the work; further calls do nothing
}
