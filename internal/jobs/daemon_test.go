package jobs_test

import (
	"context"
	"testing"
	"time"

	"rotator/internal/jobs"
)

// TestDaemonEnds: a daemon that has done several runs ends when it is told to,
// and TestMain finds nothing that it left behind.
func TestDaemonEnds(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.project("p", "billing", 100*day)
	schedule, err := jobs.ParseSchedule("@every 1s", time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	runs := 0
	d := &jobs.Daemon{Runner: g.runner(), Schedule: schedule, Ended: func(r *jobs.Report, err error) {
		if err != nil || r.Failed > 0 {
			t.Errorf("a run ended with %v, report %+v", err, r)
		}
		if runs++; runs == 3 {
			cancel()
		}
	}}
	d.Serve(ctx)
	if runs != 3 {
		t.Errorf("%d runs, want 3", runs)
	}
}
