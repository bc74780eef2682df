package audit_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"rotator/internal/audit"
)

// randomLog is a log in memory with checkpoints at random sizes.
type randomLog struct {
	rows    []audit.Row
	head    audit.Head
	anchors []int64
	bare    bool // a checkpoint comes without the tree's right edge
	witness *witness
}

var randomStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// randomEvents are what a log may hold: reads, changes that are announced and
// end, open ones among the last.
func randomEvents(t *rapid.T, n int) []audit.Event {
	events := make([]audit.Event, 0, n)
	var open []audit.Event
	for i := range n {
		at := randomStart.Add(time.Duration(i) * time.Second)
		e := audit.Event{Type: audit.KeySuperseded, Project: "p", Key: fmt.Sprint("k", i)}
		switch kind := rapid.IntRange(0, 5).Draw(t, "kind"); {
		case kind == 0:
			e = audit.Event{
				Type: audit.APICall, Phase: audit.Intent, Op: "access_keys.create", Method: "POST", Attempt: 1,
				Call: idAt(at), Project: rapid.StringN(0, 20, -1).Draw(t, "project"),
			}
			open = append(open, e)
		case kind == 1 && len(open) > 0:
			e = open[0]
			open = open[1:]
			e.Phase, e.Outcome, e.Status = audit.Result, audit.OK, 201
		case kind == 2:
			e = audit.Event{Type: audit.APICall, Phase: audit.Result, Op: "access_keys.list", Call: idAt(at), Outcome: audit.Unknown, Error: rapid.String().Draw(t, "error")}
		}
		e.ID, e.TimeUS, e.V = idAt(at), at.UnixMicro(), audit.Version
		events = append(events, e)
	}
	return events
}

// idAt is a UUIDv7 of a time.
func idAt(t time.Time) string {
	id := uuid.Must(uuid.NewV7())
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(t.UnixMilli())<<16)
	copy(id[:6], ms[:6])
	return id.String()
}

// drawLog makes a log whose last checkpoint covers at least one event.
func drawLog(tb testing.TB, t *rapid.T) *randomLog {
	tb.Helper()
	n := rapid.IntRange(1, 60).Draw(t, "events")
	l := &randomLog{witness: newWitness(tb, "log")}
	var tree audit.Tree
	for i, e := range randomEvents(t, n) {
		body, err := e.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		l.rows = append(l.rows, audit.RowOf(int64(i), body))
		tree = tree.Append(leaf(body))
		if size := int64(i + 1); rapid.IntRange(0, 3).Draw(t, "anchored") == 0 || size == int64(n) && l.anchors == nil {
			c := claim{size: size, root: tree.Root(), at: randomStart.Add(time.Duration(size) * time.Second)}
			if rapid.IntRange(0, 9).Draw(t, "bare") > 0 {
				c.frontier = tree.Frontier()
			} else {
				l.bare = true
			}
			l.witness.sign(tb, c)
			l.anchors = append(l.anchors, size)
		}
	}
	root := tree.Root()
	l.head = audit.Head{Size: int64(n), Root: root[:], Frontier: tree.Frontier(), Covered: int64(n) + 10}
	return l
}

func (l *randomLog) last() int64 { return l.anchors[len(l.anchors)-1] }

func (l *randomLog) config(tb testing.TB) audit.VerifyConfig {
	tb.Helper()
	return audit.VerifyConfig{Archive: l.witness.archive(tb), MaxAge: 100 * time.Hour, Now: randomStart.Add(time.Hour)}
}

func (l *randomLog) verify(tb testing.TB) *audit.Verdict {
	tb.Helper()
	return audit.VerifyRows(tb.Context(), l.config(tb), "log", l.rows, l.head)
}

// export is the log as JSON Lines.
func (l *randomLog) export() []byte {
	var b bytes.Buffer
	for _, r := range l.rows {
		b.Write(r.Body)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// rehash makes everything that the database holds fit again: seq, hashes,
// columns and head. Only what is signed outside is out of reach.
func (l *randomLog) rehash() {
	var tree audit.Tree
	for i, r := range l.rows {
		l.rows[i] = audit.RowOf(int64(i), r.Body)
		tree = tree.Append(leaf(r.Body))
	}
	root := tree.Root()
	l.head = audit.Head{Size: int64(len(l.rows)), Root: root[:], Frontier: tree.Frontier(), Covered: int64(len(l.rows)) + 10}
}

// other is a body that differs, but is one that rotator might have written.
func other(t *rapid.T, body []byte) []byte {
	key := rapid.SampledFrom([]string{`"v":1`, `"id":"0`, `"t_us":1`, `"type":"`}).Draw(t, "field")
	changed := bytes.Replace(body, []byte(key), []byte(key+"1"), 1)
	if key == `"id":"0` {
		changed = bytes.Replace(body, []byte(key), []byte(`"id":"1`), 1)
	}
	return changed
}

// TestUntouchedLogIsNeverAccused: whatever stands in a log and wherever its
// checkpoints are, nothing is found, in the database and in an export.
func TestUntouchedLogIsNeverAccused(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		l := drawLog(t, rt)
		if v := l.verify(t); len(v.Findings)+len(v.Unchecked)+len(v.Unproven) > 0 && !onlyOpenCalls(v) || v.Last.Size != l.last() {
			rt.Fatalf("accused:\n%s", shown(v))
		}
		if v := audit.VerifyLines(t.Context(), bytes.NewReader(l.export()), l.config(t)); len(v.Findings)+len(v.Unchecked) > 0 {
			rt.Fatalf("export accused:\n%s", shown(v))
		}
		for _, from := range l.anchors { // resumed from every checkpoint
			cfg := l.config(t)
			a := l.anchorAt(t, from)
			if cfg.From = &a; !a.Resumable() {
				continue
			}
			if v := audit.VerifyRows(t.Context(), cfg, "log", l.rows[from:], l.head); len(v.Findings)+len(v.Unchecked) > 0 {
				rt.Fatalf("accused from %d on:\n%s", from, shown(v))
			}
		}
	})
}

