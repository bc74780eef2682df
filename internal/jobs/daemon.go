package jobs

import (
	"context"
	"time"

	"github.com/robfig/cron/v3"

	"rotator/internal/audit"
	"rotator/internal/rotation"
	"rotator/internal/state"
)

// Daemon begins a run at every tick of a schedule, one at a time. Each replica
// is one: they share the work of a tick by leases. A run also begins at the
// start, which makes up for ticks that were missed, and helps others at once.
type Daemon struct {
	*Runner
	Schedule cron.Schedule
	Jitter   time.Duration // a run begins up to this much later, at random
	// Prepare is called before each run; without success none begins. It may
	// be nil.
	Prepare func(context.Context) error
	// Ended is told of each run; it may be nil. The error says why nothing
	// could be done. The report is nil when the run could not begin.
	Ended func(*Report, error)
	// Changes are settings that take the place of the present ones, between
	// two runs.
	Changes <-chan Settings
	// Alive is told whenever the daemon has something to do or to wait for;
	// it may be nil.
	Alive func()

	everything bool // the next run looks at all projects, due or not
}

// Settings are what may change while a daemon runs.
type Settings struct {
	Policy       rotation.Policy
	Scope        rotation.Scope
	Labels       rotation.LabelMode
	Onboard      string
	Schedule     cron.Schedule
	Jitter       time.Duration
	Recheck      time.Duration
	MaxRotations int
	MaxDeletions int
	MaxFailures  int
	Why          string // for the audit log
}

// change takes over settings, if the log takes note of them.
func (d *Daemon) change(ctx context.Context, t *ticks, s Settings) {
	e := event(ctx, audit.PolicyChanged)
	overlap := int64(s.Policy.Overlap.Seconds())
	e.Policy, e.Reason, e.MaxAgeS, e.OverlapS = describe(s.Policy), s.Why, int64(s.Policy.MaxAge.Seconds()), &overlap
	if err := d.Log.Append(ctx, e); err != nil {
		d.Logger.ErrorContext(ctx, "settings stay as they were: the audit log cannot take note", "err", Message(err))
		return
	}
	d.Policy, d.Scope, d.Labels, d.Onboard, d.Recheck = s.Policy, s.Scope, s.Labels, s.Onboard, s.Recheck
	d.MaxRotations, d.MaxDeletions, d.MaxFailures = s.MaxRotations, s.MaxDeletions, s.MaxFailures
	t.schedule, t.jitter, d.everything = s.Schedule, s.Jitter, true
	d.Logger.InfoContext(ctx, "settings changed", "policy", e.Policy, "why", s.Why)
}

const (
	// nap is how long the daemon sleeps at most before it looks at the clock
	// again, which may have been set, and at the stop switch.
	nap = 15 * time.Second
	// look is how often the stop switch is looked at while it is on.
	look = 3 * time.Second
	// A run that could do nothing is tried again before the next tick.
	firstRetry, lastRetry = 15 * time.Second, 15 * time.Minute
)

// Serve runs until ctx ends; then the key in hand has Config.Grace.
func (d *Daemon) Serve(ctx context.Context) {
	silence := d.beating(ctx)
	defer silence()
	t := &ticks{schedule: d.Schedule, jitter: d.Jitter, last: d.lastTick(ctx)}
	start, failures := d.Now(), 0 // at once
	var paused *state.Pause
	for d.rest(ctx, t, start, paused != nil) {
		before := paused
		if paused = d.standing(ctx); paused != nil {
			if before == nil {
				d.Logger.InfoContext(ctx, "no run begins while rotator is paused", "by", paused.Actor, "since", paused.Since.UTC(), "reason", paused.Reason)
			}
			start = d.Now().Add(look)
			continue
		}
		tick, missed := t.take(d.Now())
		if err := d.once(ctx, Order{Trigger: rotation.Scheduled, Due: !d.everything, Tick: tick, Missed: missed}); err == nil {
			start, failures, d.everything = time.Time{}, 0, false
			continue
		}
		start = d.Now().Add(min(firstRetry<<min(failures, 10), lastRetry))
		failures++
	}
}

// once does one run and tells how it ended.
func (d *Daemon) once(ctx context.Context, o Order) error {
	if o.Missed > 0 {
		d.Logger.WarnContext(ctx, "ticks of the schedule were missed", "missed", o.Missed, "tick", o.Tick)
	}
	var report *Report
	var err error
	if d.Prepare != nil {
		err = d.Prepare(ctx)
	}
	if err == nil {
		report, err = d.Run(ctx, o)
	}
	if err != nil {
		d.Logger.ErrorContext(ctx, "run ended, nothing could be done", "err", Message(err))
	}
	if report != nil {
		d.tell(ctx, report)
	}
	if err == nil {
		err = report.nothing()
	}
	if d.Ended != nil {
		d.Ended(report, err)
	}
	return err
}

// tell puts what a run did into the process's log.
func (d *Daemon) tell(ctx context.Context, r *Report) {
	for _, w := range r.Warnings {
		d.Logger.WarnContext(ctx, "run", "run", r.RunID, "warning", w)
	}
	for _, res := range r.Results {
		d.Logger.InfoContext(ctx, "result", "run", r.RunID, "project", res.ProjectID, "credential", res.Credential,
			"action", string(res.Action), "old_key", string(res.OldKeyID), "new_key", string(res.NewKeyID), "err", string(res.Error))
	}
	d.Logger.InfoContext(ctx, "run ended", "run", r.RunID, "exit", r.ExitCode(), "projects", r.Projects, "keys", r.Keys,
		"rotated", r.Rotated, "retired", r.Retired, "orphans_deleted", r.OrphansDeleted, "skipped", r.Skipped,
		"failed", r.Failed, "refused", r.Refused, "took", r.FinishedAt.Sub(r.StartedAt).Round(time.Millisecond).String())
}

// rest waits until the next tick, or start if that is set and sooner; while
// paused, until start, whatever ticks have passed. It reports false when ctx has
// ended.
func (d *Daemon) rest(ctx context.Context, t *ticks, start time.Time, paused bool) bool {
	for ctx.Err() == nil {
		if d.Alive != nil {
			d.Alive()
		}
		now := d.Now()
		at := t.next(now)
		if !start.IsZero() && (paused || at.IsZero() || start.Before(at)) {
			at = start
		}
		left := at.Sub(now)
		if !at.IsZero() && left <= 0 {
			return true
		}
		if at.IsZero() || left > nap {
			left = nap
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case s := <-d.Changes:
			d.change(ctx, t, s)
			start = d.Now() // what they make due is done at once
		case <-ctx.Done():
		}
		timer.Stop()
	}
	return false
}

// lastTick is the newest tick that any replica has begun a run for: now where
// there is none, or where nobody can tell yet.
func (d *Daemon) lastTick(ctx context.Context) time.Time {
	now := d.Now()
	last, err := d.State.LastTick(ctx)
	if err != nil {
		d.Logger.WarnContext(ctx, "missed ticks are not counted", "err", Message(err))
	}
	if last.IsZero() || last.After(now) {
		return now
	}
	return last
}

// standing is the pause that is on. Where nobody can tell, the run itself
// finds out.
func (d *Daemon) standing(ctx context.Context) *state.Pause {
	p, err := d.State.Paused(ctx)
	if err != nil {
		return nil
	}
	return p
}
