package state

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Kinds of problems.
const (
	ProblemFailed  = "failed"  // something did not work
	ProblemRefused = "refused" // a guard stands against it
	ProblemOverdue = "overdue" // keys are past their max age
)

// Problem is what stands in the way of work on a credential, or on a whole
// project where Credential is empty.
type Problem struct {
	Project, Credential string
	Kind                string
	Error               string
	// Same says that Error only tells of an earlier failure: that one's own
	// text, where it is known, says more.
	Same bool
}

// columns are the problems as arrays, for unnest.
func columns(problems []Problem) (projects, credentials, kinds, errors []string, same []bool) {
	projects, credentials, kinds, errors, same = []string{}, []string{}, []string{}, []string{}, []bool{}
	for _, p := range problems {
		projects, credentials = append(projects, p.Project), append(credentials, p.Credential)
		kinds, errors, same = append(kinds, p.Kind), append(errors, p.Error), append(same, p.Same)
	}
	return projects, credentials, kinds, errors, same
}

// stands ends an INSERT of problems. One that comes back before anybody was
// told that it was over has never been gone; one of another kind is new.
const stands = ` ON CONFLICT (project_id, credential, topic) DO UPDATE
	SET kind = excluded.kind, error = excluded.error, gone_at = NULL,
		told_at = CASE WHEN p.kind = excluded.kind THEN p.told_at END,
		since = CASE WHEN p.kind = excluded.kind THEN p.since ELSE now() END
	WHERE p.gone_at IS NOT NULL OR (p.kind, p.error) <> (excluded.kind, excluded.error)`

// Listed notes what is wrong with the list of projects; what was wrong with it
// before is over.
func (s *Store) Listed(ctx context.Context, problems []Problem) error {
	projects, credentials, kinds, errors, _ := columns(problems)
	_, err := s.pool.Exec(ctx, `
		WITH over AS (
			UPDATE rotator.problem SET gone_at = now()
			WHERE topic = 'list' AND gone_at IS NULL AND NOT project_id = ANY ($1)
		)
		INSERT INTO rotator.problem AS p (project_id, credential, topic, kind, error)
		SELECT DISTINCT ON (1) u.project, u.credential, 'list', u.kind, u.error
		FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS u (project, credential, kind, error)`+stands,
		projects, credentials, kinds, errors)
	if err != nil {
		return fmt.Errorf("noting problems: %w", err)
	}
	return nil
}

// News is what is to be told of the installation's problems. Of long lists only
// the beginning is there; the totals count all.
type News struct {
	Problems  []Told
	Total     int
	Recovered []Told
	Over      int
	Open      int // problems that stand, told now or before
}

// Told is a problem that is told of, or that it is over.
type Told struct {
	Kind, Project, Credential, Error string

	Since    time.Time
	Reminder bool // it was told of before
}

// liveOverdue are the keys past their max age.
const liveOverdue = liveKeys + ` AND k.deadline < now()`

// News takes what is to be told: problems that nobody was told of, all that
// stand if one was last told of longer than remind ago, and those told of that
// are over. What one process takes no other one gets.
func (s *Store) News(ctx context.Context, remind time.Duration, limit int) (*News, error) {
	var n News
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error { return n.take(ctx, tx, remind, limit) })
	if err != nil {
		return nil, fmt.Errorf("looking for news: %w", err)
	}
	return &n, nil
}

func (n *News) take(ctx context.Context, tx pgx.Tx, remind time.Duration, limit int) (err error) {
	for _, sql := range []string{
		`LOCK TABLE rotator.problem IN SHARE ROW EXCLUSIVE MODE`,
		`INSERT INTO rotator.problem AS p (project_id, credential, topic, kind, error)
			SELECT k.project_id, k.credential, 'age', 'overdue', 'past its max age: ' || string_agg('key ' || k.key_id, ', ' ORDER BY k.deadline)
				|| ', since ' || to_char(min(k.deadline) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
			` + liveOverdue + ` GROUP BY 1, 2` + stands,
		`UPDATE rotator.problem w SET gone_at = now()
			WHERE w.gone_at IS NULL AND w.topic = 'age' AND NOT EXISTS (SELECT ` + liveOverdue + ` AND k.project_id = w.project_id AND k.credential = w.credential)`,
		`UPDATE rotator.problem p SET gone_at = now() FROM rotator.project j
			WHERE p.gone_at IS NULL AND p.topic <> 'list' AND j.id = p.project_id AND j.gone_at IS NOT NULL`,
	} {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return err //nolint:wrapcheck // wrapped by News
		}
	}
	n.Recovered, n.Over, err = told(ctx, tx, `
		WITH told AS (DELETE FROM rotator.problem WHERE gone_at IS NOT NULL RETURNING *)
		SELECT project_id, credential, kind, error, since, false, count(*) OVER () FROM told WHERE told_at IS NOT NULL
		ORDER BY 1, 2, 3 LIMIT $1`, limit)
	if err != nil {
		return err
	}
	n.Problems, n.Total, err = told(ctx, tx, `
		WITH due AS (
			SELECT p.project_id, p.credential, p.topic, p.told_at IS NOT NULL AS reminder FROM rotator.problem p
			WHERE p.told_at IS NULL OR EXISTS (SELECT FROM rotator.problem WHERE told_at < now() - $2::interval)
		), told AS (
			UPDATE rotator.problem p SET told_at = now() FROM due
			WHERE (p.project_id, p.credential, p.topic) = (due.project_id, due.credential, due.topic)
			RETURNING p.*, due.reminder
		)
		SELECT project_id, credential, kind, error, since, reminder, count(*) OVER () FROM told ORDER BY reminder, 1, 2, 3 LIMIT $1`,
		limit, seconds(remind))
	if err != nil {
		return err
	}
	return tx.QueryRow(ctx, `SELECT count(*) FROM rotator.problem`).Scan(&n.Open) //nolint:wrapcheck // wrapped by News
}

// told runs a query whose last column is how many rows there are in all.
func told(ctx context.Context, tx pgx.Tx, sql string, args ...any) (list []Told, total int, err error) {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, 0, err //nolint:wrapcheck // wrapped by News
	}
	list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (t Told, err error) {
		err = row.Scan(&t.Project, &t.Credential, &t.Kind, &t.Error, &t.Since, &t.Reminder, &total)
		return t, err //nolint:wrapcheck // wrapped by News
	})
	return list, total, err //nolint:wrapcheck // as above
}
