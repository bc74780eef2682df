// Package state is what rotator keeps in Postgres beside the audit log:
// projects with their schedule and leases, credentials, rotations, runs, and
// the processes that are alive.
//
// Reads go to the database directly. Changes that belong to an audit row are
// not made here: they are returned as a Change, which the caller commits in
// one transaction with that row (audit.Entry.Update), guarded by the fence of
// the project's lease.
//
// Postgres' now() is the only clock.
package state

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Change queues a state change on a batch that runs in a transaction of the
// caller's, and returns what says afterwards whether it applied. One that does
// not, because its fence is stale, has changed nothing. It may be run again
// after a rolled-back transaction.
type Change = func(*pgx.Batch) (applied func() bool)

// Store reads and writes rotator's schema.
type Store struct {
	pool *pgxpool.Pool
}

// New returns a Store on a pool whose schema is up to date.
func New(pool *pgxpool.Pool) *Store { return &Store{pool: pool} }

// Now returns the database's clock.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	var now time.Time
	if err := s.pool.QueryRow(ctx, `SELECT now()`).Scan(&now); err != nil {
		return time.Time{}, fmt.Errorf("reading the database's clock: %w", err)
	}
	return now, nil
}

// Setting returns a fact about the installation, empty if it is not recorded.
func (s *Store) Setting(ctx context.Context, name string) (string, error) {
	var value string
	err := s.pool.QueryRow(ctx, `SELECT value FROM rotator.setting WHERE name = $1`, name).Scan(&value)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return "", fmt.Errorf("reading setting %s: %w", name, err)
	}
	return value, nil
}

// SetSetting records a fact about the installation.
func (s *Store) SetSetting(ctx context.Context, name, value string) error {
	_, err := s.pool.Exec(ctx, `INSERT INTO rotator.setting (name, value) VALUES ($1, $2)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value, updated_at = now()`, name, value)
	if err != nil {
		return fmt.Errorf("recording setting %s: %w", name, err)
	}
	return nil
}

// change is a Change of one statement; it applies when that touches or selects a
// row.
func change(sql string, args ...any) Change {
	return func(b *pgx.Batch) func() bool {
		var tag pgconn.CommandTag
		b.Queue(sql, args...).Exec(func(t pgconn.CommandTag) error { tag = t; return nil })
		return func() bool { return touched(tag) }
	}
}

func touched(tag pgconn.CommandTag) bool { return tag.RowsAffected() > 0 }

// seconds is a duration as Postgres reads an interval.
func seconds(d time.Duration) string { return fmt.Sprintf("%f seconds", d.Seconds()) }

// Apply makes a change in a transaction of its own, for bookkeeping that no
// audit row tells of. It reports whether the change applied.
func (s *Store) Apply(ctx context.Context, c Change) (applied bool, err error) {
	var b pgx.Batch // outside of a transaction it is one
	done := c(&b)
	if err := s.pool.SendBatch(ctx, &b).Close(); err != nil {
		return false, fmt.Errorf("changing state: %w", err)
	}
	return done(), nil
}
