package audit

import (
	"fmt"
	"time"
)

// fit is how the log compares with a checkpoint.
type fit int

const (
	fits    fit = iota // its events are those that were signed
	beside             // the hashes beside its events are; some event is not its own hash's
	misfits            // neither
)

// compare holds the tree, which has come to the checkpoint's size if nothing
// is missing, against the checkpoint.
func (v *verification) compare(a *Anchor) fit {
	switch {
	case v.tree.length() != a.Size:
		return misfits
	case v.tree.now().root() == a.Root:
		return fits
	case v.stored != nil && v.stored.now().root() == a.Root:
		return beside
	}
	return misfits
}

// agreed takes the other checkpoints of the same size and epoch, of which
// each day may have one. They must sign the same events; of those that do not,
// the one that the log fits is returned.
func (v *verification) agreed(a *Anchor) *Anchor {
	for v.anchors.has(a.Size) && v.anchors.next.err == nil && v.anchors.next.Epoch == a.Epoch && v.anchors.next.Origin == a.Origin {
		other := v.anchors.take().Anchor
		if other.Root == a.Root {
			continue
		}
		v.find(Finding{Kind: FoundCheckpoint, Text: fmt.Sprintf("%s and %s are both signed and contradict each other: who holds the signing key has signed two histories", a.name(), other.name())})
		if v.compare(a) == misfits {
			a = &other
		}
	}
	return a
}

// hold holds the log against the next checkpoint.
func (v *verification) hold(a *Anchor) {
	if a.Size < v.start {
		return // of what is not looked at
	}
	if !v.known(a) {
		v.foreign(a)
		return
	}
	v.verdict.Checkpoints++
	e := v.epoch(a.Epoch)
	e.newest = *a
	result := v.compare(a)
	switch {
	case result != misfits:
		e.fits(a)
		v.fits(a, result)
	case a.Epoch < v.newest:
		e.misses(a) // it may be of what was lost: judgeEpochs says
	default:
		v.misfits(a)
	}
}

// fits goes on from a checkpoint that the log fits.
func (v *verification) fits(a *Anchor, how fit) {
	v.tellMisfit()
	if how == beside {
		v.accuse("the body of %s was altered: the hash beside it is the one that "+a.name()+" signs", a.name()+" were altered, too")
		v.tree = *v.stored
	} else {
		v.accuse("the hash beside %s was falsified: its body is the one that "+a.name()+" signs", a.name()+" have falsified hashes, too")
	}
	v.goOn(a)
	if a.Epoch == v.newest {
		v.verdict.Last = &LastAnchor{Epoch: a.Epoch, Size: a.Size, At: a.At, Root: a.Root.String()}
		v.tail = tail{from: a.Size}
	}
}

// goOn begins a new part at a checkpoint.
func (v *verification) goOn(a *Anchor) {
	v.stored = nil
	v.part = part{from: a.Size, after: a}
}

// misfit is a range of checkpoints that the log does not fit, one after the
// other, though each was taken as true for the events after it.
type misfit struct {
	part
	by    *Anchor // the first of them
	last  *Anchor
	count int
}

// misfits deals with a checkpoint that the log does not fit. If the checkpoint
// keeps the tree's right edge, the events after it are held against that, so
// that each later change is found for itself.
func (v *verification) misfits(a *Anchor) {
	switch {
	case v.blind:
		v.blinded++
		v.missing(a)
	case len(v.part.gaps) > 0:
		v.tellMisfit()
		v.missing(a)
		v.accuse("%s does not fit the hash beside it", a.name()+" do not fit theirs either")
	default:
		v.extendMisfit(a)
	}
	if v.blind = !a.Resumable(); v.blind {
		return
	}
	v.tree = growing{tree: a.tree}
	v.goOn(a)
}

func (v *verification) extendMisfit(a *Anchor) {
	if v.misfit == nil {
		v.misfit = &misfit{part: v.part, by: a}
	}
	v.misfit.last, v.misfit.until = a, v.part.until
	v.misfit.count++
	v.accuse("%s does not fit the hash beside it", a.name()+" do not fit theirs either")
}

// tellMisfit reports checkpoints that the log did not fit, once it fits one
// again or ends.
func (v *verification) tellMisfit() {
	m := v.misfit
	if m == nil {
		return
	}
	v.misfit = nil
	known, since := "", fmt.Sprintf("events %d to %d", m.from, m.by.Size-1)
	if m.after != nil {
		known = "; up to " + m.after.name() + " they are"
	}
	f := between(m.from, m.last.Size-1, FoundAltered, "%s are not those that %s signs%s. Rows were altered, swapped or replaced, and their hashes made to fit",
		since, m.by.name(), known)
	if m.count > 1 {
		f = between(m.from, m.last.Size-1, FoundAltered,
			"events %d to %d are not those that %d checkpoints sign%s: the first that is not as it was is one of %s. Rows were removed or inserted and the later ones renumbered, or all were rewritten",
			m.from, m.last.Size-1, m.count, known, since)
	}
	f.FromTime, f.ToTime = m.first, laterOf(m.until, m.first)
	v.find(f)
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
