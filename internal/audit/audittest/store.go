// Package audittest holds every audit.Store to the same contract.
package audittest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/audit"
)

// Store runs the contract of audit.Store. Fresh returns an empty one each
// time. Documents are checkpoints in form: every store must take those.
func Store(t *testing.T, fresh func(t *testing.T) audit.Store) {
	t.Helper()
	for name, run := range map[string]func(*testing.T, audit.Store){
		"kept as written":    keptAsWritten,
		"written once":       writtenOnce,
		"absent":             absent,
		"versions":           versions,
		"listing":            listing,
		"one of many":        oneOfMany,
		"an ended context":   endedContext,
		"without its fields": noteOnly,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, fresh(t))
		})
	}
}

// Document is a checkpoint's document that tells itself apart by a number.
func Document(n int) map[string]string {
	return map[string]string{
		"note":        fmt.Sprintf("rotator-audit/example/1\n%d\nAAAA\n\n— rotator-audit/example AAAA%d\n", n, n),
		"frontier":    fmt.Sprintf("%08d", n),
		"anchored_at": "2026-11-22T10:00:00Z",
	}
}

func path(n int) string { return fmt.Sprintf("checkpoints/1/2026-11-22/%016d", n) }

func create(t *testing.T, s audit.Store, path string, fields map[string]string) {
	t.Helper()
	if err := s.Create(t.Context(), path, fields); err != nil {
		t.Fatalf("creating %s: %v", path, err)
	}
}

func holds(t *testing.T, s audit.Store, path string, want map[string]string) {
	t.Helper()
	got, err := s.Read(t.Context(), path, 0)
	if err != nil {
		t.Fatalf("reading %s: %v", path, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func lists(t *testing.T, s audit.Store, folder string, want ...string) {
	t.Helper()
	got, err := s.List(t.Context(), folder)
	if err != nil {
		t.Fatalf("listing %s: %v", folder, err)
	}
	if diff := cmp.Diff(want, append([]string(nil), got...)); diff != "" {
		t.Errorf("names below %s (-want +got):\n%s", folder, diff)
	}
}

func keptAsWritten(t *testing.T, s audit.Store) {
	t.Helper()
	for n, note := range []string{"one line", "one line\n", "\n\n", "— ünïcode\r\n\ttab \n"} {
		fields := Document(n)
		fields["note"] = note
		create(t, s, path(n), fields)
		holds(t, s, path(n), fields)
	}
	create(t, s, "keys/0a1b2c3d", map[string]string{"note": "a key"})
	holds(t, s, "keys/0a1b2c3d", map[string]string{"note": "a key"})
}

func writtenOnce(t *testing.T, s audit.Store) {
	t.Helper()
	create(t, s, path(7), Document(7))
	for n, fields := range []map[string]string{Document(7), Document(8), {"note": "shorter"}} {
		if err := s.Create(t.Context(), path(7), fields); !errors.Is(err, audit.ErrExists) {
			t.Errorf("creating it again with other fields (%d): %v, want ErrExists", n, err)
		}
	}
	holds(t, s, path(7), Document(7))
}

func absent(t *testing.T, s audit.Store) {
	t.Helper()
	create(t, s, path(7), Document(7))
	for _, p := range []string{path(8), "checkpoints/2/2026-11-22/0000000000000007", "keys/0a1b2c3d", "checkpoints/1/2026-11-22"} {
		if fields, err := s.Read(t.Context(), p, 0); err == nil {
			t.Errorf("reading %s, which is no document: %v", p, fields)
		} else if errors.Is(err, audit.ErrExists) || p != "checkpoints/1/2026-11-22" && !errors.Is(err, audit.ErrAbsent) {
			t.Errorf("reading %s: %v, want ErrAbsent", p, err)
		}
	}
}

func versions(t *testing.T, s audit.Store) {
	t.Helper()
	create(t, s, path(7), Document(7))
	if got, err := s.Read(t.Context(), path(7), 1); err != nil || !maps.Equal(got, Document(7)) {
		t.Errorf("the first version is %v (%v)", got, err)
	}
	if _, err := s.Read(t.Context(), path(7), 2); !errors.Is(err, audit.ErrAbsent) {
		t.Errorf("reading a second version: %v, want ErrAbsent", err)
	}
}

func listing(t *testing.T, s audit.Store) {
	t.Helper()
	lists(t, s, "checkpoints")
	lists(t, s, "checkpoints/1/2026-11-22")
	for _, n := range []int{30, 4, 100, 200000} {
		create(t, s, path(n), Document(n))
	}
	create(t, s, "checkpoints/10/2026-11-23/0000000000000005", Document(5))
	create(t, s, "checkpoints/2/2026-11-23/0000000000000005", Document(5))
	lists(t, s, "checkpoints", "1", "10", "2")
	lists(t, s, "checkpoints/1", "2026-11-22")
	lists(t, s, "checkpoints/1/2026-11-22", "0000000000000004", "0000000000000030", "0000000000000100", "0000000000200000")
	lists(t, s, "checkpoints/3")
}

// oneOfMany lets many create the same document, each with a note of its own.
func oneOfMany(t *testing.T, s audit.Store) {
	t.Helper()
	const writers = 20
	errs := make([]error, writers)
	var all sync.WaitGroup
	for n := range writers {
		all.Go(func() { errs[n] = s.Create(t.Context(), path(7), map[string]string{"note": fmt.Sprint("by ", n)}) })
	}
	all.Wait()
	winner := -1
	for n, err := range errs {
		switch {
		case err == nil && winner < 0:
			winner = n
		case err == nil:
			t.Errorf("%d and %d both created it", winner, n)
		case !errors.Is(err, audit.ErrExists):
			t.Errorf("%d: %v, want ErrExists", n, err)
		}
	}
	if winner < 0 {
		t.Fatal("nobody created it")
	}
	holds(t, s, path(7), map[string]string{"note": fmt.Sprint("by ", winner)})
	lists(t, s, "checkpoints/1/2026-11-22", "0000000000000007")
}

func endedContext(t *testing.T, s audit.Store) {
	t.Helper()
	create(t, s, path(7), Document(7))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Create(ctx, path(8), Document(8)); err == nil || errors.Is(err, audit.ErrExists) {
		t.Errorf("creating: %v", err)
	}
	if fields, err := s.Read(ctx, path(7), 0); err == nil || errors.Is(err, audit.ErrAbsent) {
		t.Errorf("reading: %v, %v", fields, err)
	}
	if names, err := s.List(ctx, "checkpoints"); err == nil {
		t.Errorf("listing: %v", names)
	}
	lists(t, s, "checkpoints/1/2026-11-22", "0000000000000007")
}

func noteOnly(t *testing.T, s audit.Store) {
	t.Helper()
	create(t, s, path(7), map[string]string{"note": "alone"})
	holds(t, s, path(7), map[string]string{"note": "alone"})
	lists(t, s, "checkpoints/1/2026-11-22", "0000000000000007")
}
