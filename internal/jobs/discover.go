package jobs

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"time"

	"rotator/internal/call"
	"rotator/internal/sinch"
	"rotator/internal/state"
)

// found are projects that discovery has just noted, for workers that begin before
// it is through. It holds some; more of them are left until all are known.
type found struct {
	mu   sync.Mutex
	ids  []string
	more chan struct{} // there is something to take
	done chan struct{} // closed at the end
	err  error         // of the discovery, once done
}

// foundLimit is how many projects may wait, however many there are.
const foundLimit = 5000

// discovering begins to discover.
func (s *run) discovering(ctx context.Context) *found {
	f := &found{more: make(chan struct{}, 1), done: make(chan struct{})}
	go func() {
		defer close(f.done)
		f.err = s.discover(ctx, f)
	}()
	return f
}

func (f *found) add(page []state.Discovered) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range page {
		if len(f.ids) < foundLimit {
			f.ids = append(f.ids, d.ID)
		}
	}
	select {
	case f.more <- struct{}{}:
	default:
	}
}

// take waits for projects, and takes some. It returns none when the discovery is
// through, or ctx is.
func (f *found) take(ctx context.Context, most int) []string {
	for {
		f.mu.Lock()
		n := min(most, len(f.ids))
		ids := f.ids[:n]
		f.ids = f.ids[n:]
		f.mu.Unlock()
		if n > 0 {
			return ids
		}
		select {
		case <-f.more:
		case <-f.done:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// wait waits for the end of the discovery.
func (f *found) wait() error {
	<-f.done
	return f.err
}

// discover finds out which projects there are. Of the replicas that begin a
// scheduled run at the same tick, one asks Sinch, and the others wait for it.
func (s *run) discover(ctx context.Context, f *found) error {
	if s.order.Tick.IsZero() {
		return s.list(ctx, nil, f)
	}
	d := &state.Discovery{Parent: s.Parent, Owner: s.Process, Length: s.Lease, Since: s.order.Tick}
	for !s.stopping() {
		turn, err := s.State.BeginDiscovery(ctx, *d)
		switch {
		case err != nil:
			return err //nolint:wrapcheck // state says what it was doing
		case turn == state.Done:
			s.known = true
			return nil
		case turn == state.Ours:
			err := s.list(ctx, d, f)
			end := s.State.EndDiscovery(context.WithoutCancel(ctx), *d, err == nil && !s.known)
			return errors.Join(err, end)
		}
		if err := wait(ctx, min(discoveryPoll, s.Lease/3)); err != nil {
			return err
		}
	}
	return nil
}

// discoveryPoll is how often a replica asks whether another one has seen all
// projects.
const discoveryPoll = 200 * time.Millisecond

// pageSize is how many projects are noted at a time: as many as Sinch lists.
const pageSize = 100

// list notes the parent and its subprojects, page by page, and keeps the turn
// meanwhile. When Sinch refuses the list of subprojects, what is known already
// is worked on, and the run says so.
func (s *run) list(ctx context.Context, turn *state.Discovery, f *found) error {
	page := []state.Discovered{{ID: s.Parent}}
	flush := func() error {
		err := s.State.Discover(ctx, page)
		if turn != nil && err == nil {
			err = s.State.GoOnDiscovery(ctx, *turn)
		}
		if err == nil {
			f.add(page)
		}
		s.total.Add(int64(len(page)))
		page = page[:0]
		return err //nolint:wrapcheck // state says what it was doing
	}
	var wrong []Result
	for sub, err := range s.Directory.Subprojects(ctx, s.Parent) {
		if err != nil {
			if fatal(err) {
				return fmt.Errorf("listing subprojects: %w", err)
			}
			s.known = true
			wrong = append(wrong, Result{ProjectID: s.Parent, Action: Failed, Error: Text(call.Sanitize("listing subprojects: " + err.Error())), Step: "discover"})
			break
		}
		if sub.Deleted || sub.ID == s.Parent {
			continue
		}
		if err := checkID(sub.ID); err != nil {
			wrong = append(wrong, Result{ProjectID: call.Sanitize(sub.ID), Action: Failed, Error: Text(err.Error()), Step: "discover"})
			continue
		}
		page = append(page, discovered(sub))
		if len(page) == pageSize {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	if err := s.listed(ctx, wrong); err != nil {
		return err
	}
	if s.known {
		return nil
	}
	_, err := s.State.Vanished(ctx, s.report.StartedAt)
	return err //nolint:wrapcheck // as above
}

// listed reports what is wrong with the list of projects.
func (s *run) listed(ctx context.Context, wrong []Result) error {
	s.report.add(wrong...)
	return s.State.Listed(ctx, problems(wrong)) //nolint:wrapcheck // state says what it was doing
}

// plainID is what a project id may look like to be a part of a URL, of a Vault
// path and of the database without further thought. Sinch's own are ULIDs,
// UUIDs or dashless hex.
var plainID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

func checkID(id string) error {
	if !plainID.MatchString(id) {
		return errors.New("the project's id is not one that can stand in a Vault path; nothing is done in this project, report it to Sinch")
	}
	return nil
}

func discovered(sub sinch.Subproject) state.Discovered {
	d := state.Discovered{
		ID: sub.ID, ParentID: sub.ParentID, Name: call.Clean(sub.DisplayName, 1024), Labels: map[string]string{},
	}
	if !sub.CreatedAt.IsZero() {
		d.CreatedAt = &sub.CreatedAt
	}
	for k, v := range sub.Labels {
		d.Labels[call.Clean(k, 1024)] = call.Clean(v, 1024)
	}
	return d
}
