package audit

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"rotator/internal/call"
)

// row is an event as it was found. What it points to is its reader's, good
// until the next one.
type row struct {
	seq  int64
	body []byte
	leaf []byte   // the hash that stands beside it
	cols *columns // nil, as is leaf, in an export
}

// progressEvery is how many rows pass between two calls of Progress.
const progressEvery = 4096

// row looks at one event.
func (v *verification) row(r *row, all int64) {
	if r.seq < v.next {
		v.find(v.at(r.seq, FoundExtra, "seq %d stands in the log twice, or before its beginning: one of the rows was put there past the log's own function", r.seq))
		return
	}
	v.reach(r.seq)
	var c content
	if err := c.read(r.body); err != nil {
		v.find(v.at(r.seq, FoundAltered, "the body of event %d is not a JSON object: %s", r.seq, call.Clean(err.Error(), nameLimit)))
	}
	v.time(&c)
	v.hash(r, &c)
	if r.cols != nil {
		v.columns(r, &c)
	}
	v.meaning(r, &c)
	v.next = r.seq + 1
	if v.verdict.Events++; v.cfg.Progress != nil && v.verdict.Events%progressEvery == 0 {
		v.cfg.Progress(v.verdict.Events, all)
	}
}

// reach brings the verification to a seq: events before it that did not come
// are missing, and checkpoints up to there are compared.
func (v *verification) reach(seq int64) {
	for v.anchors.has(seq) {
		got := v.anchors.take()
		v.skip(got.Size)
		if got.err != nil {
			v.forged(got)
			continue
		}
		v.hold(v.agreed(&got.Anchor))
	}
	v.skip(seq)
}

// skip notes that the events up to a seq are missing.
func (v *verification) skip(seq int64) {
	if seq > v.next {
		v.part.gap(v.next, seq-1, v.last)
		v.next = seq
	}
}

// time keeps the time that the event claims.
func (v *verification) time(c *content) {
	us, err := strconv.ParseInt(string(c[fieldTime]), 10, 64)
	if err != nil {
		return // its column is compared with the text
	}
	v.last = microsecond(us)
	if v.first.IsZero() {
		v.first = v.last
	}
	v.part.lasts(v.last)
}

// leafHash is RFC 6962's, computed without an allocation in most cases.
func leafHash(body []byte) tlog.Hash {
	var space [2048]byte
	return sha256.Sum256(append(append(space[:0], 0), body...))
}

// hash adds the event to the tree, and compares its hash with the one that
// stands beside it. Which of the two is false only a checkpoint can say, so
// from then on a second tree grows from the hashes as they stand.
func (v *verification) hash(r *row, c *content) {
	leaf := leafHash(r.body)
	aligned := v.tree.length() == r.seq // else something is missing, and only a checkpoint gives a new tree
	if r.cols != nil && string(r.leaf) != string(leaf[:]) {
		v.part.doubt(r.seq, v.last, c)
		if v.stored == nil && aligned {
			v.stored = v.tree.fork()
		}
	}
	if !aligned {
		return
	}
	v.tree.add(leaf)
	if v.stored == nil {
		return
	}
	if r.cols != nil {
		leaf = tlog.Hash{}
		copy(leaf[:], r.leaf)
	}
	v.stored.add(leaf)
}

// describe names an event for people. Its text is hostile.
func describe(seq int64, c *content) string {
	text := fmt.Sprintf("event %d", seq)
	var about string
	if us, err := strconv.ParseInt(string(c[fieldTime]), 10, 64); err == nil {
		about = moment(microsecond(us)) + ", "
	}
	about += string(c[fieldType])
	if c[fieldOp] != nil {
		about += " " + string(c[fieldOp])
	}
	if c[fieldPhase] != nil {
		about += " " + string(c[fieldPhase])
	}
	if c[fieldKey] != nil {
		about += " of key " + string(c[fieldKey])
	}
	return text + " (" + call.Clean(about, nameLimit) + ")"
}

// moment is a time in a verdict's text.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// at is a finding about one event, of the time that it claims.
func (v *verification) at(seq int64, kind, format string, args ...any) Finding {
	return Finding{Kind: kind, From: &seq, To: &seq, FromTime: v.last, ToTime: v.last, Text: fmt.Sprintf(format, args...)}
}

// between is a finding about a range of events.
func between(from, to int64, kind, format string, args ...any) Finding {
	return Finding{Kind: kind, From: &from, To: &to, Text: fmt.Sprintf(format, args...)}
}

// microsecond is a time as bodies have it.
func microsecond(us int64) time.Time { return time.UnixMicro(us).UTC() }
