package state

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Lease is the right to work on one project for a while. Every write made
// under it carries the fence; a later claim of the project grows the fence,
// so that what an earlier worker still writes changes nothing.
type Lease struct {
	Project Project
	Owner   uuid.UUID
	Fence   int64
	// Length is how long the lease lasts after each renewal.
	Length time.Duration
	// Asked is when it was asked for last, by this host's clock: the lease holds
	// for its length from then on at least.
	Asked time.Time
}

// Project is a project's row.
type Project struct {
	ID, ParentID, Name string
	Labels             map[string]string
	CreatedAt          *time.Time // at Sinch, nil for the parent
	Failures           int        // consecutive runs that failed in it
	CheckedAt          *time.Time
	SnapshotSHA256     []byte
	SnapshotAt         *time.Time
	Policy             string // under which it was last looked at
	ResolvedSeq        int64  // of the audit log: no older intent is open
}

// Claiming says which projects may be claimed, and by whom.
type Claiming struct {
	Owner  uuid.UUID
	Since  time.Time     // when the run began: what any run was done with after that has been looked at
	Length time.Duration // of the lease
	Only   []string      // project ids; empty means all
	Due    bool          // only those whose next check is due
	// Known also claims projects that this run's discovery has not seen,
	// for when discovery itself was refused.
	Known bool
	// Again also claims what another run was done with since: for an order
	// that no other run carries out.
	Again bool
	Not   []string // project ids that are not claimed
	// Paused claims although rotator is paused.
	Paused bool
	// Healthy claims only projects whose last run did not fail.
	Healthy bool
	// Except is a project that is left for later: the one that holds
	// rotator's own key is the last of a run.
	Except string
}

// eligible is the condition that a project belongs to the run, with the
// arguments $1 since, $2 only, $3 due, $4 known, $5 except. Discovery by another
// run at the same time serves as well as the run's own.
const eligible = `gone_at IS NULL
	AND (cardinality($2::text[]) = 0 OR id = ANY ($2))` + eligibleNamed

// eligibleNamed is the same for projects that are found by their ids.
const eligibleNamed = `
	AND (NOT $3 OR next_check_at <= now())
	AND ($4 OR seen_at >= $1) AND id <> $5`

// Claim takes the leases of the next projects of a run that nobody works on, at
// most so many: healthy ones first, then those that have waited longest. There
// are none when none is left, and while rotator is paused.
func (s *Store) Claim(ctx context.Context, c Claiming, most int) (leases []*Lease, err error) {
	var b pgx.Batch
	which := `gone_at IS NULL AND id = ANY ($2)` + eligibleNamed
	if len(c.Only) == 0 {
		which = eligible
		// Without statistics, as after the first discovery of a large fleet, the
		// planner would sort all projects for each claim: the index has them in order.
		b.Queue(`SELECT set_config('enable_sort', 'off', true), set_config('enable_bitmapscan', 'off', true), set_config('enable_seqscan', 'off', true)`)
	}
	asked := time.Now()
	b.Queue(`
		WITH next AS (
			SELECT id, next_check_at AS due FROM rotator.project
			WHERE `+which+` AND (lease_expires_at IS NULL OR lease_expires_at < now())
				AND NOT id = ANY ($9) AND ($8 OR checked_at IS NULL OR checked_at < $1) AND (NOT $11 OR failures = 0)
				AND ($10 OR NOT EXISTS (SELECT FROM rotator.pause))
			ORDER BY (failures > 0), next_check_at, id
			LIMIT `+strconv.Itoa(most)+` FOR UPDATE SKIP LOCKED
		)
		UPDATE rotator.project p
		SET fence = fence + 1, lease_owner = $6, lease_expires_at = now() + $7::interval,
			next_check_at = least(next_check_at, now()) -- until Release: a worker that dies leaves work behind
		FROM next WHERE p.id = next.id
		RETURNING next.due, p.fence, p.`+qualified,
		c.Since, list(c.Only), c.Due, c.Known, c.Except, c.Owner, seconds(c.Length), c.Again, list(c.Not), c.Paused, c.Healthy).
		Query(func(rows pgx.Rows) error {
			leases, err = claimed(rows, Lease{Owner: c.Owner, Length: c.Length, Asked: asked})
			return err
		})
	if err := s.pool.SendBatch(ctx, &b).Close(); err != nil {
		return nil, fmt.Errorf("claiming projects: %w", err)
	}
	return leases, nil
}

