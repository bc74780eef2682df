package audit

import (
	"fmt"
	"time"
)

// finish closes what is open once the last row has come. The head is nil for
// an export.
func (v *verification) finish(h *headRow) {
	v.reach(v.next)
	v.verdict.First, v.verdict.Size, v.verdict.Origin = v.start, v.next, v.origin
	v.tellMisfit()
	v.missing(nil)
	v.tellLost()
	if h != nil {
		v.head(h)
	}
	v.accuseRest(h)
	v.beyond()
	if v.blinded > 0 {
		v.note("%d later checkpoints could not be compared: the one before them came without the tree's right edge", v.blinded)
	}
	v.tellDropped()
	v.tellForeign()
	v.judgeEpochs()
	v.tellTail()
	v.tellProof()
	if v.whole() {
		v.verdict.Root = v.tree.now().root().String()
	}
}

// whole reports whether the tree is that of all events.
func (v *verification) whole() bool { return v.tree.length() == v.next }

// tellProof says when nothing outside the database vouches for the log.
func (v *verification) tellProof() {
	switch {
	case v.cfg.NoArchive != nil:
	case v.cfg.Archive == nil:
		v.unproven("there is nothing outside the database to hold the log against: no Vault is configured and no --checkpoints directory given")
	case v.verdict.Last == nil && len(v.verdict.Unchecked) == 0 && len(v.verdict.Found) == 0:
		v.unproven("no checkpoint was found outside the database that the log fits: nothing proves that it was not rewritten as a whole")
	}
}

// headRow is audit.head as it stands.
type headRow struct {
	Size           int64
	Root, Frontier []byte
	Covered        int64
}

// head compares the head with the events.
func (v *verification) head(h *headRow) {
	wrong := func(format string, args ...any) {
		v.find(Finding{Kind: FoundHead, Text: fmt.Sprintf(format, args...)})
	}
	switch {
	case v.verdict.Events == 0 && h.Size < v.start:
		v.find(between(h.Size, v.start-1, FoundMissing, "the log ends with event %d, but %s covers %d events: the others are missing", h.Size-1, v.part.beginning(), v.start))
	case h.Size > v.next:
		f := between(v.next, h.Size-1, FoundMissing, "the head says that the log has %d events, the last one is %d: %s missing at its end", h.Size, v.next-1, counted(v.next, h.Size-1))
		f.FromTime = v.last
		v.find(f)
	case h.Size < v.next:
		v.find(between(h.Size, v.next-1, FoundExtra, "the head says that the log has %d events, but %s there: they were put there past the log's own function, or the head was altered", h.Size, counted(h.Size, v.next-1)))
	case v.whole() && string(h.Root) != hashText(v.tree.now()):
		wrong("the root in audit.head is not that of the log's %d events: since %s an event was altered and not the head, or the head", v.next, v.part.beginning())
	case v.whole() && string(h.Frontier) != string(v.tree.now().bytes()):
		wrong("the frontier in audit.head is not that of the log's %d events: the head was altered", v.next)
	}
	if h.Covered < h.Size {
		wrong("audit.head says that partitions reach up to event %d, but the log has %d events: the head was altered", h.Covered, h.Size)
	}
}

func hashText(t tree) string {
	root := t.root()
	return string(root[:])
}

// accuseRest reports what does not fit its hash after the last checkpoint.
func (v *verification) accuseRest(h *headRow) {
	rest := "the log's end do not fit theirs either"
	switch {
	case h == nil || v.stored == nil || !v.whole():
		v.accuse("%s does not fit the hash beside it; no checkpoint covers it yet", rest)
	case string(h.Root) == hashText(v.stored.now()):
		v.accuse("the body of %s was altered: the hash beside it is the one that the log's head was made from", rest)
	case string(h.Root) == hashText(v.tree.now()):
		v.accuse("the hash beside %s was falsified: its body is the one that the log's head was made from", rest)
	default:
		v.accuse("%s does not fit the hash beside it; no checkpoint covers it yet", rest)
	}
}

// beyond deals with checkpoints of more events than there are.
func (v *verification) beyond() {
	var newest *Anchor
	for v.anchors.has(1<<63 - 1) {
		got := v.anchors.take()
		switch {
		case got.err != nil:
			v.forged(got)
		case !v.known(&got.Anchor):
			v.foreign(&got.Anchor)
		case got.Epoch < v.newest:
			e := v.epoch(got.Epoch)
			e.newest = got.Anchor
			e.misses(&got.Anchor)
		case v.cfg.Until == 0 || got.Size <= v.cfg.Until:
			newest = &got.Anchor
			v.epoch(got.Epoch).newest = got.Anchor
		}
	}
	if newest != nil {
		v.cut(newest)
	}
	if v.cfg.Until > 0 && (v.verdict.Last == nil || v.verdict.Last.Size != v.cfg.Until || v.next != v.cfg.Until) {
		v.unproven("the export does not end with checkpoint %d", v.cfg.Until)
	}
}

// cut deals with a log that ends before its newest checkpoint. A standby may
// lag, and an export is a copy of one moment; anything else was cut.
func (v *verification) cut(a *Anchor) {
	missing := counted(v.next, a.Size-1) + " missing at the end: " + a.name() + " covers them"
	if v.part.from < v.next {
		missing = fmt.Sprintf("the log ends with event %d, but %s covers %d events: so many as are wanting were removed at its end, or anywhere since %s, up to which it is as it was",
			v.next-1, a.name(), a.Size, v.part.beginning())
	}
	switch {
	case v.standby:
		v.uncheckable(fmt.Errorf("%s; this server is a standby that may lag: ask the primary", missing))
	case v.export && laterThan(a.At, v.last):
		v.unproven("%s; it is later than the export's last event, of %s, so the file was exported before that, or cut", missing, orUnknown(v.last))
	default:
		f := between(v.part.from, a.Size-1, FoundMissing, "%s. The log was cut or rewritten, or an older state of it restored (in which case `rotator audit rebase` goes on with what there is)", missing)
		f.FromTime, f.ToTime = v.part.first, a.At
		v.find(f)
	}
}

func laterThan(a, b time.Time) bool { return a.IsZero() || a.After(b) }
