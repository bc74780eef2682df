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
