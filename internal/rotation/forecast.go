package rotation

import (
	"fmt"
	"time"
)

// nextCheck is the earliest time from now on at which a plan may say more,
// whatever the request was narrowed to; zero when nothing will fall due.
func (b *book) nextCheck(wants []want, s slots) time.Time {
	var next time.Time
	consider := func(t time.Time) {
		if t.After(b.Now) && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for _, t := range s.turns {
		consider(t.start)
		if len(t.line.leaving()) > 0 {
			consider(b.patience(t.line))
		}
	}
	for _, l := range b.lines {
		for _, v := range l.holds(SupersededKey) {
			consider(v.RetireAt)
		}
	}
	for _, w := range wants {
		consider(b.NotBefore[w.name])
	}
	return next
}

// unnamed warns of credentials that have keys but none that consumers could
// read: their path was emptied by hand.
func (b *book) unnamed() []string {
	var warnings []string
	for _, l := range b.lines {
		if l.path.Current.KeyID == "" && l.standing != nil && l.standing.State != AdoptableKey {
			warnings = append(warnings, fmt.Sprintf("project %s: Vault's path for %q names no key any more although key %s is still there; run-now --force --credential makes a new one, or delete the key in the Sinch dashboard",
				b.Project.ID, l.name, l.standing.ID))
		}
	}
	return warnings
}
