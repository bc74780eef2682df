package rotation

import (
	"fmt"
	"slices"
	"time"
)

// want is a rotation that is due, before it is known whether it can be.
type want struct {
	line     *line // nil when onboarding
	name     string
	key      Key
	trigger  Trigger
	due      time.Time
	deadline time.Time
	overlap  time.Duration
	asked    bool // by a person, who overrides back-off and waiting
	reason   string
}

// wants lists the rotations that are due, the most urgent first: after a
// compromise, keys that vanished, then by due time.
func (b *book) wants(s slots) []want {
	var wants []want
	for _, l := range b.lines {
		if !l.inScope || !b.covers(l) || b.alone() != nil {
			continue
		}
		if w, due := b.due(l, s); due {
			wants = append(wants, w)
		}
	}
	if w, due := b.onboards(); due {
		wants = append(wants, w)
	}
	slices.SortStableFunc(wants, func(x, y want) int {
		if c := x.urgency() - y.urgency(); c != 0 {
			return c
		}
		return x.due.Compare(y.due)
	})
	return wants
}

func (w want) urgency() int {
	switch w.trigger {
	case Compromised:
		return 0
	case Drift:
		return 1
	case Scheduled, Manual:
	}
	return 2
}

// due says whether and why the line's key is to be replaced now.
func (b *book) due(l *line, s slots) (want, bool) {
	w := want{line: l, name: l.name, trigger: Scheduled, overlap: b.overlap(), asked: b.named(l)}
	gone := b.vanished(l)
	if l.standing != nil {
		w.key, w.due, w.deadline = l.standing.Key, l.standing.DueAt, l.standing.Deadline
	}
	asking := (b.Request.Force || b.Request.Compromised) && !b.Request.Done[l.name]
	switch {
	case l.path.Err != "":
		return w, len(l.keys) > 0 || asking // what is not known may be due
	case gone != "":
		w.key, w.trigger, w.due, w.deadline = Key{ID: gone}, Drift, b.Now, time.Time{}
		w.reason = fmt.Sprintf("Vault's path names key %s, which does not exist at Sinch any more", gone)
	case l.standing == nil:
		return w, false
	}
	switch {
	case asking && b.Request.Compromised:
		w.trigger, w.asked, w.reason = Compromised, true, "declared compromised"
	case gone != "":
	case asking:
		w.trigger, w.asked, w.reason = Manual, true, "asked for, due or not"
	case w.due.After(b.Now):
		return w, false
	default:
		w.reason = b.ageReason(l, s)
	}
	if asking && w.due.After(b.Now) {
		w.due = b.Now
	}
	return w, true
}

func (b *book) ageReason(l *line, s slots) string {
	p, age := b.Policy, b.Now.Sub(l.standing.CreatedAt)
	if age < p.DueAfter() {
		return fmt.Sprintf("%d credentials share %d free slots, so this one starts %s before it is due by age, for all to fit before their deadlines",
			len(s.turns), s.count, FormatDuration((p.DueAfter() - age).Round(time.Second)))
	}
	return fmt.Sprintf("its age of %s has reached %s: the max age %s less the overlap %s and the margin %s",
		FormatDuration(age.Round(time.Second)), FormatDuration(p.DueAfter()), FormatDuration(p.MaxAge), FormatDuration(p.Overlap), FormatDuration(p.Margin))
}

// onboards says whether the project is to get its first credential.
func (b *book) onboards() (want, bool) {
	name := b.Onboard
	if name == "" || !b.Scope.Contains(b.Project, name) {
		return want{}, false
	}
	if narrowed := b.Request.Key != "" || len(b.Request.Credentials) > 0; narrowed && !slices.Contains(b.Request.Credentials, name) {
		return want{}, false
	}
	w := want{line: b.newLine(name), name: name, trigger: Scheduled, due: b.Now, overlap: b.overlap(), reason: "the project has no credential yet (ROTATOR_ONBOARD)"}
	for _, l := range b.lines {
		if l.inScope && (len(l.keys) > 0 || l.path.Current.KeyID != "") {
			return want{}, false
		}
	}
	return w, true
}

// overlap is how long a rotation started now lets both keys work.
func (b *book) overlap() time.Duration {
	switch {
	case b.Request.Overlap != nil:
		return *b.Request.Overlap
	case b.Request.Compromised:
		return 0
	}
	return b.Policy.Overlap
}

// covers reports whether the request lets anything be done for the line.
func (b *book) covers(l *line) bool {
	return b.named(l) || (b.Request.Key == "" && len(b.Request.Credentials) == 0)
}

// named reports whether the request names this line, by its credential or by
// one of its keys.
func (b *book) named(l *line) bool {
	if slices.Contains(b.Request.Credentials, l.name) {
		return true
	}
	key := b.Request.Key
	return key != "" && (l.path.Current.KeyID == key ||
		slices.ContainsFunc(l.keys, func(v *KeyView) bool { return v.ID == key }))
}

// alone returns the key that is the whole request: one declared compromised
// that no rotation would replace. It only goes, now.
func (b *book) alone() *KeyView {
	if !b.Request.Compromised || b.Request.Key == "" {
		return nil
	}
	l, v := b.lineOf(b.Request.Key)
	if v == nil || v == l.standing || b.Request.Done[l.name] || (l.inScope && l.path.Err != "") {
		return nil
	}
	return v
}
