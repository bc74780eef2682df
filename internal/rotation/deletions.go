package rotation

import (
	"cmp"
	"slices"
	"strings"
)

// deletions plans what may go, each under its guards, orphans first. Every
// planned one is taken off the facts, so that together they leave a key.
func (b *book) deletions() []Step {
	var steps []Step
	left := b.Facts
	left.Keys = slices.Clone(b.Keys)
	for _, v := range b.leavers() {
		step := b.departure(v)
		if guard, reason, ok := GuardDelete(left, v.Key); !ok {
			step.Action, step.Guard, step.Reason = Refuse, guard, reason
		} else {
			left.Keys = slices.DeleteFunc(left.Keys, func(k Key) bool { return k.ID == v.ID })
		}
		steps = append(steps, step)
	}
	return steps
}

// departure is the step that deletes the key, if its guards allow.
func (b *book) departure(v *KeyView) Step {
	s := Step{
		Action: Retire, Credential: v.Credential, Key: v.Key, RotationID: v.RotationID,
		DueAt: v.RetireAt, Deadline: v.Deadline,
	}
	switch {
	case v.State == OrphanKey:
		s.Action, s.DueAt = DeleteOrphan, b.Now
		s.Reason = "its rotation failed before it reached Vault, and its secret is gone"
	case b.toRetireNow(v):
		s.DueAt, s.Reason = b.Now, "declared compromised"
	default:
		s.Reason = "its overlap ended at " + stamp(v.RetireAt)
	}
	return s
}

// leavers are the keys that the request lets go and whose time has come,
// whatever guards say: orphans, then superseded ones, the longest due first.
func (b *book) leavers() []*KeyView {
	if v := b.alone(); v != nil {
		return []*KeyView{v}
	}
	var orphans, superseded []*KeyView
	for _, l := range b.lines {
		if !l.inScope || !b.covers(l) {
			continue
		}
		orphans = append(orphans, l.holds(OrphanKey)...)
		if l.current != nil {
			superseded = append(superseded, b.overdue(l)...)
		}
	}
	slices.SortFunc(superseded, func(x, y *KeyView) int {
		return cmp.Or(x.RetireAt.Compare(y.RetireAt), strings.Compare(x.Credential, y.Credential), strings.Compare(x.ID, y.ID))
	})
	return append(orphans, superseded...)
}

// overdue are the line's superseded keys whose overlap has ended. After a
// compromise also those that ROTATOR_ADOPT=keep holds, to be refused aloud:
// whoever asked must hear that they still work.
func (b *book) overdue(l *line) []*KeyView {
	states := []KeyState{SupersededKey}
	if b.Request.Compromised {
		states = append(states, HeldKey)
	}
	return slices.DeleteFunc(l.holds(states...), func(v *KeyView) bool { return v.RetireAt.After(b.Now) })
}
