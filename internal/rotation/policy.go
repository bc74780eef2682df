package rotation

import (
	"errors"
	"fmt"
	"time"
)

// Adopt says what becomes of a superseded key that rotator did not create.
type Adopt string

// Ways of adoption, as ROTATOR_ADOPT spells them. The zero Adopt deletes.
const (
	AdoptDelete Adopt = "delete" // like any other, after its overlap
	AdoptKeep   Adopt = "keep"   // never: it is reported as held
)

// Policy says how old keys may become and how replacements take over.
type Policy struct {
	// MaxAge is the age limit: no key in scope may live longer.
	MaxAge time.Duration
	// Overlap is how long the old and the new key both work.
	Overlap time.Duration
	// Margin keeps the old key's deletion inside MaxAge although its
	// rotation and its deletion can each just miss a tick; see Margin.
	Margin time.Duration
	// MarginSet says that somebody chose Margin; else it is derived.
	MarginSet bool
	Adopt     Adopt
}

// Margin is the time to keep in hand with a schedule whose ticks lie at most
// longestGap apart and come up to jitter late, where proving a new key takes
// up to verify. Rotation and deletion can each just miss a tick, hence twice
// gap and jitter; the day is for bad nights. It is never capped.
func Margin(longestGap, jitter, verify time.Duration) time.Duration {
	return 2*longestGap + 2*jitter + verify + Day
}

// DueAfter is the age at which a current key is to be replaced.
func (p Policy) DueAfter() time.Duration { return p.MaxAge - p.Overlap - p.Margin }

// Validate reports a policy that cannot be kept. A key must serve at least
// one overlap before it is due, so that a credential's previous key is gone
// before the next comes: at most two live at once.
func (p Policy) Validate() error {
	switch {
	case p.MaxAge <= 0 || p.Overlap < 0 || p.Margin < 0:
		return errors.New("the max age must be positive, overlap and margin at least 0")
	case p.Adopt != "" && p.Adopt != AdoptDelete && p.Adopt != AdoptKeep:
		return fmt.Errorf("adopt %q is neither %q nor %q", p.Adopt, AdoptDelete, AdoptKeep)
	}
	room := p.MaxAge - p.Overlap // in this order nothing overflows
	if room > p.Margin && room-p.Margin >= p.Overlap {
		return nil
	}
	return fmt.Errorf("max age %s leaves no room: less the overlap of %s and the margin of %s, at least another %s must remain: "+
		"raise the max age above %s, shorten the overlap, or run more often (the margin follows the schedule)",
		FormatDuration(p.MaxAge), FormatDuration(p.Overlap), FormatDuration(p.Margin),
		FormatDuration(p.Overlap), p.least())
}

// least writes the shortest max age that overlap and margin allow.
func (p Policy) least() string {
	sum := p.Overlap + p.Margin
	if sum < 0 || sum+p.Overlap < 0 {
		return "292 years, which is the limit"
	}
	return FormatDuration(sum + p.Overlap)
}
