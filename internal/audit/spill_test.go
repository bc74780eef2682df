package audit_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"rotator/internal/audit"
)

// stamped is an outcome as Log.Stamp would leave it.
func stamped(reason string) audit.Event {
	return audit.Event{
		V: audit.Version, ID: uuid.Must(uuid.NewV7()).String(), TimeUS: time.Now().UnixMicro(),
		Type: audit.APICall, Phase: audit.Result, Call: uuid.NewString(), Op: "access_keys.create", Status: 201, Reason: reason,
	}
}

func openSpill(t testing.TB, dir, process string) *audit.Spill {
	t.Helper()
	s, err := audit.OpenSpill(dir, process)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// bodies returns what a spill file of the events must hold.
func bodies(t testing.TB, events ...audit.Event) string {
	t.Helper()
	var all strings.Builder
	for _, e := range events {
		body, err := e.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		all.Write(append(body, '\n'))
	}
	return all.String()
}

// files returns the names in a directory with what they hold.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		found[e.Name()] = string(text)
	}
	return found
}

func TestSpillWrite(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state", "spill")
	s := openSpill(t, dir, "host-1")
	if got := files(t, dir); len(got) != 0 || !s.Empty() {
		t.Errorf("before the first write: %v, empty=%v", got, s.Empty())
	}
	a, b, c := stamped("a\x00\n<&>"), stamped("b"), audit.Event{V: 1, ID: uuid.NewString(), TimeUS: 1, Type: audit.RunFinished}
	if err := errors.Join(s.Write(), s.Write(a), s.Write(b, c)); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"spill-host-1.jsonl": bodies(t, a, b, c)}
	if diff := cmp.Diff(want, files(t, dir)); diff != "" || s.Empty() {
		t.Errorf("spilled (-want +got), empty=%v:\n%s", s.Empty(), diff)
	}
	for path, mode := range map[string]fs.FileMode{dir: fs.ModeDir | 0o700, filepath.Join(dir, "spill-host-1.jsonl"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v %v, want %v", path, info.Mode(), err, mode)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Write(a); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("writing after Close: %v", err)
	}
	if diff := cmp.Diff(want, files(t, dir)); diff != "" {
		t.Errorf("after Close (-want +got):\n%s", diff)
	}
}

func TestSpillRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openSpill(t, dir, "p")
	for name, change := range map[string]func(*audit.Event){
		"intent":     func(e *audit.Event) { e.Phase = audit.Intent },
		"no id":      func(e *audit.Event) { e.ID = "" },
		"no version": func(e *audit.Event) { e.V = 0 },
		"no time":    func(e *audit.Event) { e.TimeUS = 0 },
		"no type":    func(e *audit.Event) { e.Type = "" },
		"far future": func(e *audit.Event) { e.TimeUS = 1 << 60 },
	} {
		bad := stamped(name)
		change(&bad)
		if err := s.Write(stamped("good"), bad); !errors.Is(err, audit.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("something was written: %v", got)
	}
	for _, process := range []string{"", "../p", "a/b", "a\x00"} {
		if _, err := audit.OpenSpill(dir, process); err == nil {
			t.Errorf("process %q was accepted", process)
		}
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "dir")} {
		if _, err := audit.OpenSpill(dir, "p"); err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "AUDIT_SPILL_DIR") {
			t.Errorf("a directory that cannot be: %v", err)
		}
	}
}

// TestSpillKeepsToItself: what a predecessor of the same name left, and what
// a living namesake writes, is neither overwritten nor continued; a removed
// file is made anew.
func TestSpillKeepsToItself(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, second := openSpill(t, dir, "p"), openSpill(t, dir, "p")
	a, b, c := stamped("a"), stamped("b"), stamped("c")
	if err := errors.Join(first.Write(a), second.Write(b)); err != nil {
		t.Fatal(err)
	}
	got := files(t, dir)
	if len(got) != 2 || got["spill-p.jsonl"] != bodies(t, a) {
		t.Errorf("two of one name: %v", got)
	}
	if err := errors.Join(os.Remove(filepath.Join(dir, "spill-p.jsonl")), first.Write(c)); err != nil {
		t.Fatal(err)
	}
	if got := files(t, dir)["spill-p.jsonl"]; got != bodies(t, c) {
		t.Errorf("after its removal the file holds %q", got)
	}
	if err := errors.Join(first.Close(), openSpill(t, dir, "p").Write(a)); err != nil {
		t.Fatal(err)
	}
	if got := files(t, dir); len(got) != 3 || got["spill-p.jsonl"] != bodies(t, c) {
		t.Errorf("beside a predecessor's file: %v", got)
	}
}

