package state

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Discovered is a project that a run's discovery has seen.
type Discovered struct {
	ID, ParentID, Name string
	Labels             map[string]string
	CreatedAt          *time.Time
}

// Discover notes projects that Sinch has just listed, a page at a time. Of a
// project that is on the page twice, one will do.
func (s *Store) Discover(ctx context.Context, page []Discovered) error {
	var ids, parents, names []string
	var labels []map[string]string
	var created []*time.Time
	for _, d := range page {
		if d.Labels == nil {
			d.Labels = map[string]string{}
		}
		ids, parents, names = append(ids, d.ID), append(parents, d.ParentID), append(names, d.Name)
		labels, created = append(labels, d.Labels), append(created, d.CreatedAt)
	}
	_, err := s.pool.Exec(ctx, `
		INSERT INTO rotator.project (id, parent_id, name, labels, created_at)
		SELECT DISTINCT ON (id) * FROM unnest($1::text[], $2::text[], $3::text[], $4::jsonb[], $5::timestamptz[]) AS page (id, parent_id, name, labels, created_at)
		ON CONFLICT (id) DO UPDATE SET parent_id = excluded.parent_id, name = excluded.name,
			labels = excluded.labels, created_at = excluded.created_at, seen_at = now(), gone_at = NULL`,
		ids, parents, names, labels, created)
	if err != nil {
		return fmt.Errorf("noting discovered projects: %w", err)
	}
	return nil
}

// Vanished marks the projects that a complete discovery, begun at since, has
// not seen: they were deleted at Sinch. They come back when they are seen again. It returns
// how many there were.
func (s *Store) Vanished(ctx context.Context, since time.Time) (int64, error) {
	tag, err := s.pool.Exec(ctx, `UPDATE rotator.project SET gone_at = now()
		WHERE gone_at IS NULL AND seen_at < $1`, since)
	if err != nil {
		return 0, fmt.Errorf("marking vanished projects: %w", err)
	}
	return tag.RowsAffected(), nil
}

// Credential is a credential's row.
type Credential struct {
	Name         string
	CurrentKeyID string
	Failures     int
	NotBefore    *time.Time
}

// CurrentKey returns the key that was published last for a credential, as far
// as is known; "" is none.
func (s *Store) CurrentKey(ctx context.Context, project, name string) (string, error) {
	var key string
	err := s.pool.QueryRow(ctx, `SELECT current_key_id FROM rotator.credential WHERE project_id = $1 AND name = $2`, project, name).Scan(&key)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return "", fmt.Errorf("looking up the current key of %s: %w", name, err)
	}
	return key, nil
}

// CredentialFailed is a Change that notes a failed attempt; the credential
// is left alone for a while after the second in a row.
func (l *Lease) CredentialFailed(name, path, message string, failures int) Change {
	return l.makes(`
		INSERT INTO rotator.credential AS c (project_id, name, vault_path, failures, not_before, last_error)
		SELECT $1, $3, $4, $5::integer, now() + $6::interval, $7 FROM held
		ON CONFLICT (project_id, name) DO UPDATE
		SET failures = excluded.failures, not_before = excluded.not_before, last_error = excluded.last_error`,
		name, path, failures, seconds(Backoff(failures)), message)
}
