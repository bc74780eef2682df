package audit

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// epoch is what the checkpoints of one epoch showed.
type epoch struct {
	count  int     // that fit
	last   *Anchor // of them
	missed *Anchor // the first that does not fit, in an epoch that has ended
	lost   int     // how many do not
	newest Anchor
}

func (v *verification) epoch(n int) *epoch {
	if v.epochs[n] == nil {
		v.epochs[n] = &epoch{}
	}
	return v.epochs[n]
}

func (e *epoch) fits(a *Anchor) { e.count, e.last = e.count+1, a }

func (e *epoch) misses(a *Anchor) {
	if e.lost++; e.missed == nil {
		e.missed = a
	}
}

// strangers are checkpoints of another log.
type strangers struct {
	first Anchor
	count int
	fit   int // that our events fit all the same
}

// known reports whether a checkpoint carries the log's name. An export has
// none: it gets that of its first checkpoint.
func (v *verification) known(a *Anchor) bool {
	name, _ := strings.CutSuffix(a.Origin, fmt.Sprintf("/%d", a.Epoch))
	if v.origin == "" {
		v.origin = name
	}
	return name == v.origin
}

// foreign deals with a checkpoint that carries another log's name.
func (v *verification) foreign(a *Anchor) {
	name := strings.TrimSuffix(a.Origin, fmt.Sprintf("/%d", a.Epoch))
	s := v.strange[name]
	if s == nil {
		s = &strangers{first: *a}
		v.strange[name] = s
	}
	s.count++
	if v.compare(a) != misfits {
		s.fit++
	}
}

// tellForeign reports checkpoints of other logs.
func (v *verification) tellForeign() {
	for name, s := range v.strange {
		text := fmt.Sprintf("checkpoints of the log %s stand among those of %s (%d of them, the first is %s): somebody put them there, or two databases share one AUDIT_VAULT_PREFIX", name, v.origin, s.count, s.first.name())
		if s.fit > 0 {
			text = fmt.Sprintf("the log calls itself %s, but its events fit checkpoints of %s (%d of them, the first is %s): the name in audit.setting was altered", v.origin, name, s.fit, s.first.name())
		}
		v.find(Finding{Kind: FoundOrigin, Text: text})
	}
}

// forged deals with a checkpoint that cannot be trusted, or that could not be
// read.
func (v *verification) forged(got anchored) {
	if !errors.Is(got.err, ErrForged) {
		v.uncheckable(got.err)
		return
	}
	v.find(Finding{Kind: FoundCheckpoint, Text: got.err.Error()})
}

// judgeEpochs says what became of each epoch, and whether the newest one was
// opened and accepted as it should be.
func (v *verification) judgeEpochs() {
	for _, n := range slices.Sorted(maps.Keys(v.epochs)) {
		e := v.epochs[n]
		out := EpochVerdict{Epoch: n, Checkpoints: e.count, Lost: e.lost}
		if n < v.newest {
			v.judgeEnded(n, e, &out)
		}
		v.verdict.Epochs = append(v.verdict.Epochs, out)
	}
	if v.cfg.AcceptEpoch > max(v.newest, 1) {
		v.uncheckable(fmt.Errorf("--accept-epoch %d: the log is in epoch %d", v.cfg.AcceptEpoch, max(v.newest, 1)))
	}
	if v.newest < 2 {
		return
	}
	if _, ok := v.rebases[v.newest]; !ok && v.start == 0 {
		v.find(Finding{Kind: FoundEpoch, Text: fmt.Sprintf("there are checkpoints of epoch %d, but the log has no audit.rebased that opens it", v.newest)})
	}
	if v.cfg.AcceptEpoch != v.newest {
		v.unproven("the log is in epoch %d: events were lost before it; --accept-epoch %d accepts that", v.newest, v.newest)
	}
}

// judgeEnded holds an epoch that has ended against the statement that ended
// it: its checkpoints fit up to where the log still had what they cover.
func (v *verification) judgeEnded(n int, e *epoch, out *EpochVerdict) {
	out.Anchored, out.AnchoredAt = e.newest.Size, e.newest.At
	end, ok := v.rebases[n+1]
	if !ok {
		if e.last != nil {
			out.Common, out.CommonAt = e.last.Size, e.last.At
		}
		v.note("how epoch %d ended is not in the log, or lies before where verification began", n)
		return
	}
	out.Common, out.Reason, out.Actor = end.common, end.reason, end.actor
	if e.last != nil && e.last.Size == end.common {
		out.CommonAt = e.last.At
	}
	v.note("epoch %d ended with a loss: of the events %d to %d, written between %s and %s, what the log still has is not proven; reason given: %s",
		n, end.common, out.Anchored-1, orUnknown(out.CommonAt), orUnknown(out.AnchoredAt), end.reason)
	if e.missed != nil && e.missed.Size <= end.common {
		from := int64(0)
		if e.last != nil {
			from = e.last.Size
		}
		v.find(between(from, e.missed.Size-1, FoundAltered,
			"events %d to %d are not those that %s signs, though the log still had them when epoch %d was opened", from, e.missed.Size-1, e.missed.name(), n+1))
	}
}
