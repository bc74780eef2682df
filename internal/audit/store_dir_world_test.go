package audit_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"rotator/internal/audit"
)

// put writes a file of a directory, and the folders that it needs.
func put(t *testing.T, dir, name, text string) {
	t.Helper()
	full := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// kept are all regular files of a directory, with what they hold.
func kept(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		found[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func mustCreate(t *testing.T, dir string, fields map[string]string) {
	t.Helper()
	if err := audit.DirStore(dir).Create(t.Context(), somePath, fields); err != nil {
		t.Fatal(err)
	}
}

// patient is a shelf that looks at its context.
type patient struct{ *shelf }

func (p patient) Create(ctx context.Context, path string, fields map[string]string) error {
	return p.unless(ctx, func() error { return p.shelf.Create(ctx, path, fields) })
}

func (p patient) Read(ctx context.Context, path string, version int) (fields map[string]string, err error) {
	err = p.unless(ctx, func() error {
		fields, err = p.shelf.Read(ctx, path, version)
		return err
	})
	return fields, err
}

func (p patient) List(ctx context.Context, folder string) (names []string, err error) {
	err = p.unless(ctx, func() error {
		names, err = p.shelf.List(ctx, folder)
		return err
	})
	return names, err
}

func (patient) unless(ctx context.Context, do func() error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return do()
}
