package state

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Pause is the stop switch: who threw it, why, and when.
type Pause struct {
	Reason, Actor string
	Since         time.Time
}

// Paused returns the pause that is on, or nil.
func (s *Store) Paused(ctx context.Context) (*Pause, error) {
	var p Pause
	err := s.pool.QueryRow(ctx, `SELECT reason, actor, paused_at FROM rotator.pause`).Scan(&p.Reason, &p.Actor, &p.Since)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // no pause is an answer, not an error
	}
	if err != nil {
		return nil, fmt.Errorf("asking whether rotator is paused: %w", err)
	}
	return &p, nil
}

// PauseAll is a Change that stops all work; it does not apply when a pause is
// on already.
func PauseAll(reason, actor string) Change {
	return change(`INSERT INTO rotator.pause (reason, actor) VALUES ($1, $2) ON CONFLICT DO NOTHING`, reason, actor)
}

// ResumeAll is a Change that ends the pause; it does not apply when there is
// none.
func ResumeAll() Change { return change(`DELETE FROM rotator.pause`) }
