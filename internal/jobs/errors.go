package jobs

import (
	"context"
	"errors"

	"rotator/internal/call"
	"rotator/internal/sinch"
)

// stepError says at which step work on a project or credential failed.
type stepError struct {
	step string
	err  error
}

func (e *stepError) Error() string { return e.step + ": " + e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

func failedAt(step string, err error) error { return &stepError{step: step, err: err} }

// RotationSteps are the steps at which a rotation can fail, in their order,
// as Result.Step names them.
func RotationSteps() []string {
	return []string{"refuse", "check_vault", "plan", "create", "verify", "publish", "supersede", "mark", "switch", otherStep}
}

// otherStep is that of an error that names none.
const otherStep = "other"

// stepOf returns the step of an error.
func stepOf(err error) string {
	var s *stepError
	if errors.As(err, &s) {
		return s.step
	}
	return otherStep
}

// errLeaseLost ends work on a project: the lease ran out, or another process
// has it now. Nothing more is sent; the next run settles what was begun.
var errLeaseLost = errors.New("the lease of the project was lost to another process or ran out; the next run goes on from what is there")

// errMovedOn means that something changed between two looks, so that the
// decision must be made again.
var errMovedOn = errors.New("the project changed meanwhile")

// lostForGood reports errors after which nothing more can be done under this
// lease: it is lost, the process is stopping, or the log cannot be written.
func lostForGood(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, errLeaseLost) || errors.Is(err, errLogDown)
}

// errStopped ends work on a project when the process has to stop at once.
var errStopped = errors.New("stopped before it was done; the next run goes on from here")

// errLogDown means that the audit log cannot be written: nothing is changed
// then.
var errLogDown = errors.New("the audit log cannot be written")

// message is an error as results, state and log show it.
func message(err error) string { return call.Sanitize(err.Error()) }

// fatal reports errors after which no project can be worked on: our own key
// is refused, or the log cannot be written.
func fatal(err error) bool {
	return errors.Is(err, sinch.ErrUnauthenticated) || errors.Is(err, call.ErrNotRecorded) ||
		errors.Is(err, context.Canceled)
}
