package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"rotator/internal/audit"
	"rotator/internal/rotation"
	"rotator/internal/state"
	"rotator/internal/trace"
)

// Order is what a run is asked to do.
type Order struct {
	Trigger  rotation.Trigger
	Reason   string
	Projects []string // only these; empty means all
	Due      bool     // only projects whose next check is due
	Request  rotation.Request

	IgnorePause bool      // work although rotator is paused
	Tick        time.Time // when the schedule wanted the run; zero for what people ask for
	Missed      int       // ticks before it for which no run could begin
}

// Named reports whether the order names anything.
func (o Order) Named() bool {
	return len(o.Projects)+len(o.Request.Credentials) > 0 || o.Request.Key != ""
}

// run is one pass over the projects.
type run struct {
	*Runner
	id     uuid.UUID
	order  Order
	report *Report
	stop   context.Context //nolint:containedctx // it says when no new key may be begun; work has a context of its own

	known     bool   // discovery was refused: work on what is known
	self      selfAt // where rotator's own key is
	rotations budget
	deletions budget
	streak    streak
	done      atomic.Int64
	cutShort  atomic.Bool // a project was left with steps to take
	claiming  sync.Mutex  // guards not
	not       []string    // projects that the run is not to claim again
	total     atomic.Int64
}

// Run does one run. When ctx ends, no further key is begun, and the one in
// hand has Config.Grace. The error says that nothing could be done, because
// a dependency is unreachable or refuses us; what went wrong with single
// projects stands in the report.
func (r *Runner) Run(ctx context.Context, o Order) (report *Report, err error) {
	s := &run{
		Runner: r, id: uuid.Must(uuid.NewV7()), order: o, stop: ctx,
		rotations: newBudget(r.MaxRotations), deletions: newBudget(r.MaxDeletions),
		streak: streak{limit: r.MaxFailures},
	}
	s.report = &Report{RunID: s.id, Trigger: string(o.Trigger), StartedAt: r.Now().UTC(), Results: []Result{}}
	work, cancel := grace(ctx, r.Grace)
	defer cancel()
	work, end := trace.Start(work, "run", trace.Text("rotator.run", s.id.String()), trace.Text("rotator.trigger", string(o.Trigger)))
	defer func() { end(err) }()
	work = within(work, func(sc *scope) { sc.run, sc.trigger, sc.reason = s.id, string(o.Trigger), o.Reason })
	if err := s.beginAnew(work); err != nil {
		return s.ended(work, nil, err)
	}
	if len(s.report.Results) > 0 {
		return s.report, nil // refused before it began
	}
	silence := r.beating(work)
	err = s.guarded(work)
	silence()
	if finishErr := s.finish(work); err == nil {
		err = finishErr
	}
	return s.ended(work, s.report, err)
}

// ended is how the run ended: an error that only says that the time after a
// stop was over is none.
func (s *run) ended(work context.Context, report *Report, err error) (*Report, error) {
	if err == nil || !s.stopping() || work.Err() == nil {
		return report, err
	}
	s.stopped()
	if s.report.FinishedAt.IsZero() {
		s.report.FinishedAt = s.Now().UTC()
	}
	return s.report, nil
}

// stopped reports that the run was told to stop before it was through.
func (s *run) stopped() {
	if !s.report.Stopped {
		s.report.Stopped = true
		s.report.Warnings = append(s.report.Warnings, "stopped before every project was looked at; the next run goes on from here")
	}
}

// guarded goes over the projects if the log is what its checkpoints say, and
// for as long as it is.
func (s *run) guarded(ctx context.Context) error {
	if paused, err := s.paused(ctx); paused || err != nil {
		return err
	}
	trusted, err := s.trusted(ctx)
	if err != nil || !trusted {
		return err
	}
	stop := s.anchoring(ctx)
	err = s.sweep(ctx)
	stop()
	if broken := s.Anchors.Broken(); broken != nil {
		return s.standStill(ctx, broken)
	}
	return err
}

// grace returns a context that outlives ctx by d.
func grace(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(d, cancel) })
	return out, func() { stop(); cancel() }
}

