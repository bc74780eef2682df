package audit

import (
	"context"
	"errors"
)

// Store keeps small documents outside the database: checkpoints and the keys
// that sign them. Each is written once. Paths are relative and joined by "/".
// Vault is one, a directory is another.
type Store interface {
	// Create writes a document that is not there yet, or returns ErrExists.
	// After any other error it may or may not have been written.
	Create(ctx context.Context, path string, fields map[string]string) error
	// Read returns a document, or ErrAbsent. Version 0 is the newest; only
	// the signing key ever has older ones, from 1 on.
	Read(ctx context.Context, path string, version int) (map[string]string, error)
	// List returns the sorted names below a folder, without it; those that
	// are folders themselves without a slash at the end. No folder, no names.
	List(ctx context.Context, folder string) ([]string, error)
}

// ErrExists means that a Store holds a document of that path already.
var ErrExists = errors.New("document exists already")

// ErrAbsent means that a Store has no such document.
var ErrAbsent = errors.New("no such document")
