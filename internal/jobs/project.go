package jobs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"rotator/internal/audit"
	"rotator/internal/call"
	"rotator/internal/rotation"
	"rotator/internal/state"
	"rotator/internal/trace"
)

// work is what one worker does in one project under its lease.
type work struct {
	*run
	*claimed
	eye looker

	tried    map[tried]bool // steps taken or refused in this run
	results  []Result
	failed   error  // first failure, for the project's back-off
	rotation string // id of the latest attempt

	unfinished  bool      // steps are left because the process is to stop
	resolved    bool      // whether no intent is open any more
	resolvedSeq int64     // of the log: no older intent is open
	next        time.Time // look again by then
	seen        time.Time // the database clock at the latest look
}

// tried tells two steps of a run apart.
type tried struct {
	action          rotation.Action
	credential, key string
}

// project works on one project and then has its lease given back. Whatever goes
// wrong ends in a result for this project; the others are not its business. The
// error ends the run: the log cannot be written.
func (s *run) project(ctx context.Context, p *claimed, ended chan<- state.Release) error {
	l := p.lease
	ctx, end := trace.Start(ctx, "project", trace.Text("rotator.project", l.Project.ID))
	ctx, release := s.keep(ctx, l)
	defer release()
	w := &work{
		run: s, claimed: p, tried: map[tried]bool{},
		eye: looker{Runner: s.Runner, self: s.self, request: s.order.Request},
	}
	w.eye.request.Done = map[string]bool{}
	err := w.passes(ctx)
	if err == nil {
		err = w.tell(ctx)
	}
	if err != nil {
		err = w.why(ctx, err)
	}
	ended <- w.conclude(ctx, err)
	end(err)
	switch {
	case errors.Is(err, errLogDown):
		return err
	case errors.Is(err, errLeaseLost):
		s.leave(l.Project.ID)
	}
	return nil
}

// why is the reason behind an error: what ended the work, if something did,
// says more than what failed because of it.
func (w *work) why(ctx context.Context, err error) error {
	switch {
	case ctx.Err() == nil:
		return err
	case w.stopping():
		return errStopped
	}
	return context.Cause(ctx)
}

// maxPasses bounds how often a project is looked at again in one run. In a
// nearly full project a compromise takes two for each credential: one to
// rotate, one to make room; the rest is for races with people.
const maxPasses = 2*rotation.KeyCap + 2

// passes looks, decides and acts until nothing more can be done now.
func (w *work) passes(ctx context.Context) error {
	for pass := range maxPasses {
		v, err := w.eye.look(ctx, w.lease.Project, w.memory)
		w.memory = nil // what is done now changes it
		if err == nil {
			err = w.resolve(ctx, v)
		}
		if err == nil {
			err = w.settle(ctx, v)
		}
		if err != nil {
			return err
		}
		w.seen = v.Now
		plan := rotation.Decide(v.Facts)
		if pass == 0 {
			if err := w.opening(ctx, v, plan); err != nil {
				return err
			}
		}
		again, err := w.take(ctx, v, plan)
		if err != nil || !again {
			w.checkBy(plan.NextCheck)
			return err
		}
	}
	return nil
}

// opening records what the first look showed.
func (w *work) opening(ctx context.Context, v *view, plan rotation.Plan) error {
	w.report.looked(len(v.Keys), Matches(w.order, plan), plan.Warnings)
	if err := w.policy(ctx, v); err != nil {
		return failedAt("policy", err)
	}
	if err := w.snapshot(ctx, v, plan); err != nil {
		return failedAt("snapshot", err)
	}
	return w.repair(ctx, v)
}

// policy records that the project's policy is another than at the last look,
// labels that change nothing included, and reports those.
func (w *work) policy(ctx context.Context, v *view) error {
	now := strings.Join(append([]string{describe(v.Policy)}, v.effective.Problems...), "; ")
	for _, problem := range v.effective.Problems {
		w.note(Result{Action: Skipped, Error: Text(problem), cause: causeNotice})
	}
	if now = call.Clean(now, 2000); now == w.lease.Project.Policy {
		return nil
	}
	e := event(ctx, audit.PolicyChanged)
	e.Policy, e.Reason = describe(v.Policy), strings.Join(v.effective.Problems, "; ")
	e.MaxAgeS, e.OverlapS = int64(v.Policy.MaxAge.Seconds()), wholeSeconds(v.Policy.Overlap)
	return commit(ctx, w.Log, audit.Entry{Events: []audit.Event{e}, Update: w.lease.Policy(now)})
}

// take takes a plan's steps in order. It reports whether to look again,
// because what was done may have made more possible.
func (w *work) take(ctx context.Context, v *view, plan rotation.Plan) (again bool, err error) {
	for _, step := range plan.Steps {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		if w.stopping() {
			w.cutShort.Store(true)
			w.unfinished = true
			return false, nil
		}
		id := tried{step.Action, step.Credential, step.Key.ID}
		if w.tried[id] {
			continue
		}
		w.tried[id] = true
		changed, err := w.step(ctx, v, step)
		again = again || changed
		if err != nil {
			if err := w.stumble(ctx, v, step, err); err != nil {
				return false, err
			}
			again = true // a failed rotation may have left an orphan
		}
	}
	return again, nil
}

// step takes one step. It reports whether the project should be looked at
// again afterwards.
func (w *work) step(ctx context.Context, v *view, s rotation.Step) (changed bool, err error) {
	ctx = within(ctx, func(sc *scope) { sc.cred, sc.rotation = s.Credential, s.RotationID })
	if s.Action == rotation.Rotate || s.Action == rotation.Retire || s.Action == rotation.DeleteOrphan {
		if guard, reason, ok := w.permit(ctx, s.Action != rotation.Rotate); !ok {
			return false, w.refuse(ctx, s, guard, reason)
		}
	}
	switch s.Action {
	case rotation.Rotate:
		if !w.rotations.take() {
			s.Guard = guardRotations
			w.skip(s, "ROTATOR_MAX_ROTATIONS is reached in this run; run again or raise it", causeUndone)
			return false, nil
		}
		w.eye.request.Done[s.Credential] = true
		return s.Overlap == 0, traced(ctx, "rotate", func(ctx context.Context) error { return w.rotate(ctx, v, s) })
	case rotation.Retire, rotation.DeleteOrphan:
		if !w.deletions.take() {
			s.Guard = guardDeletions
			w.skip(s, "ROTATOR_MAX_DELETIONS is reached in this run; run again or raise it", causeUndone)
			return false, nil
		}
		return true, traced(ctx, string(s.Action), func(ctx context.Context) error { return w.remove(ctx, v, s) })
	case rotation.Refuse:
		if s.Guard == rotation.GuardOwnKey && w.order.Request.Compromised && w.movedOn(ctx, s.Key.ID) {
			delete(w.tried, tried{s.Action, s.Credential, s.Key.ID})
			return true, nil
		}
		return false, w.refuse(ctx, s, s.Guard, s.Reason)
	case rotation.Skip:
		w.skip(s, s.Reason, skipCause(s))
	}
	return false, nil
}

func describe(p rotation.Policy) string {
	return fmt.Sprintf("max_age=%s overlap=%s margin=%s adopt=%s", p.MaxAge, p.Overlap, p.Margin, p.Adopt)
}

// traced does a part of the work as a span of its own, which says whose part
// it is.
func traced(ctx context.Context, name string, do func(context.Context) error) error {
	s := scopeOf(ctx)
	ctx, end := trace.Start(ctx, name, trace.Text("rotator.project", s.project), trace.Text("rotator.credential", s.cred))
	err := do(ctx)
	end(err)
	return err
}
