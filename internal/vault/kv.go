package vault

import (
	"context"
	"fmt"
	"strconv"

	"github.com/hashicorp/vault/api"
)

// Read returns the newest version of a path. A soft-deleted or destroyed one
// comes back as such, without data and without an error; a path without
// versions is ErrNotFound.
func (s *Store) Read(ctx context.Context, path string) (Secret, error) {
	return s.ReadVersion(ctx, path, 0)
}

// ReadVersion returns one version of a path; 0 is the newest.
func (s *Store) ReadVersion(ctx context.Context, path string, n int) (Secret, error) {
	var query map[string][]string
	if n > 0 {
		query = map[string][]string{"version": {strconv.Itoa(n)}}
	}
	answer, err := s.read(ctx, s.label(opRead, "data", path, `"read"`), func(ctx context.Context, l *api.Logical) (*api.Secret, error) {
		return l.ReadWithDataWithContext(ctx, s.api("data", path), query)
	})
	if err != nil {
		return Secret{}, fmt.Errorf("reading %s: %w", path, err)
	}
	if answer == nil || answer.Data == nil {
		return Secret{}, fmt.Errorf("reading %s: %w", path, ErrNotFound)
	}
	v := parseSecret(answer.Data)
	if v.Version == 0 {
		return Secret{}, fmt.Errorf("reading %s: %w: the answer is not of KV version 2", path, ErrRejected)
	}
	return v, nil
}

// Put writes the next version of a path and returns its number, provided that
// the newest one's is cas (0: that there is none). It is sent once. The data
// must name a key and its secret: a path must never lead consumers nowhere.
//
// ErrCASMismatch means that somebody else was first, ErrStateUnknown that the
// caller has to read to know.
func (s *Store) Put(ctx context.Context, path string, d Data, cas int) (int, error) {
	if d.ProjectID == "" || d.KeyID == "" || d.KeySecret.IsZero() {
		return 0, fmt.Errorf("writing %s: %w: project, key id and secret must be there", path, ErrRejected)
	}
	return s.put(ctx, path, d.KeyID, d.fields(), cas)
}

func (s *Store) put(ctx context.Context, path, key string, fields map[string]any, cas int) (int, error) {
	l := s.label(opWrite, "data", path, `"create", "update"`)
	l.key, l.cas = key, cas
	answer, err := s.write(ctx, l, func(ctx context.Context, lg *api.Logical) (*api.Secret, error) {
		return lg.WriteWithContext(ctx, s.api("data", path), map[string]any{
			"data": fields, "options": map[string]any{"cas": cas},
		})
	})
	if err != nil {
		return 0, fmt.Errorf("writing %s: %w", path, err)
	}
	if answer == nil || integer(answer.Data["version"]) == 0 {
		return 0, fmt.Errorf("writing %s: %w: the answer names no version", path, ErrStateUnknown)
	}
	return integer(answer.Data["version"]), nil
}

// Confirm reads the path again: its newest version must be the given one and
// hold exactly d. Anything else is ErrMismatch.
func (s *Store) Confirm(ctx context.Context, path string, version int, d Data) error {
	got, err := s.Read(ctx, path)
	switch {
	case err != nil:
		return fmt.Errorf("confirming version %d: %w", version, err)
	case got.Version != version:
		return fmt.Errorf("confirming %s: %w: its newest version is %d, not %d", path, ErrMismatch, got.Version, version)
	case got.Deleted || got.Destroyed:
		return fmt.Errorf("confirming %s: %w: version %d has been deleted", path, ErrMismatch, version)
	case !got.Data.equal(d) || len(got.Other) > 0:
		return fmt.Errorf("confirming %s: %w: the data of version %d differs", path, ErrMismatch, version)
	}
	return nil
}
