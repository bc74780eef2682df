package jobs_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"rotator/internal/audit"
	"rotator/internal/call"
	"rotator/internal/jobs"
)

// lostLog takes events and turns out, late, not to have written them.
type lostLog struct{ jobs.Log }

func (lostLog) Stamp(e audit.Event) audit.Event { return e }

func (lostLog) Post(_ context.Context, _ audit.Event, after func(error)) error {
	time.AfterFunc(20*time.Millisecond, func() { after(audit.ErrUnwritable) })
	return nil
}

type spilled struct{ events []audit.Event }

func (s *spilled) Write(events ...audit.Event) error {
	s.events = append(s.events, events...)
	return nil
}

// TestReadsAreSpilled: the outcome of a read that nobody waited for, and that
// the log did not take, is in the spill file once Settle has returned.
func TestReadsAreSpilled(t *testing.T) {
	t.Parallel()
	s := new(spilled)
	r := &jobs.Recorder{Log: lostLog{}, Spill: s, Logger: slog.New(slog.DiscardHandler)}
	read := call.Call{Label: call.Label{Operation: "access_keys.list"}, ID: "id"}
	if err := r.Outcome(t.Context(), read, call.Result{Status: 200, Outcome: call.OK}); err != nil {
		t.Fatal(err)
	}
	r.Settle(t.Context())
	if len(s.events) != 1 || s.events[0].Call != "id" || s.events[0].Status != 200 {
		t.Errorf("spilled %+v", s.events)
	}
}

// slowLog tells how events come to it.
type slowLog struct {
	jobs.Log
	waited, posted int
}

func (*slowLog) Stamp(e audit.Event) audit.Event { return e }

func (l *slowLog) Append(context.Context, ...audit.Event) error { l.waited++; return nil }

func (l *slowLog) Post(_ context.Context, _ audit.Event, after func(error)) error {
	l.posted++
	go after(nil)
	return nil
}

// TestOutcomesOfChangesAreWaitedFor, but for one that a commit follows, which
// brings it along; and for that too where nothing could be spilled.
func TestOutcomesOfChangesAreWaitedFor(t *testing.T) {
	t.Parallel()
	change := call.Call{Label: call.Label{Operation: "access_keys.create", Mutating: true}, ID: "id"}
	for name, c := range map[string]struct {
		ctx    context.Context
		spill  jobs.Spill
		waited int
	}{
		"alone":                 {t.Context(), new(spilled), 1},
		"followed":              {jobs.Followed(t.Context()), new(spilled), 0},
		"followed, no spilling": {jobs.Followed(t.Context()), nil, 1},
	} {
		log := new(slowLog)
		r := &jobs.Recorder{Log: log, Spill: c.spill, Logger: slog.New(slog.DiscardHandler)}
		if err := r.Outcome(c.ctx, change, call.Result{Status: 201, Outcome: call.OK}); err != nil {
			t.Fatal(err)
		}
		if log.waited != c.waited || log.posted != 1-c.waited {
			t.Errorf("%s: waited for %d, posted %d", name, log.waited, log.posted)
		}
	}
}
