package state

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Begun is a run that begins. Tick is when the schedule wanted it, zero for
// what people ask for.
type Begun struct {
	ID                           uuid.UUID
	Trigger, Actor, Host, Reason string
	Tick                         time.Time
}

// StartRun is a Change that opens a run's row.
func StartRun(b Begun) Change {
	var tick *time.Time
	if !b.Tick.IsZero() {
		tick = &b.Tick
	}
	return change(`INSERT INTO rotator.run (id, trigger, actor, host, reason, tick) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (id) DO NOTHING`, b.ID, b.Trigger, b.Actor, b.Host, b.Reason, tick)
}

// LastTick returns the newest tick of the schedule for which a run has begun,
// the zero time before the first.
func (s *Store) LastTick(ctx context.Context) (time.Time, error) {
	var tick *time.Time
	if err := s.pool.QueryRow(ctx, `SELECT max(tick) FROM rotator.run`).Scan(&tick); err != nil {
		return time.Time{}, fmt.Errorf("looking for the last scheduled run: %w", err)
	}
	if tick == nil {
		return time.Time{}, nil
	}
	return *tick, nil
}

// FinishRun is a Change that closes a run's row.
func FinishRun(id uuid.UUID, counters map[string]int64) Change {
	return change(`UPDATE rotator.run SET finished_at = now(), counters = $2 WHERE id = $1`, id, counters)
}

// Beat renews the row that says which access key this process authenticates
// with; while it lives, that key is not deleted. It returns how many processes
// are alive, this one included.
func (s *Store) Beat(ctx context.Context, process uuid.UUID, host, key string, length time.Duration) (alive int, err error) {
	_, err = s.pool.Exec(ctx, `
		INSERT INTO rotator.process (id, host, auth_key_id, expires_at) VALUES ($1, $2, $3, now() + $4::interval)
		ON CONFLICT (id) DO UPDATE SET auth_key_id = excluded.auth_key_id, expires_at = excluded.expires_at`,
		process, host, key, seconds(length))
	if err == nil {
		err = s.pool.QueryRow(ctx, `SELECT count(*) FROM rotator.process WHERE expires_at >= now()`).Scan(&alive)
	}
	if err != nil {
		return 0, fmt.Errorf("renewing the process row: %w", err)
	}
	return alive, nil
}

// Leave removes the process's row, and those of processes long dead.
func (s *Store) Leave(ctx context.Context, process uuid.UUID) error {
	_, err := s.pool.Exec(ctx, `DELETE FROM rotator.process WHERE id = $1 OR expires_at < now() - interval '1 day'`, process)
	if err != nil {
		return fmt.Errorf("removing the process row: %w", err)
	}
	return nil
}

const ownKeys = `SELECT DISTINCT auth_key_id FROM rotator.process WHERE expires_at >= now() AND auth_key_id <> ''`

// OwnKeys returns the access keys that live rotator processes authenticate
// with.
func (s *Store) OwnKeys(ctx context.Context) (map[string]bool, error) {
	rows, err := s.pool.Query(ctx, ownKeys)
	if err != nil {
		return nil, fmt.Errorf("reading the live processes' keys: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("reading the live processes' keys: %w", err)
	}
	return set(ids), nil
}
