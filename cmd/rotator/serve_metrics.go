package main

import (
	"context"
	"time"

	"rotator/internal/audit"
	"rotator/internal/call"
	"rotator/internal/jobs"
	"rotator/internal/metrics"
	"rotator/internal/rotation"
)

// counted counts every attempt before its recorder gets it.
type counted struct {
	call.Recorder
	metrics *metrics.Metrics
}

// Outcome counts the attempt and records it.
func (c counted) Outcome(ctx context.Context, at call.Call, r call.Result) error {
	c.metrics.Request(at, r)
	return c.Recorder.Outcome(ctx, at, r) //nolint:wrapcheck // the recorder's own answer
}

// counting is the recorder that clients get: one that counts, in the daemon.
func (a *app) counting(r *jobs.Recorder) call.Recorder {
	if a.metrics == nil {
		return r
	}
	return counted{r, a.metrics}
}

// watch lets the metrics tell of the installation and its audit log.
func (a *app) watch() {
	a.metrics.WatchFleet(func(ctx context.Context) (metrics.Fleet, error) {
		now, err := a.store.Fleet(ctx)
		if err != nil {
			return metrics.Fleet{}, err //nolint:wrapcheck // state says what it was doing
		}
		f := metrics.Fleet{Orphans: now.Orphans, Overdue: now.Overdue, Leases: now.Leases, Paused: now.Paused}
		for _, k := range now.Keys {
			f.Keys = append(f.Keys, metrics.Keys(k))
		}
		for _, d := range now.Deadlines {
			f.Deadlines = append(f.Deadlines, metrics.Deadline(d))
		}
		return f, nil
	})
	a.metrics.WatchCheckpoint(func() (time.Duration, bool) {
		age := a.anchors.Age()
		return age, age != audit.Never
	})
}

// count counts what a run did. The report is nil if the run could not begin.
func (a *app) count(r *jobs.Report, err error) {
	if r == nil {
		return
	}
	for _, res := range r.Results {
		countResult(a.metrics, res)
	}
	if r.FinishedAt.IsZero() {
		return
	}
	a.metrics.Ran(r.FinishedAt.Sub(r.StartedAt))
	if err == nil && r.ExitCode() == jobs.ExitConverged {
		a.metrics.Succeeded(r.FinishedAt)
	}
}

func countResult(m *metrics.Metrics, res jobs.Result) {
	switch res.Action {
	case jobs.Rotated:
		m.Rotated()
	case jobs.Retired:
		m.Deleted(metrics.Retired)
	case jobs.OrphanDeleted:
		m.Deleted(metrics.Orphan)
	case jobs.Failed:
		switch res.Tried {
		case rotation.Rotate:
			m.RotationFailed(res.Step)
		case rotation.Retire:
			m.DeletionFailed(metrics.Retired)
		case rotation.DeleteOrphan:
			m.DeletionFailed(metrics.Orphan)
		case rotation.Skip, rotation.Refuse: // recording those failed, nothing else
		}
	case jobs.Skipped, jobs.Refused:
	}
}
