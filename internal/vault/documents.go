package vault

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/vault/api"

	"rotator/internal/call"
)

// Documents are small records below a prefix of their own, each written once:
// the audit log's checkpoints and keys (AUDIT.md section 3). Paths are
// relative to the prefix: plain components (letters, digits, ".", "_" and
// "-", at most 100) joined by "/"; any other is ErrRejected and not sent. It
// is safe for concurrent use.
//
// A login needs no more than create and read on data/ and list on metadata/
// (deploy/vault/rotator.hcl), so that it can neither change nor remove what it
// has written.
type Documents struct {
	store  *Store
	prefix string
}

// Documents returns the documents below a prefix of the store's mount. A
// prefix that is not made of plain components is ErrConfig.
func (s *Store) Documents(prefix string) (*Documents, error) {
	prefix = strings.Trim(prefix, "/")
	if !plainPath(prefix) {
		return nil, fmt.Errorf("%w: prefix %q must be plain path components joined by /", ErrConfig, prefix)
	}
	return &Documents{store: s, prefix: prefix}, nil
}

// Create writes a document's first version, sent once. Fields may hold a
// secret: they are neither logged nor recorded.
//
// ErrExists means that the path is taken, also by a version that has been
// deleted since; ErrStateUnknown that the caller has to read to know; ErrDenied
// that the login may not create there.
func (d *Documents) Create(ctx context.Context, path string, fields map[string]string) error {
	full, err := d.path(path)
	if err != nil {
		return fmt.Errorf("creating: %w", err)
	}
	if len(fields) == 0 {
		return fmt.Errorf("creating %s: %w: a document needs fields", full, ErrRejected)
	}
	l := d.store.label(opWrite, "data", full, `"create", "read"`)
	answer, err := d.store.write(ctx, l, func(ctx context.Context, lg *api.Logical) (*api.Secret, error) {
		return lg.WriteWithContext(ctx, l.api, map[string]any{
			"data": fields, "options": map[string]any{"cas": 0},
		})
	})
	switch {
	case errors.Is(err, ErrCASMismatch):
		err = ErrExists
	case errors.Is(err, ErrDenied) && !errors.Is(err, call.ErrNotSent):
		err = d.whyDenied(ctx, full, err)
	case err == nil && (answer == nil || integer(answer.Data["version"]) == 0):
		err = fmt.Errorf("%w: %w: the answer names no version", ErrStateUnknown, ErrUnreachable)
	}
	if err != nil {
		return fmt.Errorf("creating %s: %w", full, err)
	}
	return nil
}

// whyDenied tells a path that is taken from a policy that grants too little:
// to write where something is, Vault asks for "update", which a login that is
// meant to write once does not have. Nothing was written either way.
func (d *Documents) whyDenied(ctx context.Context, full string, denied error) error {
	_, err := d.store.Read(ctx, full) // a deleted version is no error here
	switch {
	case err == nil:
		return ErrExists
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrDenied):
		return denied
	}
	return fmt.Errorf("finding out why Vault has denied it: %w", err)
}

// Read returns the fields of a document's newest version. ErrNotFound means
// that there is no document, or (its text says so) that this version has been
// deleted or destroyed; ErrRejected that it holds something else than text.
func (d *Documents) Read(ctx context.Context, path string) (map[string]string, error) {
	return d.ReadVersion(ctx, path, 0)
}

// ReadVersion is Read of version n, from 1 on; 0 is the newest. Versions that
// have fallen off the end of the list (Vault keeps ten by default) are
// ErrNotFound.
func (d *Documents) ReadVersion(ctx context.Context, path string, n int) (map[string]string, error) {
	v, err := d.version(ctx, path, n)
	if err != nil {
		return nil, err
	}
	switch full := d.prefix + "/" + path; {
	case v.Destroyed:
		return nil, fmt.Errorf("reading %s: %w: version %d has been destroyed", full, ErrNotFound, v.Version)
	case v.Deleted:
		return nil, fmt.Errorf("reading %s: %w: version %d has been deleted, and can be undeleted", full, ErrNotFound, v.Version)
	case v.raw == nil:
		return nil, fmt.Errorf("reading %s: %w: version %d has no fields", full, ErrRejected, v.Version)
	}
	fields := make(map[string]string, len(v.raw))
	for _, name := range slices.Sorted(maps.Keys(v.raw)) {
		text, ok := v.raw[name].(string)
		if !ok {
			return nil, fmt.Errorf("reading %s/%s: %w: field %q of version %d is no text", d.prefix, path, ErrRejected, call.Clean(name, 100), v.Version)
		}
		fields[name] = text
	}
	return fields, nil
}

// Versions returns the number of a document's newest version, whether or not
// it can still be read: the one to count down from, to 1, when older ones are
// wanted. ErrNotFound means that there has never been one.
func (d *Documents) Versions(ctx context.Context, path string) (newest int, err error) {
	v, err := d.version(ctx, path, 0)
	return v.Version, err
}

func (d *Documents) version(ctx context.Context, path string, n int) (Secret, error) {
	full, err := d.path(path)
	if err == nil && n < 0 {
		err = fmt.Errorf("%w: there is no version %d of %s", ErrRejected, n, full)
	}
	if err != nil {
		return Secret{}, fmt.Errorf("reading: %w", err)
	}
	return d.store.ReadVersion(ctx, full, n)
}

// List returns the sorted names directly below a folder, folders with a slash
// at the end; "" is the prefix itself. No such folder is an empty list.
//
// KV v2 has no pages: all names come in one answer, of which call.BodyLimit
// (1 MiB) is read. That is room for some 55,000 names of 16 digits (19 bytes
// each in JSON), against 1,440 checkpoints a day at one a minute. A larger
// folder is ErrUnreachable.
func (d *Documents) List(ctx context.Context, folder string) ([]string, error) {
	full := d.prefix
	if folder = strings.TrimSuffix(folder, "/"); folder != "" {
		var err error
		if full, err = d.path(folder); err != nil {
			return nil, fmt.Errorf("listing: %w", err)
		}
	}
	names, err := d.store.List(ctx, full)
	slices.Sort(names)
	return names, err
}

// path is a document's path below the mount.
func (d *Documents) path(relative string) (string, error) {
	if !plainPath(relative) {
		return "", fmt.Errorf("%w: %q is not made of plain path components", ErrRejected, relative)
	}
	return d.prefix + "/" + relative, nil
}
