package audit_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rotator/internal/audit"
)

// exported is the scene's log as JSON Lines.
func (s *scene) exported(t testing.TB) string {
	t.Helper()
	rows, err := s.pool.Query(t.Context(), "select body::text from audit.event order by seq")
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n") + "\n"
}

// check verifies an export against the witness's checkpoints.
func (w *witness) check(t testing.TB, lines io.Reader, change ...func(*audit.VerifyConfig)) *audit.Verdict {
	t.Helper()
	cfg := audit.VerifyConfig{Archive: w.archive(t), MaxAge: time.Hour}
	for _, c := range change {
		c(&cfg)
	}
	return audit.VerifyLines(t.Context(), lines, cfg)
}

func TestVerifyExport(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	text := s.exported(t)
	lines := strings.SplitAfter(text, "\n")
	join := func(lines ...string) io.Reader { return strings.NewReader(strings.Join(lines, "")) }

	v := s.check(t, strings.NewReader(text))
	wants(t, v, audit.VerifiedIntact)
	if v.Events != sceneEvents || v.Checkpoints != 3 || v.Last.Size != 60 || v.Tail.Events != 6 || v.Origin != s.origin {
		t.Errorf("%+v", v)
	}
	wants(t, s.check(t, strings.NewReader(strings.TrimSuffix(text, "\n"))), audit.VerifiedIntact)
	wants(t, s.check(t, strings.NewReader(text), func(c *audit.VerifyConfig) { c.Archive = nil }), audit.NotProvable, "nothing outside the database")

	for name, c := range map[string]struct {
		lines io.Reader
		code  int
		says  string
	}{
		"an altered body": {strings.NewReader(strings.Replace(text, `"k4"`, `"k9"`, 1)), audit.VerifiedTampered, "events 20 to 39 are not those that checkpoint 40 of"},
		"a space":         {strings.NewReader(strings.Replace(text, `{"v":1`, `{"v": 1`, 1)), audit.VerifiedTampered, "events 0 to 19 are not those"},
		"a line too few":  {join(append(lines[:30:30], lines[31:]...)...), audit.VerifiedTampered, "events 20 to 59 are not those that 2 checkpoints sign"},
		"a line twice":    {join(append(append(lines[:30:30], lines[29]), lines[30:]...)...), audit.VerifiedTampered, "event 30 (20"},
		"two lines swapped": {
			join(append(append(lines[:30:30], lines[31], lines[30]), lines[32:]...)...), audit.VerifiedTampered, "events 20 to 39 are not those",
		},
		"an end that is missing": {join(lines[:50]...), audit.NotProvable, "the log ends with event 49, but checkpoint 60 of"},
		"nothing":                {join(), audit.NotProvable, "events 0 to 59 (60 of them) are missing at the end"},
		"no JSON":                {join(lines[0], "x\n"), audit.VerifiedTampered, "the body of event 1 is not a JSON object"},
		"an empty line":          {join(lines[0], "\n", lines[1]), audit.VerifiedTampered, "the body of event 1 is not a JSON object"},
		"lines of Windows":       {strings.NewReader(strings.ReplaceAll(text, "\n", "\r\n")), audit.NotChecked, "the ends of its lines were converted"},
		"an endless line":        {strings.NewReader(strings.Repeat("x", 1<<20)), audit.NotChecked, "line 1 has more than 16384 bytes"},
		"a broken pipe":          {io.MultiReader(join(lines[0]), broken{}), audit.NotChecked, "the pipe broke"},
	} {
		wants(t, s.check(t, c.lines), c.code, c.says)
		if t.Failed() {
			t.Fatal(name)
		}
	}
	// The rest of a log that was cut shortly after: its newest checkpoint is
	// older than its last event, so it is no earlier export.
	c := headOf(t, s.pool)
	c.size, c.frontier, c.at = 90, nil, s.now.Add(-time.Minute)
	s.sign(t, c)
	wants(t, s.check(t, strings.NewReader(text)), audit.VerifiedTampered, "the log ends with event 65, but checkpoint 90")
}

// broken is a pipe that breaks.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errBroken }

type brokenError struct{}

func (brokenError) Error() string { return "the pipe broke" }

var errBroken = brokenError{}

