package sinch

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"sync/atomic"
	"time"
)

// Values of Config.Subprojects.
const (
	subprojectsAuto     = "auto"     // v1, else v1alpha1
	subprojectsV1       = "v1"       //
	subprojectsV1Alpha1 = "v1alpha1" // deprecated by Sinch
	subprojectsOff      = "off"      // never asked
)

// Subproject is a project below the parent.
type Subproject struct {
	ID          string // as Sinch tells it; calls with one that cannot be an id are refused
	DisplayName string // not unique
	ParentID    string
	Labels      map[string]string
	CreatedAt   time.Time // zero when Sinch does not say
	Deleted     bool
}

// Subprojects streams the parent's subprojects, a page at a time. An error is
// the last thing that it yields: the list is then not whole. Where the
// account has no access at all, the error matches ErrNoSubprojects.
func (c *Client) Subprojects(ctx context.Context, parent string) iter.Seq2[Subproject, error] {
	return func(yield func(Subproject, error) bool) {
		if c.cfg.Subprojects == subprojectsOff {
			return
		}
		turn := pages{limit: 100_000}
		version, page, err := c.firstSubprojects(ctx, parent, &turn)
		for err == nil {
			for _, s := range page {
				if !yield(s, nil) {
					return
				}
			}
			if turn.done {
				return
			}
			page, err = c.pageOfSubprojects(ctx, version, parent, &turn)
		}
		yield(Subproject{}, fmt.Errorf("listing subprojects: %w", err))
	}
}

// firstSubprojects returns the first page, and the API version that gave it.
// A refusal is not remembered: the other version may be a passing exception.
func (c *Client) firstSubprojects(ctx context.Context, parent string, turn *pages) (string, []Subproject, error) {
	versions := []string{c.cfg.Subprojects}
	if c.cfg.Subprojects == subprojectsAuto {
		versions = []string{subprojectsV1, subprojectsV1Alpha1}
	}
	refused := ErrNoSubprojects
	for _, version := range versions {
		page, err := c.pageOfSubprojects(ctx, version, parent, turn)
		if err == nil || !refusedVersion(err) {
			return version, page, err
		}
		refused = fmt.Errorf("%w; %s: %w", refused, version, err)
	}
	return "", nil, refused
}

// refusedVersion reports whether an API version is closed to this account.
func refusedVersion(err error) bool {
	var e *Error
	if !errors.As(err, &e) || e.Operation != opSubprojects {
		return false
	}
	switch e.Status {
	case http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return true
	default:
		return false
	}
}

func (c *Client) pageOfSubprojects(ctx context.Context, version, parent string, turn *pages) ([]Subproject, error) {
	r := request{operation: opSubprojects, method: http.MethodGet, project: parent, attempts: new(atomic.Int32)}
	r.inspect = r.inspectError
	var err error
	if r.url, err = r.path(c.cfg.SubprojectsURL, version, "projects", parent, "subprojects"); err != nil {
		return nil, err
	}
	r.url += turn.query()
	a, err := c.repeat(ctx, c.own.Load, r)
	if err != nil {
		return nil, err
	}
	subs, next, err := parseSubprojects(a.body, parent)
	if err == nil {
		err = turn.to(next)
	}
	if err != nil {
		return nil, r.unreadable(a, err)
	}
	return subs, nil
}
