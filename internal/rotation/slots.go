package rotation

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// turn is one credential's place in the queue for a project's slots.
type turn struct {
	line  *line
	due   time.Time // by the policy alone
	start time.Time // with the others in mind; never after due
}

// slots shares out what a project's KeyCap leaves. A rotation holds a slot
// from its start until the old key is deleted. Where slots are fewer than
// credentials, turns are staggered: in order of their due times, backwards
// from the last, each starts when it is due or, if that is earlier, one hold
// before the turn that follows it in the same slot. Since all hold a slot
// equally long, no other order would let the first start later.
type slots struct {
	count int           // that rotations can use: free ones, and those that come free
	free  int           // of these, now
	hold  time.Duration // how long a rotation keeps its slot
	slack time.Duration // how late after its due time one may start
	turns []turn        // by due time
}

// slots plans the turns. Half of the margin is for a rotation that starts
// late, half for a deletion that comes late; so a slot is held for the
// overlap and half a margin.
func (b *book) slots() slots {
	s := slots{
		free:  KeyCap - len(b.Keys),
		slack: b.Policy.Margin / 2,
		hold:  b.Policy.Overlap + b.Policy.Margin/2,
	}
	s.count = s.free
	for _, l := range b.lines {
		s.count += len(l.leaving())
		if l.standing == nil {
			continue
		}
		l.standing.DueAt = l.standing.CreatedAt.Add(b.Policy.DueAfter())
		if !l.foreign { // else it takes no slot
			s.turns = append(s.turns, turn{line: l, due: l.standing.DueAt})
		}
	}
	slices.SortFunc(s.turns, func(a, b turn) int {
		if c := a.due.Compare(b.due); c != 0 {
			return c
		}
		return strings.Compare(a.line.name, b.line.name)
	})
	for i := len(s.turns) - 1; i >= 0; i-- {
		t := &s.turns[i]
		t.start = t.due
		if next := i + s.count; s.count > 0 && next < len(s.turns) {
			t.start = earlier(t.due, s.turns[next].start.Add(-s.hold))
		}
		t.line.standing.DueAt = t.start
	}
	return s
}

// leaving are the line's keys whose slots come free by themselves.
func (l *line) leaving() []*KeyView {
	if l.foreign {
		return nil
	}
	return slices.DeleteFunc(l.holds(SupersededKey, OrphanKey), func(v *KeyView) bool { return v == l.standing })
}

// forecast says which turns will come too late for want of a slot, and what
// to do about it; empty when all fit.
func (s slots) forecast(b *book) string {
	late := s.late(b)
	switch {
	case len(late) > 0:
		return fmt.Sprintf("project %s: %d credentials share %d free slots of %d, too few to rotate %s before the age limit, first %q by %s; %s",
			b.Project.ID, len(s.turns), max(s.count, 0), KeyCap, counted(late), late[0].line.name, stamp(late[0].line.standing.Deadline), b.remedy())
	case s.crowded(b.Policy.DueAfter()):
		return fmt.Sprintf("project %s: %d credentials share %d free slots of %d, each rotation holds one for %s, and all are due every %s: they will not fit for long; %s",
			b.Project.ID, len(s.turns), s.count, KeyCap, FormatDuration(s.hold), FormatDuration(b.Policy.DueAfter()), b.remedy())
	}
	return ""
}

// crowded reports whether all turns together need the slots for longer than
// one life of a key, so that they fit now but not for good. (Divided, since
// the products of long times overflow.)
func (s slots) crowded(life time.Duration) bool {
	return s.count > 0 && len(s.turns) > s.count && s.hold/time.Duration(s.count) > life/time.Duration(len(s.turns))
}

// late plays the turns forward, each in the slot that comes free first.
func (s slots) late(b *book) []turn {
	lanes := b.lanes(s.free)
	var late []turn
	for _, t := range s.turns {
		if len(lanes) == 0 {
			late = append(late, t)
			continue
		}
		slices.SortFunc(lanes, time.Time.Compare)
		begin := later(later(lanes[0], t.start), b.Now)
		if begin.After(later(t.due.Add(s.slack), b.Now)) {
			late = append(late, t)
			continue
		}
		lanes[0] = begin.Add(s.hold)
		if b.keeps(t.line) {
			lanes = lanes[1:]
		}
	}
	return late
}

// lanes is when each slot that rotations can use comes free.
func (b *book) lanes(free int) []time.Time {
	var lanes []time.Time
	for range free {
		lanes = append(lanes, b.Now)
	}
	for _, l := range b.lines {
		for _, v := range l.leaving() {
			lanes = append(lanes, later(v.RetireAt, b.Now))
		}
	}
	return lanes
}

// keeps reports whether the key that the line's next rotation supersedes will
// be held, and its slot with it.
func (b *book) keeps(l *line) bool {
	_, ours := b.maker(l.standing.Key)
	return b.Policy.Adopt == AdoptKeep && !ours && !l.path.rotated(l.standing.ID)
}

// remedy says what makes room in the project.
func (b *book) remedy() string {
	const rest = "move credentials to another subproject, or shorten ROTATOR_OVERLAP"
	var idle []string
	for _, l := range b.lines {
		for _, v := range l.holds(UnmanagedKey, UnknownKey, HeldKey) {
			idle = append(idle, v.ID)
		}
	}
	if len(idle) == 0 {
		return rest
	}
	slices.Sort(idle)
	return "delete keys that nobody needs (perhaps " + strings.Join(idle, ", ") + "), " + rest
}

func counted(turns []turn) string {
	if len(turns) == 1 {
		return "1 of them"
	}
	return fmt.Sprintf("%d of them", len(turns))
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// stamp writes a time for people, as all output does.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
