package state

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Status is how an installation is doing; its JSON is `rotator status -o json`.
type Status struct {
	Now       time.Time       `json:"now"` // the database's clock
	Pause     *StatusPause    `json:"pause"`
	Projects  StatusProjects  `json:"projects"`
	Processes []StatusProcess `json:"processes"`
	Leases    []StatusLease   `json:"leases"`
	Runs      []StatusRun     `json:"runs"`    // the newest first
	Failing   []StatusFailure `json:"failing"` // projects and credentials
}

// StatusPause is the pause that is on.
type StatusPause struct {
	Reason string    `json:"reason"`
	Actor  string    `json:"actor"`
	Since  time.Time `json:"since"`
}

// StatusProjects counts projects.
type StatusProjects struct {
	Known   int        `json:"known"`
	Due     int        `json:"due"`
	Leased  int        `json:"leased"`
	Failing int        `json:"failing"`
	Next    *time.Time `json:"next_check_at"` // of the one that is due first
}

// StatusProcess is a process that is alive.
type StatusProcess struct {
	ID        uuid.UUID `json:"id"`
	Host      string    `json:"host"`
	AuthKeyID string    `json:"auth_key_id"`
	StartedAt time.Time `json:"started_at"`
}

// StatusLease is a project that a process works on.
type StatusLease struct {
	Project string    `json:"project_id"`
	Owner   uuid.UUID `json:"process"`
	Until   time.Time `json:"until"`
}

// StatusRun is one of the latest runs.
type StatusRun struct {
	ID         uuid.UUID        `json:"run_id"`
	Trigger    string           `json:"trigger"`
	Actor      string           `json:"actor"`
	Host       string           `json:"host"`
	Tick       *time.Time       `json:"tick"`
	StartedAt  time.Time        `json:"started_at"`
	FinishedAt *time.Time       `json:"finished_at"`
	Counters   map[string]int64 `json:"counters"`
}

// StatusFailure is a project or a credential that failed lately.
type StatusFailure struct {
	Project    string     `json:"project_id"`
	Credential string     `json:"credential"` // "" is the project as a whole
	Failures   int        `json:"failures"`   // in a row
	Step       string     `json:"step"`
	Error      string     `json:"error"`
	NotBefore  *time.Time `json:"not_before"` // of the next attempt
}

// Status returns how the installation is doing, with so many lines of each
// list at the most.
func (s *Store) Status(ctx context.Context, limit int) (*Status, error) {
	var st Status
	err := pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		return st.read(ctx, tx, limit)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the status: %w", err)
	}
	return &st, nil
}

func (st *Status) read(ctx context.Context, tx pgx.Tx, limit int) (err error) {
	p := &st.Projects
	err = tx.QueryRow(ctx, `SELECT now(), count(*), count(*) FILTER (WHERE next_check_at <= now()),
			count(*) FILTER (WHERE lease_expires_at >= now()), count(*) FILTER (WHERE failures > 0), min(next_check_at)
		FROM rotator.project WHERE gone_at IS NULL`).Scan(&st.Now, &p.Known, &p.Due, &p.Leased, &p.Failing, &p.Next)
	if err != nil {
		return err //nolint:wrapcheck // wrapped by Status
	}
	pauses, err := collect[StatusPause](ctx, tx, `SELECT reason, actor, paused_at FROM rotator.pause`)
	if err != nil {
		return err
	}
	if len(pauses) > 0 {
		st.Pause = &pauses[0]
	}
	if st.Processes, err = collect[StatusProcess](ctx, tx, `SELECT id, host, auth_key_id, started_at
		FROM rotator.process WHERE expires_at >= now() ORDER BY started_at, id LIMIT $1`, limit); err != nil {
		return err
	}
	if st.Leases, err = collect[StatusLease](ctx, tx, `SELECT id, lease_owner, lease_expires_at
		FROM rotator.project WHERE lease_expires_at >= now() ORDER BY id LIMIT $1`, limit); err != nil {
		return err
	}
	if st.Runs, err = collect[StatusRun](ctx, tx, `SELECT id, trigger, actor, host, tick, started_at, finished_at, counters
		FROM rotator.run ORDER BY started_at DESC, id LIMIT $1`, limit); err != nil {
		return err
	}
	st.Failing, err = collect[StatusFailure](ctx, tx, `
		SELECT id, '', failures, failed_step, last_error, next_check_at FROM rotator.project WHERE failures > 0 AND gone_at IS NULL
		UNION ALL
		SELECT c.project_id, c.name, c.failures, '', c.last_error, c.not_before
		FROM rotator.credential c JOIN rotator.project p ON p.id = c.project_id WHERE c.failures > 0 AND p.gone_at IS NULL
		ORDER BY 3 DESC, 1, 2 LIMIT $1`, limit)
	return err
}

func collect[T any](ctx context.Context, tx pgx.Tx, sql string, args ...any) ([]T, error) {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, err //nolint:wrapcheck // wrapped by Status
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[T]) //nolint:wrapcheck // as above
}
