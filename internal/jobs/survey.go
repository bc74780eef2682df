package jobs

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"rotator/internal/call"
	"rotator/internal/rotation"
	"rotator/internal/state"
	"rotator/internal/trace"
)

// Surveyed is what a look at one project showed, and what a run would do.
type Surveyed struct {
	Project rotation.Project
	Policy  rotation.Effective
	Now     time.Time
	Plan    rotation.Plan
	Err     error // why the project could not be looked at; the rest is empty then
}

// Survey looks at projects as a run would, without leases and without
// changing anything, and shows each to visit as it is done, one at a time.
// The error says that nothing could be looked at.
func (r *Runner) Survey(ctx context.Context, o Order, visit func(Surveyed)) (err error) {
	ctx, end := trace.Start(ctx, "survey")
	defer func() { end(err) }()
	self, _, err := r.adoptOwn(ctx)
	if err != nil {
		return err
	}
	eye := looker{Runner: r, self: self, request: o.Request}
	found := make(chan Surveyed)
	var listing error
	go func() {
		defer close(found)
		var g errgroup.Group
		g.SetLimit(max(r.Concurrency, 1))
		listing = r.each(ctx, o, func(p state.Project) {
			g.Go(func() error {
				found <- eye.survey(ctx, p)
				return nil
			})
		})
		_ = g.Wait() // its functions return nothing
	}()
	for s := range found {
		visit(s)
	}
	return listing
}

func (l *looker) survey(ctx context.Context, p state.Project) Surveyed {
	s := Surveyed{Project: rotation.Project{ID: p.ID, Name: p.Name, Labels: p.Labels}}
	s.Policy = rotation.ApplyLabels(l.Policy, p.Labels, l.Labels)
	ctx = within(ctx, func(sc *scope) { sc.project = p.ID })
	if s.Err = checkID(p.ID); s.Err != nil {
		return s
	}
	v, err := l.look(ctx, p, nil)
	if l.notReady(p, err) {
		s.Now, s.Plan.Warnings = l.Now(), []string{notReady}
		return s
	}
	if err != nil {
		s.Err = err
		return s
	}
	s.Policy, s.Now, s.Plan = v.effective, v.Now, rotation.Decide(v.Facts)
	return s
}

// each calls visit for the order's projects: the subprojects as Sinch lists
// them, then the parent.
func (r *Runner) each(ctx context.Context, o Order, visit func(state.Project)) error {
	wanted := func(id string) bool {
		if len(o.Projects) == 0 {
			return true
		}
		for _, p := range o.Projects {
			if p == id {
				return true
			}
		}
		return false
	}
	var refused error
	for sub, err := range r.Directory.Subprojects(ctx, r.Parent) {
		if err != nil {
			refused = fmt.Errorf("listing subprojects: %w", err)
			break
		}
		if wanted(sub.ID) && !sub.Deleted && sub.ID != r.Parent {
			d := discovered(sub)
			visit(state.Project{ID: d.ID, ParentID: d.ParentID, Name: d.Name, Labels: d.Labels, CreatedAt: d.CreatedAt})
		}
	}
	if wanted(r.Parent) {
		visit(state.Project{ID: r.Parent})
	}
	return refused
}

// VaultPath is where a credential lives, empty where its name or project
// cannot be a path.
func (r *Runner) VaultPath(project, credential string) string {
	path, err := r.Secrets.Path(project, credential)
	if err != nil {
		return ""
	}
	return path
}

// Message is an error as results and log show it: harmless and bounded.
func Message(err error) string { return call.Sanitize(err.Error()) }