// beginAnew begins, once more where the log is another one than this process
// knew: a database that has failed over is as good, if it continues the newest
// checkpoint. Where it does not, nothing can be written to it: the report alone
// says so.
func (s *run) beginAnew(ctx context.Context) error {
	err := s.begin(ctx)
	if !errors.Is(err, audit.ErrBehind) {
		return err
	}
	switch err := s.Anchors.Check(ctx); {
	case err == nil:
		return s.begin(ctx)
	case anchorGuard(err) == "":
		return fmt.Errorf("holding the audit log against its checkpoints: %w", err)
	default:
		s.Logger.ErrorContext(ctx, "guard refused", "guard", anchorGuard(err), "err", err)
		s.report.FinishedAt = s.Now().UTC()
		s.report.add(Result{Action: Refused, Error: Text(anchorGuard(err) + ": " + message(err))})
		return nil
	}
}

func (s *run) begin(ctx context.Context) error {
	now, err := s.State.Now(ctx)
	if err != nil {
		return fmt.Errorf("starting the run: %w", err)
	}
	s.report.StartedAt = now.UTC()
	o := s.order
	e := event(ctx, audit.RunStarted)
	e.Policy, e.Tick = describe(s.Policy), o.Tick.UTC()
	if o.IgnorePause {
		e.Reason += " (a pause is ignored)"
	}
	if o.Missed > 0 {
		e.Counters = map[string]int64{"missed_ticks": int64(o.Missed)}
	}
	err = s.Log.Commit(ctx, audit.Entry{
		Events: []audit.Event{e},
		Update: state.StartRun(state.Begun{ID: s.id, Trigger: string(o.Trigger), Actor: s.Actor, Host: s.Host, Reason: o.Reason, Tick: o.Tick}),
	})
	if err != nil {
		return fmt.Errorf("starting the run: %w", err)
	}
	return nil
}

// finishLimit is how long a run that was stopped may take to say so.
const finishLimit = 10 * time.Second

func (s *run) finish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishLimit)
	defer cancel()
	s.report.FinishedAt = s.Now().UTC()
	now, err := s.State.Now(ctx)
	if err != nil {
		return fmt.Errorf("finishing the run: %w", err)
	}
	s.report.FinishedAt = now.UTC()
	slices.SortStableFunc(s.report.Results, func(a, b Result) int {
		return strings.Compare(a.ProjectID+"\x00"+a.Credential, b.ProjectID+"\x00"+b.Credential)
	})
	e := event(ctx, audit.RunFinished)
	e.Counters = s.report.counters()
	err = s.Log.Commit(ctx, audit.Entry{Events: []audit.Event{e}, Update: state.FinishRun(s.id, s.report.counters())})
	if err != nil {
		return fmt.Errorf("finishing the run: %w", err)
	}
	if s.Anchors.Broken() != nil {
		return nil
	}
	if err := s.Anchors.Anchor(ctx, true); err != nil {
		s.Logger.ErrorContext(ctx, "audit checkpoint not made at the end of the run, the next run tries again", "err", message(err))
	}
	return nil
}

// sweep goes over the projects: all but the one that holds rotator's own key
// first, that one last.
func (s *run) sweep(ctx context.Context) error {
	self, fresh, err := s.adoptOwn(ctx)
	if err == nil && fresh {
		err = s.remember(ctx, self)
	}
	if err != nil {
		return err
	}
	s.self = self
	claim := state.Claiming{
		Owner: s.Process, Since: s.report.StartedAt, Length: s.Lease, Only: s.order.Projects, Due: s.order.Due,
		Except: s.self.project, Paused: s.order.IgnorePause,
	}
	if err := s.early(ctx, claim); err != nil {
		return err
	}
	claim.Known = s.known
	if err := s.workers(ctx, claim, nil); err != nil {
		return err
	}
	claim.Except = ""
	if s.streak.over() && len(claim.Only) == 0 { // what is broken elsewhere does not stop rotator's own
		claim.Only = []string{s.self.project}
	}
	if err := s.workers(ctx, claim, nil); err != nil {
		return err
	}
	if err := s.await(ctx, claim); err != nil {
		return err
	}
	return s.leftover(ctx, claim)
}

// early works while projects are still being discovered, until all are known:
// not on those that failed last time, because healthy ones go first, and not at
// all where it matters who is first for another reason.
func (s *run) early(ctx context.Context, claim state.Claiming) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f := s.discovering(ctx)
	if s.MaxRotations >= 0 || s.MaxDeletions >= 0 || len(claim.Only) > 0 {
		return f.wait()
	}
	claim.Healthy = true
	if err := s.workers(ctx, claim, f); err != nil {
		cancel()
		_ = f.wait()
		return err
	}
	return f.wait()
}

// stopping reports whether no new key may be begun.
func (s *run) stopping() bool { return s.stop.Err() != nil }

