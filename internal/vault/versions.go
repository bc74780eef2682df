package vault

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/vault/api"
)

// Rewrite moves a path on without changing what consumers find: it writes the
// newest version's data once more, so that a publish still under way
// somewhere fails its check-and-set. Where there is no data (no version, or
// the newest is deleted), it writes a placeholder without a key and
// soft-deletes it at once. It returns the new version's number, also when
// only the soft-delete failed.
//
// The newest version must be cas, else ErrCASMismatch.
func (s *Store) Rewrite(ctx context.Context, path string, cas int) (int, error) {
	newest, err := s.Read(ctx, path)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return 0, fmt.Errorf("rewriting: %w", err)
	}
	if newest.Version != cas {
		return 0, fmt.Errorf("rewriting %s: %w: its newest version is %d, not %d", path, ErrCASMismatch, newest.Version, cas)
	}
	if newest.raw != nil && !isPlaceholder(newest.raw) {
		return s.put(ctx, path, newest.Data.KeyID, newest.raw, cas)
	}
	version, err := s.put(ctx, path, "", map[string]any{"project_id": s.projectOf(path)}, cas)
	if err != nil {
		return 0, err
	}
	return version, s.softDelete(ctx, path, version)
}

// isPlaceholder says whether data is what a Rewrite that died between write
// and soft-delete has left.
func isPlaceholder(raw map[string]any) bool {
	_, ok := raw["project_id"]
	return ok && len(raw) == 1
}

// softDelete deletes one version by its number: deleting "the newest" could
// hit one that somebody else has just written.
func (s *Store) softDelete(ctx context.Context, path string, version int) error {
	return s.drop(ctx, opDelete, "delete", path, []int{version})
}

// Destroy removes the data of versions for good. Versions that are not there
// or destroyed already are no error.
func (s *Store) Destroy(ctx context.Context, path string, versions []int) error {
	if len(versions) == 0 {
		return nil
	}
	return s.drop(ctx, opDestroy, "destroy", path, versions)
}

func (s *Store) drop(ctx context.Context, operation, endpoint, path string, versions []int) error {
	_, err := s.write(ctx, s.label(operation, endpoint, path, `"update"`), func(ctx context.Context, l *api.Logical) (*api.Secret, error) {
		return l.WriteWithContext(ctx, s.api(endpoint, path), map[string]any{"versions": versions})
	})
	if err != nil {
		return fmt.Errorf("%s of versions %v of %s: %w", endpoint, versions, path, err)
	}
	return nil
}
