package rotation

import (
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"
	"unicode/utf8"
)

// NameLimit is how many characters a display name that we write has at most.
// Sinch documents no limit; this one is ours.
const NameLimit = 128

// The two forms that are grammar, not part of a credential's name. Each has
// one length, so that reading a name is quick however long a stranger made it.
var (
	idForm         = regexp.MustCompile(`^~[0-9a-v]{13}$`)
	supersededForm = regexp.MustCompile(`^ \(superseded [0-9]{4}-[0-9]{2}-[0-9]{2}\)$`)
)

const (
	idLength         = len("~0123456789abc")
	supersededLength = len(" (superseded 2006-01-02)")
)

// idEncoding is base32hex in lower case: unlike plain base 32 it sorts as
// what it encodes.
var idEncoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// NewID returns a rotation id: 13 lowercase base-32 characters that sort by
// time. 42 bits are milliseconds since 1970 (enough until 2109), 23 are read
// from random; the database refuses the one clash in eight million within a
// millisecond.
func NewID(now time.Time, random io.Reader) (string, error) {
	ms := now.UnixMilli()
	if ms < 0 || ms >= 1<<42 {
		return "", errors.New("making a rotation id: the time lies outside 1970 to 2109")
	}
	// 65 bits in 9 bytes, left-aligned: 64 of time and chance, then one more.
	var raw [9]byte
	if _, err := io.ReadFull(random, raw[5:]); err != nil {
		return "", fmt.Errorf("making a rotation id: reading random bytes: %w", err)
	}
	chance := uint64(binary.BigEndian.Uint32(raw[5:])) >> 10 // 22 bits
	last := raw[8] & 1                                       // and the 23rd
	binary.BigEndian.PutUint64(raw[:8], uint64(ms)<<22|chance)
	raw[8] = last << 7
	return idEncoding.EncodeToString(raw[:])[:13], nil
}

// Name is what a display name says.
type Name struct {
	Credential string // what is left without our two forms; perhaps cut, see DisplayName
	RotationID string // empty unless the name carries one
	Superseded bool   // whether it is marked as superseded
}

// ParseName reads a display name: `<credential>~<rotation id>`, either with
// ` (superseded <date>)` behind it or not. Any other text is a credential's
// name as it stands, and so is one of which a form would leave nothing. Forms
// are stripped until none is left; of several rotation ids the last counts.
func ParseName(display string) Name {
	n := Name{Credential: display}
	for {
		if base, _, ok := cutForm(n.Credential, supersededForm, supersededLength); ok {
			n.Credential, n.Superseded = base, true
			continue
		}
		base, form, ok := cutForm(n.Credential, idForm, idLength)
		if !ok {
			return n
		}
		n.Credential = base
		if n.RotationID == "" {
			n.RotationID = form[1:]
		}
	}
}

// cutForm cuts a form off the end of text, if something is left before it.
func cutForm(text string, form *regexp.Regexp, length int) (base, cut string, ok bool) {
	at := len(text) - length
	if at <= 0 || !form.MatchString(text[at:]) {
		return text, "", false
	}
	return text[:at], text[at:], true
}

// DisplayName is the name of the key that rotation id makes for credential.
// A name too long is cut at the end of its credential part, so it maps back
// to the credential only through the rotation's Record.
func DisplayName(credential, id string) string {
	return limited(credential, "~"+id)
}

// SupersededName marks displayName for people in the Sinch dashboard. An
// earlier mark is replaced; only the credential part is ever cut.
func SupersededName(displayName string, date time.Time) string {
	base, marked := displayName, true
	for marked {
		base, _, marked = cutForm(base, supersededForm, supersededLength)
	}
	base, id, _ := cutForm(base, idForm, idLength)
	return limited(base, id+" (superseded "+date.UTC().Format(time.DateOnly)+")")
}

// limited is base and suffix, base cut so that both fit in NameLimit.
func limited(base, suffix string) string {
	room := NameLimit - utf8.RuneCountInString(suffix)
	for i := range base {
		if room == 0 {
			return base[:i] + suffix
		}
		room--
	}
	return base + suffix
}

// marked reports whether the name carries a rotation's id, ours or another
// installation's.
func (n Name) marked() bool { return n.RotationID != "" }