// onlyOpenCalls reports that nothing but calls without an outcome keeps the
// log from being proven.
func onlyOpenCalls(v *audit.Verdict) bool {
	return len(v.Findings)+len(v.Unchecked) == 0 && len(v.Unproven) == 1 && slices.ContainsFunc(v.Open, func(o audit.OpenCall) bool { return o.State == "unexplained" })
}

func (l *randomLog) anchorAt(tb testing.TB, size int64) audit.Anchor {
	tb.Helper()
	for a, err := range l.witness.archive(tb).Anchors(tb.Context(), 1, size) {
		if err != nil {
			tb.Fatal(err)
		}
		return a
	}
	tb.Fatalf("no checkpoint %d", size)
	return audit.Anchor{}
}

// TestEveryMutationIsFound changes one thing before the last checkpoint, with
// or without making the rest of the database fit: it is always found, and the
// place that is named holds it.
func TestEveryMutationIsFound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		l := drawLog(t, rt)
		at := rapid.Int64Range(0, l.last()-1).Draw(rt, "at")
		kind := rapid.SampledFrom([]string{"edit", "delete", "insert", "swap", "cut", "repeat", "column"}).Draw(rt, "kind")
		if !l.mutate(rt, kind, at) {
			rt.Skip("changes nothing")
		}
		fitting := kind != "column" && rapid.Bool().Draw(rt, "fitting")
		if fitting {
			l.rehash()
		}
		v := l.verify(t)
		if v.ExitCode != audit.VerifiedTampered {
			rt.Fatalf("%s at %d, fitting %t, checkpoints %v: not found:\n%s", kind, at, fitting, l.anchors, shown(v))
		}
		if !l.bare && !names(v, at) && (kind != "repeat" || !names(v, at+1)) {
			rt.Fatalf("%s at %d, fitting %t, checkpoints %v: not named:\n%s", kind, at, fitting, l.anchors, shown(v))
		}
		if kind == "column" {
			return // an export has none
		}
		if v := audit.VerifyLines(t.Context(), bytes.NewReader(l.export()), l.config(t)); v.ExitCode != audit.VerifiedTampered && (v.ExitCode != audit.NotProvable || l.covers(at)) {
			rt.Fatalf("%s at %d, checkpoints %v: not found in the export:\n%s", kind, at, l.anchors, shown(v))
		}
	})
}

// covers reports whether a checkpoint covers an event that the log, as long
// as it is now, reaches. An export that reaches none may be an older one.
func (l *randomLog) covers(seq int64) bool {
	return slices.ContainsFunc(l.anchors, func(size int64) bool { return seq < size && size <= int64(len(l.rows)) })
}

// names reports whether a finding's range holds a seq.
func names(v *audit.Verdict, seq int64) bool {
	return slices.ContainsFunc(v.Findings, func(f audit.Finding) bool { return f.From != nil && *f.From <= seq && seq <= *f.To })
}

// mutate changes the log at an event, and reports whether it did.
func (l *randomLog) mutate(t *rapid.T, kind string, at int64) bool {
	switch r := &l.rows[at]; kind {
	case "edit":
		body := other(t, r.Body)
		if bytes.Equal(body, r.Body) {
			return false
		}
		leaf := r.Leaf
		*r = audit.RowOf(at, body)
		if rapid.Bool().Draw(t, "hash kept") {
			r.Leaf = leaf
		}
	case "delete":
		l.rows = slices.Delete(l.rows, int(at), int(at)+1)
	case "insert":
		l.rows = slices.Insert(l.rows, int(at), audit.RowOf(at, other(t, r.Body)))
	case "swap":
		with := rapid.Int64Range(0, l.last()-1).Draw(t, "with")
		if with == at {
			return false
		}
		l.rows[at], l.rows[with] = audit.RowOf(at, l.rows[with].Body), audit.RowOf(with, l.rows[at].Body)
	case "cut":
		l.rows = l.rows[:at]
	case "repeat":
		l.rows = slices.Insert(l.rows, int(at), audit.RowOf(at, r.Body))
	case "column":
		i := rapid.IntRange(0, len(r.Text)-1).Draw(t, "column")
		r.Text = slices.Clone(r.Text)
		switch {
		case r.Text[i] == nil && i > 3:
			r.Text[i] = new("x")
		case r.Text[i] == nil:
			return false
		default:
			r.Text[i] = nil
		}
	}
	return true
}
