package state

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// Memory is what the database knows of a project, at one instant.
type Memory struct {
	Rotations   []Rotation
	Credentials []Credential
	Own         map[string]bool // access keys that live rotator processes authenticate with
	Known       []string        // ids of keys that were last seen listed and have not been deleted since

	project string
	now     time.Time // the database's clock
	at      time.Time // when it was read, by this host's
}

// Now is the database's clock, counted on from what it was then.
func (m *Memory) Now() time.Time { return m.now.Add(m.Age()) }

// Age is how old the memory is.
func (m *Memory) Age() time.Duration { return time.Since(m.at) }

const rotationColumns = `project_id, id, credential, display_name, old_key_id, new_key_id, trigger, state, overlap, started_at, published_at, retire_at`

// Recall returns what is known of projects, in their order. Of rotations these
// are those that still matter: unfinished ones, each credential's last published
// one, and those of a key that was last seen listed; Complete adds those of keys
// that are new. It asks everything at once: a run does so for every project.
func (s *Store) Recall(ctx context.Context, projects ...string) ([]*Memory, error) {
	all, of := make([]*Memory, len(projects)), make(map[string]*Memory, len(projects))
	for i, id := range projects {
		all[i] = &Memory{project: id}
		of[id] = all[i]
	}
	var now time.Time
	var own []string
	var b pgx.Batch
	b.Queue(`SELECT now()`).QueryRow(func(row pgx.Row) error { return row.Scan(&now) })
	b.Queue(ownKeys).Query(into(&own, pgx.RowTo[string]))
	b.Queue(`
		SELECT `+rotationColumns+` FROM rotator.rotation r
		WHERE project_id = ANY ($1) AND (state NOT IN ('published', 'failed')
			OR EXISTS (SELECT FROM rotator.access_key k WHERE k.project_id = r.project_id AND k.key_id IN (r.new_key_id, r.old_key_id) AND k.gone_at IS NULL)
			OR id IN (SELECT DISTINCT ON (project_id, credential) id FROM rotator.rotation
				WHERE project_id = ANY ($1) AND state = 'published' ORDER BY project_id, credential, published_at DESC))`,
		projects).Query(deal(of, nextRotation))
	b.Queue(`SELECT project_id, name, current_key_id, failures, not_before FROM rotator.credential WHERE project_id = ANY ($1)`,
		projects).Query(deal(of, nextCredential))
	b.Queue(`SELECT project_id, key_id FROM rotator.access_key WHERE project_id = ANY ($1) AND gone_at IS NULL`,
		projects).Query(deal(of, nextKnown))
	if err := s.pool.SendBatch(ctx, &b).Close(); err != nil {
		return nil, fmt.Errorf("recalling %d projects: %w", len(projects), err)
	}
	at := time.Now()
	for _, m := range all {
		m.Own, m.now, m.at = set(own), now, at
	}
	return all, nil
}

// Complete adds the rotations of a listing's keys, and those whose ids stand in
// their names, as far as they were not recalled.
func (s *Store) Complete(ctx context.Context, m *Memory, keys, ids []string) error {
	known := set(m.Known)
	recalled := []string{}
	for _, r := range m.Rotations {
		known[r.ID] = true
		recalled = append(recalled, r.ID)
	}
	isKnown := func(name string) bool { return known[name] }
	keys, ids = slices.DeleteFunc(slices.Clone(keys), isKnown), slices.DeleteFunc(slices.Clone(ids), isKnown)
	if len(keys)+len(ids) == 0 {
		return nil
	}
	rows, err := s.pool.Query(ctx, `SELECT `+rotationColumns+` FROM rotator.rotation
		WHERE project_id = $1 AND (id = ANY ($3) OR new_key_id = ANY ($2) OR old_key_id = ANY ($2)) AND NOT id = ANY ($4)`,
		m.project, list(keys), list(ids), recalled)
	if err == nil {
		err = deal(map[string]*Memory{m.project: m}, nextRotation)(rows)
	}
	if err != nil {
		return fmt.Errorf("recalling project %s: %w", m.project, err)
	}
	return nil
}

// deal gives each row, whose first column is a project, to that one's memory:
// next says where the other columns go, and how to keep them then.
func deal(of map[string]*Memory, next func() (columns []any, keep func(*Memory))) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		defer rows.Close()
		for rows.Next() {
			var project string
			columns, keep := next()
			if err := rows.Scan(append([]any{&project}, columns...)...); err != nil {
				return err //nolint:wrapcheck // by the caller
			}
			keep(of[project])
		}
		return rows.Err()
	}
}

func nextRotation() ([]any, func(*Memory)) {
	var r Rotation
	return []any{
		&r.ID, &r.Credential, &r.DisplayName, &r.OldKeyID, &r.NewKeyID, &r.Trigger, &r.State, &r.Overlap, &r.StartedAt, &r.PublishedAt, &r.RetireAt,
	}, func(m *Memory) { m.Rotations = append(m.Rotations, r) }
}

func nextCredential() ([]any, func(*Memory)) {
	var c Credential
	return []any{&c.Name, &c.CurrentKeyID, &c.Failures, &c.NotBefore}, func(m *Memory) { m.Credentials = append(m.Credentials, c) }
}

func nextKnown() ([]any, func(*Memory)) {
	var key string
	return []any{&key}, func(m *Memory) { m.Known = append(m.Known, key) }
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
