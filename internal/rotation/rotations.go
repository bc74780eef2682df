package rotation

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// rotations turns wants into steps and shares out the free slots.
func (b *book) rotations(wants []want, s slots, deletions []Step) []Step {
	free := s.free
	freeing := slices.ContainsFunc(deletions, func(d Step) bool { return d.Action != Refuse })
	var steps []Step
	for _, w := range wants {
		step := Step{
			Action: Rotate, Credential: w.name, Key: w.key, Trigger: w.trigger, Overlap: w.overlap,
			Reason: w.reason, DueAt: w.due, Deadline: w.deadline,
		}
		action, guard, reason := b.hinders(w)
		if action == "" && free <= 0 {
			action, guard, reason = b.full(w, freeing)
		}
		if action == "" {
			free--
			freeing = freeing || w.overlap == 0 // its old key goes in the same run
		} else {
			step.Action, step.Guard, step.Reason = action, guard, reason
		}
		steps = append(steps, step)
	}
	return steps
}

// hinders says what stands against a due rotation, slots aside; an empty
// Action means nothing.
func (b *book) hinders(w want) (action Action, guard, reason string) {
	l := w.line
	stuck := b.stuck(l)
	switch {
	case l.path.Err != "":
		return Skip, GuardPath, unreadablePath(l)
	case l.foreign:
		return Refuse, GuardForeignPath, foreignPath
	case !b.Complete:
		return Skip, GuardIncomplete, "Sinch's list of keys could not be read to its end; run again"
	case b.unsettled(l):
		return Skip, GuardUnsettled, fmt.Sprintf("Vault's path names key %s, which Sinch neither lists nor says is gone; run again", l.path.Current.KeyID)
	case stuck != nil && stuck.State == OrphanKey:
		return Skip, GuardOrphan, fmt.Sprintf("key %s of a failed rotation has to go first", stuck.ID)
	case stuck != nil:
		return Skip, GuardOrphan, fmt.Sprintf("key %s of a failed rotation no longer carries its name; delete it in the Sinch dashboard", stuck.ID)
	case b.NotBefore[w.name].After(b.Now) && !w.asked:
		return Skip, GuardBackOff, fmt.Sprintf("earlier attempts failed, the next is at %s; --credential tries at once", stamp(b.NotBefore[w.name]))
	case w.trigger == Scheduled && !w.asked && b.waits(l):
		return Skip, GuardOverlap, "the previous key has to go first, so that at most two live at once"
	}
	return "", "", ""
}

// unsettled reports that the key which Vault names is not listed, and no
// answer to a question after it says that it is gone.
func (b *book) unsettled(l *line) bool {
	gone := b.vanished(l)
	return gone != "" && !b.Gone[gone]
}

// waits reports whether a scheduled rotation should let the previous key go
// first. It waits no longer than the margin's day for bad nights, or a
// quarter of a margin that is set by hand.
func (b *book) waits(l *line) bool {
	return len(l.leaving()) > 0 && l.standing != nil && b.Now.Before(b.patience(l))
}

func (b *book) patience(l *line) time.Time {
	return l.standing.CreatedAt.Add(b.Policy.DueAfter() + min(Day, b.Policy.Margin/4))
}

// full is the answer where no slot is left. A compromise cannot wait for one:
// it names the keys that hold them, unless one is about to come free.
func (b *book) full(w want, freeing bool) (action Action, guard, reason string) {
	if w.trigger != Compromised || freeing {
		return Skip, GuardFullProject, fmt.Sprintf("no free slot: the project holds %d keys of %d; %s", len(b.Keys), KeyCap, b.room(freeing))
	}
	var holders []string
	for _, v := range b.views() {
		holders = append(holders, fmt.Sprintf("%s (%s, %s)", v.ID, v.Credential, v.State))
	}
	return Refuse, GuardFullProject, fmt.Sprintf("no free slot: delete one of the project's %d keys first: %s", len(b.Keys), strings.Join(holders, ", "))
}

// room says when there will be a slot, or how to make one.
func (b *book) room(freeing bool) string {
	var next time.Time
	for _, l := range b.lines {
		for _, v := range l.leaving() {
			if v.RetireAt.After(b.Now) && (next.IsZero() || v.RetireAt.Before(next)) {
				next = v.RetireAt
			}
		}
	}
	switch {
	case freeing:
		return "one comes free in this run"
	case !next.IsZero():
		return fmt.Sprintf("one comes free at %s; sooner, %s", stamp(next), b.remedy())
	}
	return b.remedy()
}
