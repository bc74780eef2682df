package jobs

import (
	"context"
	"errors"
	"time"

	"rotator/internal/call"
	"rotator/internal/rotation"
	"rotator/internal/sinch"
	"rotator/internal/state"
)

// skip notes what is due, but not now. A later pass of the same run may find
// it possible after all; then the last word counts.
func (w *work) skip(s rotation.Step, why string, c cause) {
	for _, r := range w.results {
		if r.Action == Failed && r.Credential == s.Credential {
			return // it has failed in this run, which says more
		}
	}
	w.note(Result{Credential: s.Credential, Action: Skipped, OldKeyID: Text(s.Key.ID), Error: Text(why), cause: c, guard: s.Guard})
}

// skipCause says why the planner skips a step, for the exit code.
func skipCause(s rotation.Step) cause {
	switch s.Guard {
	case rotation.GuardBackOff, rotation.GuardPath, rotation.GuardUnsettled, rotation.GuardIncomplete:
		return causeFailing
	}
	return causeUndone
}

// note adds a result, in place of an earlier skip of the same credential.
func (w *work) note(r Result) {
	r.ProjectID = w.lease.Project.ID
	if path, err := w.Secrets.Path(r.ProjectID, r.Credential); err == nil && r.Credential != "" {
		r.VaultPath = Text(path)
	}
	for i, old := range w.results {
		if old.Action == Skipped && old.cause != causeNotice && old.Credential == r.Credential {
			w.results[i] = r
			return
		}
	}
	w.results = append(w.results, r)
}

// stumble deals with a step that failed: the credential has failed, and the
// others go on, unless the failure is of a kind that would hit them too.
func (w *work) stumble(ctx context.Context, v *view, s rotation.Step, err error) error {
	if errors.Is(err, errMovedOn) && !lostForGood(ctx, err) {
		delete(w.tried, tried{s.Action, s.Credential, s.Key.ID})
		return nil
	}
	first := s.Action == rotation.Rotate && s.Key.ID == "" && stepOf(err) == "create"
	if first && w.notReady(w.lease.Project, err) && !lostForGood(ctx, err) {
		w.skip(s, notReady, causeNone)
		return nil
	}
	why := w.why(ctx, err)
	if w.failed == nil && !errors.Is(why, errStopped) {
		w.failed = err
	}
	w.Logger.ErrorContext(ctx, "step failed", "project", w.lease.Project.ID, "credential", call.Sanitize(s.Credential),
		"action", string(s.Action), "step", stepOf(err), "err", message(err))
	if s.Action == rotation.Rotate {
		s.RotationID = w.rotation
	}
	w.note(Result{
		Credential: s.Credential, Action: Failed, RotationID: Text(s.RotationID), OldKeyID: Text(s.Key.ID), Error: Text(message(why)),
		Tried: s.Action, Step: stepOf(err),
	})
	if lostForGood(ctx, err) {
		return err
	}
	if s.Action != rotation.Rotate {
		return nil
	}
	return w.credentialFailed(ctx, v, s, err)
}

// conclude turns the work into results; it returns how to give the lease back.
func (w *work) conclude(ctx context.Context, err error) state.Release {
	p := w.lease.Project
	if err != nil {
		r := Result{Action: Failed, Error: Text(message(err)), Step: stepOf(err)}
		switch {
		case w.notReady(p, err):
			r.Action, r.Error = Skipped, notReady
		case errors.Is(err, errLeaseLost):
			r.Action, r.cause = Skipped, causeBusy // somebody else works on it, or will
		case errors.Is(err, errStopped):
			r.Action, r.cause = Skipped, causeUndone // no key was in hand, and it is no fault of the project's
		default:
			w.failed = err
			w.Logger.ErrorContext(ctx, "project failed", "project", p.ID, "step", stepOf(err), "err", message(err))
		}
		if !w.told(err) {
			w.note(r)
		}
	}
	w.report.add(w.results...)
	if w.failed != nil {
		w.streak.failure(stepOf(w.failed))
	} else {
		w.streak.success()
	}
	end := state.Release{Lease: w.lease, NextCheck: w.nextCheck(), Failed: w.failed != nil, ResolvedSeq: w.resolvedSeq}
	if w.failed != nil {
		end.Step, end.Error = stepOf(w.failed), message(w.failed)
	}
	w.problems(&end, err == nil && !w.unfinished)
	return end
}

// told reports whether a credential's result says already why the work ended.
func (w *work) told(err error) bool {
	for _, r := range w.results {
		if r.Action == Failed && r.Error == Text(message(err)) {
			return true
		}
	}
	return false
}

// checkBy notes that the project should be looked at again by then.
func (w *work) checkBy(t time.Time) {
	if !t.IsZero() && (w.next.IsZero() || t.Before(w.next)) {
		w.next = t
	}
}

// nextCheck is when the project should be looked at again, by the database's
// clock: when its next step falls due, at the latest after Recheck.
func (w *work) nextCheck() time.Time {
	latest := w.seen.Add(w.Recheck)
	for _, r := range w.results {
		if r.Action == Skipped && r.cause != causeNotice || r.Action == Refused {
			return w.seen // due already: every run tries again
		}
	}
	if w.next.IsZero() || w.next.After(latest) {
		return latest
	}
	return w.next
}

// notReady reports a refusal that a subproject's youth explains, as far as
// the clocks agree.
func (r *Runner) notReady(p state.Project, err error) bool {
	if p.CreatedAt == nil {
		return false
	}
	age := r.Now().Sub(*p.CreatedAt)
	return age < settleDelay && age > -r.MaxSkew && (errors.Is(err, sinch.ErrForbidden) || errors.Is(err, sinch.ErrNotFound))
}

// Matches reports whether what the order names is in this project.
func Matches(o Order, plan rotation.Plan) bool {
	named := len(o.Request.Credentials) > 0 || o.Request.Key != ""
	for _, k := range plan.Keys {
		if !named || k.ID == o.Request.Key {
			return true
		}
		for _, c := range o.Request.Credentials {
			if c == k.Credential && k.InScope {
				return true
			}
		}
	}
	return !named
}

// settleDelay is how young a subproject may be for a refusal to mean "not
// ready yet" (SINCH.md section 3).
const settleDelay = time.Minute

// notReady is what is said of such a subproject.
const notReady = "the subproject is younger than a minute and not ready yet; the next run takes it up"
