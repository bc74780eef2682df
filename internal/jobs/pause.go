package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"rotator/internal/audit"
	"rotator/internal/state"
)

// Errors of the stop switch.
var (
	ErrPaused    = errors.New("rotator is paused already")
	ErrNotPaused = errors.New("rotator is not paused")
)

// Pause stops the work of all replicas, also of runs under way: they finish
// what is in hand. It is recorded with its reason. An error that matches
// ErrPaused says who was first.
func (r *Runner) Pause(ctx context.Context, reason string) error {
	err := r.toggle(ctx, audit.Pause, reason, state.PauseAll(reason, r.Actor))
	if !errors.Is(err, audit.ErrNotApplied) {
		return err
	}
	p, err := r.State.Paused(ctx)
	if err != nil || p == nil {
		return errors.Join(ErrPaused, err)
	}
	return fmt.Errorf("%w: %s", ErrPaused, describePause(p))
}

// Resume ends the pause. An error that matches ErrNotPaused says that there is
// none.
func (r *Runner) Resume(ctx context.Context, reason string) error {
	err := r.toggle(ctx, audit.Resume, reason, state.ResumeAll())
	if errors.Is(err, audit.ErrNotApplied) {
		return ErrNotPaused
	}
	return err
}

func (r *Runner) toggle(ctx context.Context, kind, reason string, change state.Change) error {
	e := event(ctx, kind)
	e.Reason = reason
	if err := r.Log.Commit(ctx, audit.Entry{Events: []audit.Event{e}, Update: change}); err != nil {
		return fmt.Errorf("recording the %s: %w", kind, err)
	}
	return nil
}

// paused reports whether the run may not work, and says so in the report.
func (s *run) paused(ctx context.Context) (bool, error) {
	p, err := s.State.Paused(ctx)
	if err != nil || p == nil {
		return false, err //nolint:wrapcheck // state says what it was doing
	}
	if s.order.IgnorePause {
		return false, nil
	}
	s.report.add(Result{Action: Skipped, cause: causeUndone, Error: Text(describePause(p) + "; `rotator resume` ends it")})
	return true, nil
}

func describePause(p *state.Pause) string {
	return fmt.Sprintf("paused by %s since %s: %s", p.Actor, p.Since.UTC().Format(time.RFC3339), p.Reason)
}
