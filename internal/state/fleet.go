package state

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Fleet is what the metrics show of the installation: the keys as each
// project's newest snapshot has them, and who works on what. What belongs to
// projects that are gone at Sinch does not count.
type Fleet struct {
	Keys      []FleetKeys
	Deadlines []FleetDeadline
	Orphans   int
	Overdue   int // keys in scope past their deadline, whatever their state
	Leases    int // projects that a process works on
	Paused    bool
}

// FleetKeys counts a project's keys of one state.
type FleetKeys struct {
	Project, State string
	Count          int
}

// FleetDeadline is when the key that a credential's consumers use reaches its
// max age: the current one, or before the first rotation the one to adopt.
type FleetDeadline struct {
	Project, Credential string
	At                  time.Time
}

// liveKeys are the keys that were last seen listed.
const liveKeys = `FROM rotator.access_key k JOIN rotator.project p ON p.id = k.project_id
	WHERE k.gone_at IS NULL AND p.gone_at IS NULL`

// Fleet returns the whole fleet as of one instant, in four statements.
func (s *Store) Fleet(ctx context.Context) (*Fleet, error) {
	var f Fleet
	err := pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		return f.read(ctx, tx)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the fleet: %w", err)
	}
	return &f, nil
}

func (f *Fleet) read(ctx context.Context, tx pgx.Tx) (err error) {
	if f.Keys, err = collect[FleetKeys](ctx, tx, `SELECT k.project_id, k.state, count(*) `+liveKeys+`
		GROUP BY 1, 2 ORDER BY 1, 2`); err != nil {
		return err
	}
	if f.Deadlines, err = collect[FleetDeadline](ctx, tx, `SELECT k.project_id, k.credential, min(k.deadline) `+liveKeys+`
		AND k.state IN ('current', 'adopted') AND k.deadline IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2`); err != nil {
		return err
	}
	err = tx.QueryRow(ctx, `SELECT count(*) FILTER (WHERE k.state = 'orphan'), count(*) FILTER (WHERE k.deadline < now()) `+liveKeys).
		Scan(&f.Orphans, &f.Overdue)
	if err != nil {
		return err //nolint:wrapcheck // wrapped by Fleet
	}
	err = tx.QueryRow(ctx, `SELECT count(*), EXISTS (SELECT FROM rotator.pause) FROM rotator.project
		WHERE lease_expires_at >= now() AND gone_at IS NULL`).Scan(&f.Leases, &f.Paused)
	return err //nolint:wrapcheck // as above
}
