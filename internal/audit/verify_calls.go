package audit

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"

	"github.com/google/uuid"

	"rotator/internal/call"
)

// calls joins the intents of changes with what became of them.
type calls struct {
	open map[[16]byte]OpenCall
	// resolved are calls of which the log says how they ended only because
	// somebody looked afterwards: their outcome may still come.
	resolved map[[16]byte]struct{}
	orphans  []OpenCall // outcomes without an intent, to be judged at the end
	more     int        // of those that are not listed
}

func newCalls() calls {
	return calls{open: map[[16]byte]OpenCall{}, resolved: map[[16]byte]struct{}{}}
}

// mutates reports operations whose calls are announced by an intent: those of
// the index event_call.
func mutates(op []byte) bool {
	switch string(op) {
	case "access_keys.create", "access_keys.update", "access_keys.delete",
		"vault.write", "vault.metadata", "vault.delete", "vault.destroy":
		return true
	}
	return false
}

func (s *calls) see(v *verification, seq int64, c *content) {
	if c[fieldPhase] == nil || string(c[fieldPhase]) == string(Result) && !mutates(c[fieldOp]) {
		return
	}
	id, ok := parseUUID(c[fieldCall])
	if !ok {
		v.find(v.at(seq, FoundCall, "%s carries no call id", describe(seq, c)))
		return
	}
	switch Phase(c[fieldPhase]) {
	case Intent:
		s.open[id] = v.openCall(seq, id, c)
	case Resolved:
		s.resolved[id] = struct{}{}
		delete(s.open, id)
	case Result:
		s.outcome(v, seq, id, c)
	}
}

func (s *calls) outcome(v *verification, seq int64, id [16]byte, c *content) {
	if _, ok := s.open[id]; ok {
		delete(s.open, id)
		return
	}
	if _, ok := s.resolved[id]; ok {
		delete(s.resolved, id)
		return
	}
	if v.start > 0 && !callTime(id).After(v.first.Add(clocksApart)) {
		return // its intent may stand before where verification began
	}
	if len(s.orphans) == MaxFindings {
		s.more++
		return
	}
	s.orphans = append(s.orphans, v.openCall(seq, id, c))
}

// clocksApart is how much the clocks of processes may differ.
const clocksApart = time.Minute

// callTime is when a call got its id, a UUIDv7.
func callTime(id [16]byte) time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(id[:8]) >> 16)).UTC()
}

func (v *verification) openCall(seq int64, id [16]byte, c *content) OpenCall {
	o := OpenCall{
		Seq: seq, At: v.last, Call: uuid.UUID(id).String(), Operation: string(c[fieldOp]),
		Project: string(c[fieldProject]), Credential: string(c[fieldCredential]), Key: string(c[fieldKey]),
	}
	if c[fieldVaultPath] != nil && v.aboutCheckpoints(c) {
		o.State = openCheckpoint
	}
	return o
}

// clean makes what the event says fit to be shown.
func (o *OpenCall) clean() {
	for _, text := range []*string{&o.Operation, &o.Project, &o.Credential, &o.Key} {
		*text = call.Clean(*text, nameLimit)
	}
}

// Why a call is open.
const (
	openRecent      = "recent"
	openLeased      = "leased"
	openCheckpoint  = "checkpoint"
	openUnexplained = "unexplained"
)

// tellCalls says which calls are open and why, given which projects somebody
// works on. Where that is not known, a call may be under way for as long as an
// event may stand without a checkpoint.
func (v *verification) tellCalls(leased map[string]bool, known bool) {
	now := cmp.Or(v.cfg.Now, v.last)
	for _, o := range v.calls.open {
		switch {
		case o.State != "":
		case v.verdict.Last == nil, o.Seq >= v.verdict.Last.Size:
			o.State = openRecent
		case leased[o.Project], !known && now.Sub(o.At) <= v.cfg.MaxAge:
			o.State = openLeased
		default:
			o.State = openUnexplained
		}
		o.clean()
		v.verdict.Open = append(v.verdict.Open, o)
	}
	slices.SortFunc(v.verdict.Open, func(a, b OpenCall) int { return cmp.Compare(a.Seq, b.Seq) })
	if n := v.verdict.unexplained(); n > 0 {
		v.unproven("%d changes were announced and the log does not say how they ended, the oldest at event %d; the next run over their projects finds out (`rotator run-now`)", n, v.verdict.firstUnexplained())
	}
	v.tellOrphans()
}

// tellOrphans reports outcomes of changes that were never announced, unless
// the announcement is among what a restored database lost.
func (v *verification) tellOrphans() {
	var until time.Time
	for _, r := range v.rebases {
		until = laterOf(until, r.at)
	}
	for _, o := range v.calls.orphans {
		o.clean()
		id := uuid.MustParse(o.Call)
		if callTime(id).Before(until) {
			v.note("event %d is the outcome of a change whose intent was lost before a rebase (call %s)", o.Seq, o.Call)
			continue
		}
		f := between(o.Seq, o.Seq, FoundCall, "event %d is the outcome of %s (call %s), but no intent of that call is open: nothing may be changed without one", o.Seq, o.Operation, o.Call)
		f.FromTime, f.ToTime = o.At, o.At
		v.find(f)
	}
	if v.calls.more > 0 {
		v.find(Finding{Kind: FoundCall, Text: "there are more such outcomes"})
		v.verdict.Found[FoundCall] += v.calls.more - 1
	}
}

func (v *Verdict) unexplained() (n int) {
	for _, o := range v.Open {
		if o.State == openUnexplained {
			n++
		}
	}
	return n
}

func (v *Verdict) firstUnexplained() int64 {
	i := slices.IndexFunc(v.Open, func(o OpenCall) bool { return o.State == openUnexplained })
	return v.Open[i].Seq
}