// await waits, in the answer to a compromise, for projects that another
// process works on: at most twice the lease's length.
func (s *run) await(ctx context.Context, claim state.Claiming) error {
	if !s.order.Request.Compromised {
		return nil
	}
	deadline := time.Now().Add(2 * s.Lease)
	for !s.stopping() && time.Now().Before(deadline) {
		busy, err := s.State.Busy(ctx, claim)
		if err != nil || len(busy) == 0 {
			return err //nolint:wrapcheck // state says what it was doing
		}
		if err := wait(ctx, min(time.Second, s.Lease/3)); err != nil {
			return err
		}
		if err := s.workers(ctx, claim, nil); err != nil {
			return err
		}
	}
	return nil
}

// workers lets Concurrency workers take projects until none is left, and gives
// all of them back. Given what a discovery finds, they take that, until its end.
func (s *run) workers(ctx context.Context, claim state.Claiming, f *found) error {
	c := &claims{run: s, what: claim, found: f}
	ended := make(chan state.Release, s.batch())
	var releases sync.WaitGroup
	releases.Go(func() { s.release(ctx, ended) })
	var g errgroup.Group
	for range max(s.Concurrency, 1) {
		g.Go(func() error {
			for !s.stopping() && (!s.streak.over() || len(claim.Only) == 1) {
				p, err := c.next(ctx)
				if err != nil || p == nil {
					return err
				}
				err = s.project(ctx, p, ended)
				if err != nil {
					return err
				}
				if n := s.done.Add(1); s.Progress != nil {
					s.Progress(int(n), int(s.total.Load()))
				}
			}
			return nil
		})
	}
	err := g.Wait()
	close(ended)
	releases.Wait()
	c.giveBack(context.WithoutCancel(ctx))
	return err //nolint:wrapcheck // as above
}

// claim takes the next projects. Another run's look serves a plain order as
// well as our own; what a person asks for only this run does, so it keeps
// account of the projects itself.
func (s *run) claim(ctx context.Context, c state.Claiming, most int) ([]*state.Lease, error) {
	s.claiming.Lock()
	defer s.claiming.Unlock()
	c.Again, c.Not = s.order.Request.Force || s.order.Request.Compromised, s.not
	leases, err := s.State.Claim(ctx, c, most)
	if c.Again {
		for _, l := range leases {
			s.not = append(s.not, l.Project.ID)
		}
	}
	return leases, err //nolint:wrapcheck // state says what it was doing
}

// leave keeps the run from claiming the project again.
func (s *run) leave(project string) {
	s.claiming.Lock()
	defer s.claiming.Unlock()
	s.not = append(s.not, project)
}

// left reports whether a project is still to be looked at. What cannot be
// found out in the time that is left counts as yes.
func (s *run) left(ctx context.Context, c state.Claiming) bool {
	s.claiming.Lock()
	defer s.claiming.Unlock()
	c.Again, c.Not = s.order.Request.Force || s.order.Request.Compromised, s.not
	left, err := s.State.Left(ctx, c)
	return err != nil || left
}

// leftover reports the due projects that another process works on.
func (s *run) leftover(ctx context.Context, claim state.Claiming) error {
	if step := s.streak.step(); s.streak.over() {
		s.report.Warnings = append(s.report.Warnings, fmt.Sprintf(
			"the run was ended: %d projects in a row failed at the step %q; look at the first of them (ROTATOR_MAX_FAILURES)", s.MaxFailures, step))
		return nil
	}
	if s.left(ctx, claim) {
		if paused, err := s.paused(ctx); paused || err != nil {
			return err
		}
	}
	if s.stopping() {
		if s.cutShort.Load() || s.left(ctx, claim) {
			s.stopped()
		}
		return nil
	}
	busy, err := s.State.Busy(ctx, claim)
	if err != nil {
		return err //nolint:wrapcheck // state says what it was doing
	}
	// What came free since the last claim is neither looked at nor busy.
	if err := s.workers(ctx, claim, nil); err != nil {
		return err
	}
	for _, b := range busy {
		s.report.matched = true
		if s.report.tells(b.ID) {
			continue // it was ours until the lease was lost
		}
		if asked := s.order.Request.Force || s.order.Request.Compromised; b.Due || asked {
			s.report.add(Result{
				ProjectID: b.ID, Action: Skipped, cause: causeBusy,
				Error: Text("another process works on the project until " + b.Until.UTC().Format(time.RFC3339) + " at the latest"),
			})
		}
	}
	s.report.Missing = s.order.Named() && !s.order.Due && !s.report.matched
	return nil
}