// TestLock: one holder at a time, and none of a file that was removed by an
// earlier one.
func TestLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	var f [2]*os.File
	for i := range f {
		var err error
		if f[i], err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
			t.Fatal(err)
		}
		defer f[i].Close() //nolint:errcheck // a test file
	}
	for i, want := range []bool{true, false} {
		if got, err := audit.Lock(f[i]); got != want || err != nil {
			t.Errorf("lock %d: %v %v, want %v", i, got, err, want)
		}
	}
	if err := errors.Join(os.Remove(path), f[0].Close()); err != nil {
		t.Fatal(err)
	}
	if got, err := audit.Lock(f[1]); got || err != nil {
		t.Errorf("lock of a removed file: %v %v", got, err)
	}
}

func TestSpillConcurrently(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openSpill(t, dir, "p")
	var g errgroup.Group
	for w := range 8 {
		g.Go(func() error {
			for i := range 20 {
				if err := s.Write(stamped(fmt.Sprint(w, " ", i)), stamped("second")); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(files(t, dir)["spill-p.jsonl"], "\n")
	for i, line := range lines[:len(lines)-1] {
		if _, err := audit.ParseLine([]byte(strings.TrimSuffix(line, "\n"))); err != nil {
			t.Errorf("line %d: %v", i, err)
		}
		if second := strings.Contains(line, `"second"`); second != (i%2 == 1) {
			t.Errorf("line %d stands apart from the others of its write", i)
		}
	}
	if len(lines) != 321 {
		t.Errorf("%d lines, want 320", len(lines)-1)
	}
}

// TestParseLineTakesWhatMarshalWrites: whatever was spilled can be replayed.
func TestParseLineTakesWhatMarshalWrites(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
		e := stamped(text.Draw(t, "reason"))
		e.Error, e.URL, e.Credential, e.DisplayName = text.Draw(t, "error"), text.Draw(t, "url"), text.Draw(t, "credential"), strings.Repeat(text.Draw(t, "name"), 40)
		e.RetireAt = time.Unix(rapid.Int64().Draw(t, "seconds"), rapid.Int64().Draw(t, "ns"))
		e.Counters = rapid.MapOf(text, rapid.Int64()).Draw(t, "counters")
		e.Keys = []audit.Key{{ID: text.Draw(t, "id"), Created: e.RetireAt}}
		body, err := e.Marshal()
		if err != nil {
			t.Skip(err)
		}
		if id, err := audit.ParseLine(body); err != nil || id.String() != e.ID {
			t.Fatalf("%s: %v %v", body, id, err)
		}
		if _, err := audit.ParseLine(body[:len(body)-1]); err == nil {
			t.Fatalf("a torn line was accepted: %s", body)
		}
	})
}

// FuzzParseLine: what it accepts reads back as the event that it is.
func FuzzParseLine(f *testing.F) {
	f.Add([]byte(bodies(f, stamped("seed"))))
	for _, line := range hostileLines(f) {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		id, err := audit.ParseLine(line)
		if (err == nil) == (id == uuid.Nil) && err != nil {
			t.Errorf("an error and an id: %v %v", id, err)
		}
		if err != nil && !errors.Is(err, audit.ErrInvalid) {
			t.Errorf("not ErrInvalid: %v", err)
		}
		if err == nil && (len(line) > audit.BodyLimit || strings.ContainsAny(string(line), "\n\x00")) {
			t.Errorf("accepted %q", line)
		}
	})
}
