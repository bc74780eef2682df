package state

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Turn says who asks Sinch which projects there are.
type Turn int

// Turns.
const (
	Ours  Turn = iota // this process asks
	Done              // it has been asked already
	Other             // another process is asking right now
)

// Discovery is the turn to discover a parent's projects.
type Discovery struct {
	Parent string
	Owner  uuid.UUID
	Length time.Duration // until a silent process loses its turn
	Since  time.Time     // a discovery begun after that is new enough
}

// BeginDiscovery takes the turn, if it is free and nobody has had it since d.Since.
func (s *Store) BeginDiscovery(ctx context.Context, d Discovery) (Turn, error) {
	var done *time.Time
	err := s.pool.QueryRow(ctx, `
		INSERT INTO rotator.discovery AS d (parent_id, owner, begun_at, expires_at) VALUES ($1, $2, now(), now() + $3::interval)
		ON CONFLICT (parent_id) DO UPDATE SET owner = excluded.owner, begun_at = excluded.begun_at, expires_at = excluded.expires_at
		WHERE d.expires_at < now() AND (d.done_at IS NULL OR d.done_at < $4)
		RETURNING done_at`, d.Parent, d.Owner, seconds(d.Length), d.Since).Scan(&done)
	if err == nil {
		return Ours, nil
	}
	if errors.Is(err, pgx.ErrNoRows) {
		err = s.pool.QueryRow(ctx, `SELECT done_at FROM rotator.discovery WHERE parent_id = $1`, d.Parent).Scan(&done)
	}
	if err != nil {
		return Other, fmt.Errorf("taking the turn to discover projects: %w", err)
	}
	if done != nil && !done.Before(d.Since) {
		return Done, nil
	}
	return Other, nil
}

// GoOnDiscovery keeps the turn. It does nothing for a process that has lost it.
func (s *Store) GoOnDiscovery(ctx context.Context, d Discovery) error {
	_, err := s.pool.Exec(ctx, `UPDATE rotator.discovery SET expires_at = now() + $3::interval
		WHERE parent_id = $1 AND owner = $2 AND expires_at >= now()`, d.Parent, d.Owner, seconds(d.Length))
	if err != nil {
		return fmt.Errorf("keeping the turn to discover projects: %w", err)
	}
	return nil
}

// EndDiscovery gives the turn back; whole says that every project was seen.
func (s *Store) EndDiscovery(ctx context.Context, d Discovery, whole bool) error {
	_, err := s.pool.Exec(ctx, `UPDATE rotator.discovery
		SET expires_at = now() - interval '1 microsecond', done_at = CASE WHEN $3 THEN begun_at ELSE done_at END
		WHERE parent_id = $1 AND owner = $2`, d.Parent, d.Owner, whole)
	if err != nil {
		return fmt.Errorf("giving back the turn to discover projects: %w", err)
	}
	return nil
}
