package jobs

import (
	"context"
	"sync"
	"time"

	"rotator/internal/audit"
	"rotator/internal/state"
)

// claims hands out a run's projects. Postgres is asked for several at a time,
// and what it knows of them with them: a question costs about as much for one
// project as for all.
type claims struct {
	*run
	what  state.Claiming
	found *found // where projects come from that are still being discovered; nil: all are known

	mu    sync.Mutex
	ready []*claimed // claimed, and not yet taken
	none  bool       // to find that out costs a look at all projects, so nobody asks again
}

// claimed is a project under a lease, and what was known of it then: nobody
// else changes that while the lease holds.
type claimed struct {
	lease   *state.Lease
	memory  *state.Memory // nil: not known any more
	intents *intents      // nil: not known any more
}

// intents are a project's calls of which nobody knows how they ended.
type intents struct {
	open []audit.Record
	size int64 // of the log: no older intent is open
}

// most is how many projects are claimed at a time at most. They must not wait
// for a worker for long, while another process has nothing to do.
const most = 16

// batch is how many projects are claimed at a time, and given back.
func (r *Runner) batch() int { return min(max(r.Concurrency/2, 1), most) }

// staleAfter is how old what is known of a claimed project may be: which keys
// live processes authenticate with can change at any time.
const staleAfter = 2 * time.Second

// next returns the next project, or nil when none is left.
func (c *claims) next(ctx context.Context) (*claimed, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for len(c.ready) == 0 {
			if c.none {
				return nil, nil //nolint:nilnil // none left is an answer, not an error
			}
			if err := c.fill(ctx); err != nil {
				c.none = true
				return nil, err
			}
		}
		p := c.ready[0]
		c.ready = c.ready[1:]
		if c.holds(ctx, p) {
			return p, nil
		}
	}
}

// fill claims projects, or finds out that there are none. What is known of them
// can be asked later, so that only a failing claim is an error.
func (c *claims) fill(ctx context.Context) error {
	what := c.what
	if c.found != nil {
		what.Only = c.found.take(c.stop, c.batch()) //nolint:contextcheck // a stop ends the waiting at once
		if c.none = len(what.Only) == 0; c.none {
			return nil
		}
	}
	leases, err := c.claim(ctx, what, c.batch())
	if err != nil || len(leases) == 0 {
		c.none = c.found == nil
		return err
	}
	var projects []string
	since := map[string]int64{}
	for _, l := range leases {
		projects = append(projects, l.Project.ID)
		since[l.Project.ID] = l.Project.ResolvedSeq
	}
	memories, err := c.State.Recall(ctx, projects...)
	if err != nil {
		memories = make([]*state.Memory, len(leases))
	}
	open, size, err := c.Log.OpenIntents(ctx, since)
	for i, l := range leases {
		p := &claimed{lease: l, memory: memories[i]}
		if err == nil {
			p.intents = &intents{open[l.Project.ID], size}
		}
		c.ready = append(c.ready, p)
	}
	return nil
}

// holds sees to it that a project that has waited is still ours, and forgets
// what may not be true any more. One that is not ours another process works on.
func (c *claims) holds(ctx context.Context, p *claimed) bool {
	waited := time.Since(p.lease.Asked)
	if waited > min(staleAfter, p.lease.Length/3) {
		p.memory, p.intents = nil, nil
	}
	if waited <= p.lease.Length/3 {
		return true
	}
	held, err := c.State.Renew(ctx, p.lease)
	if err != nil {
		c.Logger.WarnContext(ctx, "lease not renewed", "project", p.lease.Project.ID, "err", err)
	}
	return held
}

// giveBack returns the projects that nobody has taken.
func (c *claims) giveBack(ctx context.Context) {
	if len(c.ready) == 0 {
		return
	}
	var leases []*state.Lease
	for _, p := range c.ready {
		leases = append(leases, p.lease)
	}
	if err := c.State.GiveBack(ctx, leases...); err != nil {
		c.Logger.WarnContext(ctx, "leases not given back, they run out by themselves", "projects", len(leases), "err", err)
	}
}

// linger is how long the end of work on a project may wait for others, to be
// told to Postgres together.
const linger = 20 * time.Millisecond

// release gives leases back as work on them ends. Nobody waits for that.
func (s *run) release(ctx context.Context, ended <-chan state.Release) {
	for first := range ended {
		all := []state.Release{first}
		wait := time.NewTimer(linger)
		for open := true; open && len(all) < s.batch(); {
			var r state.Release
			select {
			case r, open = <-ended:
				if open {
					all = append(all, r)
				}
			case <-wait.C:
				open = false
			}
		}
		wait.Stop()
		s.releaseAll(ctx, all)
	}
}

func (s *run) releaseAll(ctx context.Context, all []state.Release) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Lease)
	defer cancel()
	if err := s.State.Release(ctx, all...); err != nil {
		s.Logger.WarnContext(ctx, "leases not given back, they run out by themselves", "projects", len(all), "err", err)
	}
}
