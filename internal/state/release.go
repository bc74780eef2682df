package state

import (
	"context"
	"fmt"
	"time"
)

// Release is how work on a project ended.
type Release struct {
	Lease     *Lease
	NextCheck time.Time // when to look again at the latest
	Failed    bool
	Step      string // at which it failed
	Error     string
	// ResolvedSeq is the audit log's size up to which no intent is open; 0
	// when that was not found out.
	ResolvedSeq int64
	// Problems are those that stand, of this project. What else stood is over
	// if Whole, when everything was looked at, else that of the credentials in
	// Settled.
	Problems []Problem
	Whole    bool
	Settled  []string
}

// backoffBase and backoffCap bound how long a failing project or credential
// is left alone: the base doubles with each further failure in a row.
const (
	backoffBase = time.Minute
	backoffCap  = 6 * time.Hour
)

// Backoff returns how long to wait after so many failures in a row. The
// first costs nothing: most faults are gone at the next look.
func Backoff(failures int) time.Duration {
	if failures < 2 {
		return 0
	}
	if failures > 12 {
		return backoffCap
	}
	return min(backoffBase<<(failures-2), backoffCap)
}

// Release gives leases back and notes how the work ended. A failed project is
// looked at again after a back-off. Releasing a lost lease changes nothing.
// Rows are locked in the order of their ids, as discovery does.
func (s *Store) Release(ctx context.Context, all ...Release) error {
	var (
		ids, steps, errors, waits []string
		fences, resolved          []int64
		failures                  []int
		next                      []time.Time
		whole                     []bool
		problems                  []Problem
		settledIn, settled        = []string{}, []string{}
	)
	for _, r := range all {
		failed := 0
		if r.Failed {
			failed = r.Lease.Project.Failures + 1
		}
		ids, fences = append(ids, r.Lease.Project.ID), append(fences, r.Lease.Fence)
		failures, waits, next = append(failures, failed), append(waits, seconds(Backoff(failed))), append(next, r.NextCheck)
		steps, errors = append(steps, r.Step), append(errors, r.Error)
		resolved, whole = append(resolved, r.ResolvedSeq), append(whole, r.Whole)
		for _, p := range r.Problems {
			p.Project = r.Lease.Project.ID
			problems = append(problems, p)
		}
		for _, name := range r.Settled {
			settledIn, settled = append(settledIn, r.Lease.Project.ID), append(settled, name)
		}
	}
	projects, credentials, kinds, texts, same := columns(problems)
	_, err := s.pool.Exec(ctx, `
		WITH ended AS (
			SELECT p.id, e.* FROM rotator.project p
			JOIN unnest($1::text[], $2::bigint[], $3::integer[], $4::text[], $5::timestamptz[], $6::text[], $7::text[], $8::bigint[], $9::boolean[])
				AS e (project, fence, failed, wait, next, step, error, resolved, whole) ON p.id = e.project AND p.fence = e.fence
			ORDER BY p.id FOR UPDATE OF p
		), released AS (
			UPDATE rotator.project p
			SET lease_owner = NULL, lease_expires_at = NULL, checked_at = now(),
				next_check_at = CASE WHEN e.failed > 0 THEN now() + e.wait::interval ELSE e.next END,
				failures = e.failed, failed_step = e.step, last_error = e.error, resolved_seq = greatest(resolved_seq, e.resolved)
			FROM ended e WHERE p.id = e.id RETURNING p.id, e.whole
		), over AS (
			UPDATE rotator.problem p SET gone_at = now() FROM released r
			WHERE p.project_id = r.id AND p.topic = 'work' AND p.gone_at IS NULL
				AND (r.whole OR (p.project_id, p.credential) IN (SELECT * FROM unnest($10::text[], $11::text[])))
				AND (p.project_id, p.credential) NOT IN (SELECT * FROM unnest($12::text[], $13::text[]))
		)
		INSERT INTO rotator.problem AS p (project_id, credential, topic, kind, error)
		SELECT r.id, u.credential, 'work', u.kind, CASE WHEN u.same THEN coalesce(old.error, u.error) ELSE u.error END
		FROM released r JOIN unnest($12::text[], $13::text[], $14::text[], $15::text[], $16::boolean[])
			AS u (project, credential, kind, error, same) ON u.project = r.id
		LEFT JOIN rotator.problem old ON old.project_id = r.id AND old.credential = u.credential AND old.topic = 'work' AND old.kind = u.kind`+stands,
		ids, fences, failures, waits, next, steps, errors, resolved, whole, settledIn, settled, projects, credentials, kinds, texts, same)
	if err != nil {
		return fmt.Errorf("releasing %d projects: %w", len(all), err)
	}
	return nil
}

// GiveBack returns the leases of projects that nobody has worked on.
func (s *Store) GiveBack(ctx context.Context, leases ...*Lease) error {
	var ids []string
	var fences []int64
	for _, l := range leases {
		ids, fences = append(ids, l.Project.ID), append(fences, l.Fence)
	}
	_, err := s.pool.Exec(ctx, `
		WITH given AS (
			SELECT p.id FROM rotator.project p JOIN unnest($1::text[], $2::bigint[]) AS g (project, fence) ON p.id = g.project AND p.fence = g.fence
			ORDER BY p.id FOR UPDATE OF p
		)
		UPDATE rotator.project p SET lease_owner = NULL, lease_expires_at = NULL FROM given g WHERE p.id = g.id`, ids, fences)
	if err != nil {
		return fmt.Errorf("giving %d projects back: %w", len(leases), err)
	}
	return nil
}