// TestVerifyExportLate: an id that came late is looked up in a second pass
// over a file; of a pipe it is said that it was not.
func TestVerifyExportLate(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.appendRow(t, get[string](t, s.pool, `select body::text from audit.event where seq = 41`))
	text := s.exported(t)
	wants(t, s.check(t, strings.NewReader(text), audit.Window(4)), audit.VerifiedTampered, "event 66 has the id of an earlier one")
	path := filepath.Join(t.TempDir(), "export.jsonl")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read
	wants(t, s.check(t, f, audit.Window(4)), audit.VerifiedTampered, "event 66 has the id of an earlier one")
	pipe := io.MultiReader(bytes.NewReader([]byte(text)))
	wants(t, s.check(t, pipe, audit.Window(4)), audit.VerifiedIntact, "1 events or more came late, and whether one of them stands in the log twice was not looked for")
}

// TestVerifyFrom: from a checkpoint on, the events before it are not needed.
func TestVerifyFrom(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for a, err := range s.archive(t).Anchors(t.Context(), 1, 0) {
		if err != nil {
			t.Fatal(err)
		}
		from := func(c *audit.VerifyConfig) { c.From = &a }
		v := s.verify(t, s.pool, s.at, from)
		wants(t, v, audit.VerifiedIntact, "resumed from checkpoint")
		if v.First != a.Size || v.Events != sceneEvents-a.Size || v.Size != sceneEvents {
			t.Errorf("%+v", v)
		}
		rest := strings.SplitAfterN(s.exported(t), "\n", int(a.Size)+1)[a.Size]
		wants(t, s.check(t, strings.NewReader(rest), from), audit.VerifiedIntact)
	}
	bare := s.anchorOf(t, 60)
	s.store.strip(s.pathOf(t, 60), "frontier")
	for _, c := range []struct {
		from func(*audit.VerifyConfig)
		says string
	}{
		{func(c *audit.VerifyConfig) { c.From = new(s.anchorOf(t, 60)) }, "comes without the tree's right edge"},
		{func(c *audit.VerifyConfig) { a := bare; a.Epoch = 2; c.From = &a }, "is of the log"},
	} {
		wants(t, s.verify(t, s.pool, s.at, c.from), audit.NotChecked, c.says)
		wants(t, s.check(t, strings.NewReader(s.exported(t)), c.from), audit.NotChecked)
	}
	last := bare
	from := func(c *audit.VerifyConfig) { c.From = &last }
	s.edit(t, 25, 25, `"k4"`, `"k9"`)
	wants(t, s.verify(t, s.pool, s.at, from), audit.VerifiedIntact) // not looked at
	s.edit(t, 65, 65, `"k10"`, `"k9"`)
	wants(t, s.verify(t, s.pool, s.at, from), audit.VerifiedTampered, "the root in audit.head is not")
	s.disarmed(t, "delete from audit.event where seq >= 50")
	s.rehead(t)
	wants(t, s.verify(t, s.pool, s.at, from), audit.VerifiedTampered, "the log ends with event 49, but checkpoint 60 of")
}

// anchorOf is the checkpoint of a size.
func (s *scene) anchorOf(t testing.TB, size int64) audit.Anchor {
	t.Helper()
	for a, err := range s.archive(t).Anchors(t.Context(), 1, size) {
		if err != nil || a.Size != size {
			t.Fatal(a.Size, err)
		}
		return a
	}
	t.Fatalf("no checkpoint %d", size)
	return audit.Anchor{}
}

