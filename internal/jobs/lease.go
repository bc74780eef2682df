package jobs

import (
	"context"
	"time"

	"rotator/internal/audit"
	"rotator/internal/state"
)

// keep returns a context for work under the lease. It is cancelled, with the
// cause errLeaseLost, as soon as the lease cannot be counted on any more, so
// that every remote call ends inside what is left of it. The lease is renewed
// at a third of its length until release is called.
func (r *Runner) keep(ctx context.Context, l *state.Lease) (_ context.Context, release func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	held := &lease{Lease: l, lose: func() { cancel(errLeaseLost) }}
	ctx = within(ctx, func(s *scope) { s.lease, s.project = held, l.Project.ID })
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		r.renew(ctx, held, done)
	}()
	return ctx, func() {
		close(done)
		<-stopped
		cancel(nil)
	}
}

// renew keeps the lease until done. The time that is left is counted from
// before each renewal is sent: the database may have granted it any time
// after that.
func (r *Runner) renew(ctx context.Context, held *lease, done <-chan struct{}) {
	tick := time.NewTicker(held.Length / 3)
	defer tick.Stop()
	left := time.NewTimer(held.Length - time.Since(held.Asked))
	defer left.Stop()
	for {
		select {
		case <-done:
			return
		case <-ctx.Done():
			return
		case <-left.C:
			r.lost(ctx, held, "it could not be renewed in time")
			return
		case <-tick.C:
		}
		try, cancel := context.WithTimeout(ctx, held.Length/3)
		ok, err := r.State.Renew(try, held.Lease)
		cancel()
		switch {
		case err != nil:
			r.Logger.WarnContext(ctx, "lease not renewed", "project", held.Project.ID, "err", err)
		case !ok:
			r.lost(ctx, held, "another process claimed the project, or it ran out")
			return
		default:
			left.Reset(held.Length - time.Since(held.Asked))
		}
	}
}

// lost ends the work under a lease and says so in the log.
func (r *Runner) lost(ctx context.Context, held *lease, why string) {
	held.lose()
	ctx = context.WithoutCancel(ctx)
	e := event(ctx, audit.LeaseLost)
	e.Reason = why
	if err := r.Log.Append(ctx, e); err != nil {
		r.Logger.ErrorContext(ctx, "lost lease not recorded", "project", held.Project.ID, "err", err)
	}
}
