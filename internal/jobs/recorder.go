package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/google/uuid"

	"rotator/internal/audit"
	"rotator/internal/call"
	"rotator/internal/trace"
)

// Recorder writes the calls of both clients to the audit log. A mutating call
// is only allowed under a lease that still holds: its intent and that check
// are one transaction, so that a stale worker cannot begin anything.
type Recorder struct {
	Log   Log
	Spill Spill // nil: outcomes that the log does not take are lost to it
	// Anchors stand against every change once the log was found to
	// contradict them; nil until they can be asked.
	Anchors interface{ Broken() error }
	Logger  *slog.Logger
	// Lenient lets reads go on when the log cannot be written: for
	// commands that change nothing (AUDIT.md section 4).
	Lenient bool

	posted outcomes // on their way
}

var _ call.Recorder = (*Recorder)(nil)

// Intent commits the intent of a mutating call.
func (r *Recorder) Intent(ctx context.Context, c call.Call) error {
	s := scopeOf(ctx)
	if s.lease == nil && !s.anchoring || r.Lenient {
		return fmt.Errorf("%s: nothing is changed outside of a lease", c.Operation)
	}
	e := callEvent(ctx, c)
	e.Phase = audit.Intent
	if s.anchoring {
		return commit(ctx, r.Log, audit.Entry{Events: []audit.Event{e}})
	}
	if r.Anchors != nil {
		if err := r.Anchors.Broken(); err != nil {
			return fmt.Errorf("%w: %w", errLogDown, err)
		}
	}
	if c := s.carried; c != nil && !c.tried {
		return c.with(ctx, r.Log, e)
	}
	return commit(ctx, r.Log, audit.Entry{Events: []audit.Event{e}, Update: s.lease.Held()})
}

// Outcome writes how a call ended, also when the work has been cancelled. For
// the outcome of a change it waits until that is committed, unless a commit
// follows that does the same.
func (r *Recorder) Outcome(ctx context.Context, c call.Call, res call.Result) error {
	e := callEvent(ctx, c)
	e.Phase = audit.Result
	e.Status, e.Outcome, e.Error = res.Status, audit.Outcome(res.Outcome), res.Error
	e.RequestID, e.DurationUS = res.RequestID, res.Duration.Microseconds()
	if res.Key != "" {
		e.Key = res.Key
	}
	if res.VaultVersion != 0 {
		e.VaultVersion = res.VaultVersion
	}
	e = r.Log.Stamp(e)
	if r.Spill != nil && (!c.Mutating || scopeOf(ctx).followed) {
		return r.post(context.WithoutCancel(ctx), e)
	}
	err := r.Log.Append(context.WithoutCancel(ctx), e)
	switch {
	case err == nil:
		return nil
	case r.Lenient:
		r.Logger.WarnContext(ctx, "call not recorded, going on since nothing is changed", "operation", c.Operation, "err", err)
		return nil
	}
	return r.spill(ctx, e, err)
}

// post hands an outcome to the log, which commits it before or with anything
// that follows from it. What the log does not take is spilled all the same.
func (r *Recorder) post(ctx context.Context, e audit.Event) error {
	r.posted.begin()
	err := r.Log.Post(ctx, e, func(err error) {
		defer r.posted.end()
		if err != nil {
			_ = r.spill(ctx, e, err) // it has said so
		}
	})
	if err == nil {
		return nil
	}
	r.posted.end()
	return r.spill(ctx, e, err)
}

// Settle waits until the log or the spill file has every outcome, or ctx ends.
func (r *Recorder) Settle(ctx context.Context) {
	select {
	case <-r.posted.none():
	case <-ctx.Done():
	}
}

// outcomes counts what is on its way. A sync.WaitGroup does not allow anything
// to begin while somebody waits, and a renewal of the Vault login may.
type outcomes struct {
	mu   sync.Mutex
	open int
	gone chan struct{} // closed when open is 0; nil: nobody waits
}

func (o *outcomes) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open++
}

func (o *outcomes) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.open--; o.open == 0 && o.gone != nil {
		close(o.gone)
		o.gone = nil
	}
}

// none is closed once nothing is on its way.
func (o *outcomes) none() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.gone == nil {
		o.gone = make(chan struct{})
	}
	gone := o.gone
	if o.open == 0 {
		close(o.gone)
		o.gone = nil
	}
	return gone
}

// spill keeps an outcome on disk that the log did not take: what was done is
// done, and must not be forgotten. The next change finds the log closed. The
// event keeps its id, by which a replay sees if it was written after all.
func (r *Recorder) spill(ctx context.Context, e audit.Event, cause error) error {
	if r.Spill == nil {
		return fmt.Errorf("%w: %w", errLogDown, cause)
	}
	if err := r.Spill.Write(e); err != nil {
		body, marshalErr := e.Marshal()
		r.Logger.ErrorContext(ctx, "audit event could be kept nowhere but here", "event", string(body), "err", errors.Join(cause, err, marshalErr))
		return fmt.Errorf("%w: %w; and spilling: %w", errLogDown, cause, err)
	}
	r.Logger.WarnContext(ctx, "audit log away, outcome spilled to disk", "operation", e.Op, "err", cause)
	return nil
}

func callEvent(ctx context.Context, c call.Call) audit.Event {
	e := event(ctx, audit.APICall)
	e.Call, e.Op, e.Method, e.URL, e.Attempt = c.ID, c.Operation, c.Method, c.URL, c.Attempt
	if c.Project != "" {
		e.Project = c.Project
	}
	e.Key, e.DisplayName, e.Traceparent = c.Key, c.DisplayName, c.Traceparent
	e.VaultPath, e.VaultVersion = c.VaultPath, c.VaultCAS
	return e
}

// event returns an event of the type that says what the context's scope says.
func event(ctx context.Context, kind string) audit.Event {
	s := scopeOf(ctx)
	e := audit.Event{
		Type: kind, Trigger: s.trigger, Reason: s.reason,
		Project: s.project, Credential: s.cred, Rotation: s.rotation, Replaces: s.replaces,
		Traceparent: trace.Parent(ctx),
	}
	if s.run != uuid.Nil {
		e.Run = s.run.String()
	}
	return e
}

// commit commits an entry under the context's lease. An entry that was not
// applied means that the lease is lost: the work is ended.
func commit(ctx context.Context, log Log, e audit.Entry) error {
	err := log.Commit(ctx, e)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, audit.ErrNotApplied):
		if held := scopeOf(ctx).lease; held != nil {
			held.lose()
			lost := event(ctx, audit.LeaseLost)
			lost.Reason = "a write under a stale fence was refused: " + e.Events[0].Type + " " + e.Events[0].Op
			if err := log.Append(context.WithoutCancel(ctx), lost); err != nil {
				return fmt.Errorf("%w: %w", errLeaseLost, err)
			}
		}
		return errLeaseLost
	case errors.Is(err, audit.ErrUnwritable), errors.Is(err, audit.ErrClosed):
		return fmt.Errorf("%w: %w", errLogDown, err)
	}
	return fmt.Errorf("committing to the audit log: %w", err)
}
