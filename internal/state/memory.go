package state

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Memory is what the database knows of a project, at one instant.
type Memory struct {
	Now         time.Time // the database's clock
	Rotations   []Rotation
	Credentials []Credential
	Own         map[string]bool // access keys that live rotator processes authenticate with
	Known       []string        // ids of keys that were last seen listed and have not been deleted since
}

// Recall returns what is known of a project whose listing shows these keys,
// with these rotation ids in their names. Of rotations it returns those that
// still matter: unfinished ones, those with one of the keys or one of the ids,
// and each credential's last published one. It asks everything at once: a run
// does so for every project that it looks at.
func (s *Store) Recall(ctx context.Context, project string, keys, ids []string) (*Memory, error) {
	var m Memory
	var b pgx.Batch
	b.Queue(`SELECT now()`).QueryRow(func(row pgx.Row) error { return row.Scan(&m.Now) })
	b.Queue(`
		SELECT id, credential, display_name, old_key_id, new_key_id, trigger, state, overlap,
			started_at, published_at, retire_at
		FROM rotator.rotation
		WHERE project_id = $1 AND (state NOT IN ('published', 'failed')
			OR id = ANY ($3) OR new_key_id = ANY ($2) OR old_key_id = ANY ($2)
			OR id IN (SELECT DISTINCT ON (credential) id FROM rotator.rotation
				WHERE project_id = $1 AND state = 'published' ORDER BY credential, published_at DESC))`,
		project, list(keys), list(ids)).Query(into(&m.Rotations, pgx.RowToStructByPos[Rotation]))
	b.Queue(`SELECT name, current_key_id, failures, not_before FROM rotator.credential WHERE project_id = $1`,
		project).Query(into(&m.Credentials, pgx.RowToStructByPos[Credential]))
	var own []string
	b.Queue(ownKeys).Query(into(&own, pgx.RowTo[string]))
	b.Queue(`SELECT key_id FROM rotator.access_key WHERE project_id = $1 AND gone_at IS NULL`,
		project).Query(into(&m.Known, pgx.RowTo[string]))
	if err := s.pool.SendBatch(ctx, &b).Close(); err != nil {
		return nil, fmt.Errorf("recalling project %s: %w", project, err)
	}
	m.Own = set(own)
	return &m, nil
}

// into puts a query's rows into all.
func into[T any](all *[]T, to pgx.RowToFunc[T]) func(pgx.Rows) error {
	return func(rows pgx.Rows) (err error) {
		*all, err = pgx.CollectRows(rows, to)
		return err //nolint:wrapcheck // by the batch's caller
	}
}

func set(names []string) map[string]bool {
	all := make(map[string]bool, len(names))
	for _, n := range names {
		all[n] = true
	}
	return all
}