// claimed reads the leases that were taken, and puts them in order.
func claimed(rows pgx.Rows, l Lease) (leases []*Lease, err error) {
	due := map[*Lease]time.Time{}
	leases, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (*Lease, error) {
		var since time.Time
		l := l
		p := &l.Project
		err := row.Scan(&since, &l.Fence, &p.ID, &p.ParentID, &p.Name, &p.Labels, &p.CreatedAt,
			&p.Failures, &p.CheckedAt, &p.SnapshotSHA256, &p.SnapshotAt, &p.Policy, &p.ResolvedSeq)
		due[&l] = since
		return &l, err //nolint:wrapcheck // by Claim
	})
	slices.SortFunc(leases, func(a, b *Lease) int {
		return cmp.Or(
			cmp.Compare(min(a.Project.Failures, 1), min(b.Project.Failures, 1)),
			due[a].Compare(due[b]), cmp.Compare(a.Project.ID, b.Project.ID),
		)
	})
	return leases, err //nolint:wrapcheck // by Claim
}

const qualified = `id, p.parent_id, p.name, p.labels, p.created_at, p.failures, p.checked_at, p.snapshot_sha256, p.snapshot_at, p.policy, p.resolved_seq`

// Busy is a project of a run that another process works on.
type Busy struct {
	ID, Name string
	Due      bool
	Until    time.Time
}

// Busy returns the projects of a run that are left over because another
// process holds their lease.
func (s *Store) Busy(ctx context.Context, c Claiming) ([]Busy, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT id, name, next_check_at <= now() AS due, lease_expires_at AS until FROM rotator.project
		WHERE `+eligible+` AND lease_expires_at >= now() ORDER BY id`,
		c.Since, list(c.Only), c.Due, c.Known, c.Except)
	if err != nil {
		return nil, fmt.Errorf("listing busy projects: %w", err)
	}
	busy, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Busy])
	if err != nil {
		return nil, fmt.Errorf("listing busy projects: %w", err)
	}
	return busy, nil
}

// Left reports whether a run still has a project to look at, be it free or
// worked on.
func (s *Store) Left(ctx context.Context, c Claiming) (left bool, err error) {
	err = s.pool.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM rotator.project WHERE `+eligible+`
			AND NOT id = ANY ($7) AND ($6 OR checked_at IS NULL OR checked_at < $1))`,
		c.Since, list(c.Only), c.Due, c.Known, c.Except, c.Again, list(c.Not)).Scan(&left)
	if err != nil {
		return true, fmt.Errorf("looking for projects that are left: %w", err)
	}
	return left, nil
}

// Renew makes the lease last for its length from now. It reports false when
// the lease has been lost: it ran out, or another process claimed it.
func (s *Store) Renew(ctx context.Context, l *Lease) (bool, error) {
	asked := time.Now()
	tag, err := s.pool.Exec(ctx, `
		UPDATE rotator.project SET lease_expires_at = now() + $3::interval
		WHERE id = $1 AND fence = $2 AND lease_expires_at >= now()`,
		l.Project.ID, l.Fence, seconds(l.Length))
	if err != nil {
		return false, fmt.Errorf("renewing the lease of project %s: %w", l.Project.ID, err)
	}
	if !touched(tag) {
		return false, nil
	}
	l.Asked = asked
	return true, nil
}

// held begins a statement that changes something only while the lease holds:
// then held has its one row. The row lock keeps a claim from slipping in before
// the transaction commits.
const held = `WITH held AS (SELECT FROM rotator.project WHERE id = $1 AND fence = $2 AND lease_expires_at >= now() FOR SHARE)`

// Held is a Change that changes nothing, and applies only while the lease
// holds: it guards an audit row that has no state of its own.
func (l *Lease) Held() Change { return l.change(held + ` SELECT FROM held`) }

// makes is a Change of one statement, which selects from held, and applies if it
// touches a row. Its first arguments are $3 and so on; $1 is the project.
func (l *Lease) makes(sql string, args ...any) Change {
	return l.change(held+`, made AS (`+sql+` RETURNING 1) SELECT FROM made`, args...)
}

// does is the same of any number of statements, named and separated as in a
// WITH, that applies while the lease holds, touch they a row or not.
func (l *Lease) does(parts string, args ...any) Change {
	return l.change(held+`, `+parts+` SELECT FROM held`, args...)
}

func (l *Lease) change(sql string, args ...any) Change {
	return change(sql, append([]any{l.Project.ID, l.Fence}, args...)...)
}

// list is a text[] argument that is never NULL.
func list(names []string) []string {
	if names == nil {
		return []string{}
	}
	return names
}
