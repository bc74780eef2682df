package audit

import (
	"fmt"
	"time"
)

// part is the stretch of the log since the last checkpoint that fits, or
// since where verification began: what is false lies somewhere in it until a
// checkpoint says more.
type part struct {
	from         int64
	after        *Anchor // nil at the beginning of the log
	first, until time.Time
	gaps         []hole
	suspects     []suspect // at most MaxFindings
	more         int       // suspects that are not listed
}

// hole is a range of events, both ends included, and what the times around it
// are.
type hole struct {
	from, to    int64
	since, till time.Time
}

// suspect is an event that does not fit the hash beside it.
type suspect struct {
	seq  int64
	at   time.Time
	what string
}

// gap notes events that are not there. Their time begins with that of the
// event before.
func (p *part) gap(from, to int64, since time.Time) {
	p.gaps = append(p.gaps, hole{from: from, to: to, since: since})
}

// lasts notes the time of an event of the part.
func (p *part) lasts(t time.Time) {
	if p.first.IsZero() {
		p.first = t
	}
	p.until = t
	if n := len(p.gaps); n > 0 && p.gaps[n-1].till.IsZero() {
		p.gaps[n-1].till = t
	}
}

// doubt notes an event whose hash is another than the one beside it.
func (p *part) doubt(seq int64, t time.Time, c *content) {
	if len(p.suspects) == MaxFindings {
		p.more++
		return
	}
	p.suspects = append(p.suspects, suspect{seq, t, describe(seq, c)})
}

// beginning says after what the part begins.
func (p *part) beginning() string {
	if p.after == nil {
		return fmt.Sprintf("event %d", p.from)
	}
	return p.after.name()
}

// name is a checkpoint for people.
func (a *Anchor) name() string {
	text := fmt.Sprintf("checkpoint %d", a.Size)
	if a.Epoch > 1 {
		text += fmt.Sprintf(" of epoch %d", a.Epoch)
	}
	if !a.At.IsZero() {
		text += " of " + moment(a.At)
	}
	return text
}

// missing reports the part's gaps, of which each may go on in the next part.
// The checkpoint that covers them proves that the events were there; without
// one it is the others' seq that does.
func (v *verification) missing(by *Anchor) {
	for _, g := range v.part.gaps {
		if v.lost != nil && v.lost.to == g.from-1 {
			v.lost.to, v.lost.till = g.to, g.till
			continue
		}
		v.tellLost()
		v.lost, v.lostBy = &g, by
	}
	v.part.gaps = nil
}

// tellLost reports the missing events that were found last.
func (v *verification) tellLost() {
	g := v.lost
	if g == nil {
		return
	}
	v.lost = nil
	proof := "no checkpoint covers that place yet, but later events follow"
	if v.lostBy != nil {
		proof = v.lostBy.name() + " was made with all events up to there"
	}
	f := between(g.from, g.to, FoundMissing, "%s missing: %s", counted(g.from, g.to), proof)
	f.FromTime, f.ToTime = g.since, g.till
	v.find(f)
}

// counted names a range of events.
func counted(from, to int64) string {
	if from == to {
		return fmt.Sprintf("event %d is", from)
	}
	return fmt.Sprintf("events %d to %d (%d of them) are", from, to, to-from+1)
}

// accuse reports the part's suspects in words that take the event's name.
func (v *verification) accuse(format, more string) {
	for _, s := range v.part.suspects {
		f := between(s.seq, s.seq, FoundAltered, format, s.what)
		f.FromTime, f.ToTime = s.at, s.at
		v.find(f)
	}
	if v.part.more > 0 {
		v.find(Finding{Kind: FoundAltered, Text: fmt.Sprintf("%d more events between %s and %s", v.part.more, v.part.beginning(), more)})
		v.verdict.Found[FoundAltered] += v.part.more - 1
	}
}
