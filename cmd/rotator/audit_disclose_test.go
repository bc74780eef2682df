package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rotator/internal/audit"
	"rotator/internal/jobs"
	"rotator/internal/postgres/pgtest"
)

// TestDeliver: a file appears when it is complete and logged, and only then;
// what was there before stays until then.
func TestDeliver(t *testing.T) {
	t.Parallel()
	whole := func(w io.Writer) (audit.Disclosure, error) {
		_, err := io.WriteString(w, "new\n")
		return audit.Disclosure{ID: audit.NewDisclosureID(), What: "export"}, err
	}
	half := func(w io.Writer) (audit.Disclosure, error) {
		_, err := io.WriteString(w, "ne")
		return audit.Disclosure{}, errors.Join(err, errors.New("the database is gone"))
	}
	broken := func(io.Writer) (audit.Disclosure, error) { return audit.Disclosure{}, audit.ErrBody }
	for name, c := range map[string]struct {
		write  func(io.Writer) (audit.Disclosure, error)
		closed bool // the log takes nothing any more
		ended  bool // the context has ended
		code   int
		says   string
	}{
		"whole":       {write: whole, code: jobs.ExitConverged},
		"half":        {write: half, code: jobs.ExitDown, says: "the database is gone"},
		"interrupted": {write: half, ended: true, code: jobs.ExitDown, says: "interrupted, it is not complete"},
		"broken log":  {write: broken, code: jobs.ExitUsage, says: "not as rotator writes events"},
		"not logged":  {write: whole, closed: true, code: jobs.ExitDown, says: "logging what was read out"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, file := newDisclosing(t), filepath.Join(t.TempDir(), "x.csv")
			if err := os.WriteFile(file, []byte("old\n"), 0o644); err != nil { // #nosec G306 -- so that the new mode shows
				t.Fatal(err)
			}
			if c.closed {
				if err := d.log.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if c.ended {
				cancel()
			}
			d.file = file
			err := d.deliver(ctx, c.write)
			code, want := jobs.ExitConverged, "new\n"
			if err != nil {
				code, want = exitCode(err), "old\n"
			}
			if code != c.code || err != nil && !strings.Contains(err.Error(), c.says) || (err == nil) != (c.says == "") {
				t.Errorf("exit code %d, %v; want %d, %q", code, err, c.code, c.says)
			}
			text, err := os.ReadFile(file)
			if err != nil || string(text) != want {
				t.Errorf("the file holds %q (%v), want %q", text, err, want)
			}
			if info, err := os.Stat(file); want == "new\n" && (err != nil || info.Mode() != 0o600) {
				t.Errorf("the file's mode is %v (%v), want 0600", info.Mode(), err)
			}
			entries, err := os.ReadDir(filepath.Dir(file))
			if err != nil || len(entries) != 1 {
				t.Errorf("left behind: %v (%v)", entries, err)
			}
		})
	}
}

// newDisclosing returns a command on a database of its own.
func newDisclosing(t *testing.T) *disclosing {
	t.Helper()
	d := &disclosing{pool: pgtest.New(t), logger: slog.New(slog.DiscardHandler), out: &bytes.Buffer{}}
	var err error
	if d.log, err = audit.Open(t.Context(), audit.Config{Pool: d.pool}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.close(t.Context()) })
	return d
}