// TestVerifyDroppedPartitions: a log whose beginning was dropped is verified
// from there, if it tells of that itself.
func TestVerifyDroppedPartitions(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kept  bool   // the checkpoint at the boundary
		event string // what the event says besides
		code  int
		says  string
	}{
		"checkpoint kept":          {true, `"counters":{"first":0,"last":19,"rows":20}`, audit.VerifiedIntact, "events 0 to 19 were dropped with"},
		"only the event has it":    {false, `"counters":{"first":0,"last":19,"rows":20},"note":%q,"frontier":%q`, audit.VerifiedIntact, "events 0 to 19 were dropped with"},
		"less was dropped":         {true, `"counters":{"first":0,"last":9,"rows":10}`, audit.VerifiedTampered, "events 10 to 19 (10 of them) are missing at the log's beginning"},
		"nothing was":              {true, `"reason":"x"`, audit.VerifiedTampered, "events 0 to 19 (20 of them) are missing at the log's beginning"},
		"the rest is not the same": {true, `"counters":{"first":0,"last":19,"rows":20}`, audit.VerifiedTampered, "events 20 to 39 are not those"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			body := `{"v":1,"id":"` + idAt(s.now) + `","t_us":1795000000000000,"type":"audit.partition_dropped",` + c.event + `}`
			if strings.Contains(body, "%q") {
				fields, err := s.store.Read(t.Context(), s.pathOf(t, 20), 0)
				if err != nil {
					t.Fatal(err)
				}
				body = fmt.Sprintf(body, fields["note"], fields["frontier"])
			}
			s.appendRow(t, body)
			s.anchor(t, s.pool)
			if !c.kept {
				s.store.drop("0000000000000020")
			}
			if name == "the rest is not the same" {
				s.edit(t, 25, 25, `"k4"`, `"k9"`)
			}
			s.disarmed(t, "delete from audit.event where seq < 20")
			wants(t, s.verify(t, s.pool, s.at), c.code, c.says)
		})
	}
}

// pathOf is where the checkpoint of a size is kept.
func (s *scene) pathOf(t testing.TB, size int64) string {
	t.Helper()
	a := s.anchorOf(t, size)
	return claim{size: size, at: a.At}.path()
}

// TestVerifyPiece: a piece of a log between two checkpoints is proven by them.
func TestVerifyPiece(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	lines := strings.SplitAfter(s.exported(t), "\n")
	piece := func(from, to int) io.Reader { return strings.NewReader(strings.Join(lines[from:to], "")) }
	until := func(n int64) func(*audit.VerifyConfig) { return func(c *audit.VerifyConfig) { c.Until = n } }
	from := func(c *audit.VerifyConfig) { c.From = new(s.anchorOf(t, 20)) }

	wants(t, s.check(t, piece(0, 40)), audit.NotProvable, "events 40 to 59 (20 of them) are missing at the end")
	wants(t, s.check(t, piece(0, 40), until(40)), audit.VerifiedIntact)
	wants(t, s.check(t, piece(20, 40), from, until(40)), audit.VerifiedIntact)
	for _, to := range []int{39, 41} {
		wants(t, s.check(t, piece(20, to), from, until(40)), audit.NotProvable, "the export does not end with checkpoint 40")
	}
	wants(t, s.check(t, piece(21, 41), from, until(40)), audit.VerifiedTampered, "events 20 to 39 are not those")
}

// TestReadCheckpoint: a checkpoint is found by its size and read from a file.
func TestReadCheckpoint(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	archive := s.archive(t)
	want := s.anchorOf(t, 40)
	for _, epoch := range []int{0, 1} {
		if got, err := archive.Checkpoint(t.Context(), epoch, 40); err != nil || got.Note != want.Note || !got.Resumable() {
			t.Errorf("epoch %d: %+v, %v", epoch, got, err)
		}
	}
	for _, at := range [][2]int64{{0, 41}, {2, 40}, {1, 99}} {
		if _, err := archive.Checkpoint(t.Context(), int(at[0]), at[1]); !errors.Is(err, audit.ErrAbsent) {
			t.Errorf("epoch %d, size %d: %v", at[0], at[1], err)
		}
	}
	dir := t.TempDir()
	fields, err := s.store.Read(t.Context(), s.pathOf(t, 40), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := audit.DirStore(dir).Create(t.Context(), s.pathOf(t, 40), fields); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, s.pathOf(t, 40))
	got, err := audit.ReadCheckpoint(archive.Keys, file)
	if err != nil || got.Checkpoint != want.Checkpoint || !got.Resumable() || !got.At.Equal(want.At) {
		t.Errorf("%+v, %v", got, err)
	}
	stranger := newWitness(t, s.origin)
	if _, err := audit.ReadCheckpoint(stranger.archive(t).Keys, file); !errors.Is(err, audit.ErrForged) {
		t.Errorf("by other keys: %v", err)
	}
	if err := os.Remove(file + ".frontier"); err != nil {
		t.Fatal(err)
	}
	if got, err := audit.ReadCheckpoint(archive.Keys, file); err != nil || got.Resumable() {
		t.Errorf("the note alone: %+v, %v", got, err)
	}
	if _, err := audit.ReadCheckpoint(archive.Keys, file+"x"); err == nil {
		t.Error("no file, no error")
	}
}
