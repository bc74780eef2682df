package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/google/uuid"
)

// maxTimeUS is the end of the year 9999, in microseconds.
const maxTimeUS = 253_402_300_800_000_000

// parseLine checks that a line of a spill file is the body of an event and
// returns the event's id. The log must not stumble over anything that it lets
// pass, so it takes only what Marshal writes, byte for byte; a newer version's
// fields may follow. That also keeps out a text that this process, unlike the
// one that wrote it, knows to be a secret.
func parseLine(body []byte) (uuid.UUID, error) {
	fail := func(why string) (uuid.UUID, error) { return uuid.Nil, fmt.Errorf("%w: %s", ErrInvalid, why) }
	if len(body) > BodyLimit || !utf8.Valid(body) {
		return fail("longer than an event, or not UTF-8")
	}
	var e Event
	if err := json.Unmarshal(body, &e); err != nil {
		return fail("not an event in JSON")
	}
	switch {
	case e.Phase == Intent:
		return fail("an intent is never spilled")
	case e.V < 1 || e.TimeUS < 1 || e.TimeUS >= maxTimeUS:
		return fail("not stamped")
	}
	known, err := e.Marshal()
	if err != nil {
		return uuid.Nil, err
	}
	rest, ok := bytes.CutPrefix(body, known[:len(known)-1])
	if !ok || !harmless(rest) {
		return fail("not as events are written")
	}
	return uuid.MustParse(e.ID), nil // which Marshal has checked
}

// harmless reports whether the end of a body, which is valid JSON, holds
// nothing but fields that we do not know, and none of the escapes that type
// json stores but functions on it refuse (NUL, half a surrogate pair).
func harmless(rest []byte) bool {
	if string(rest) == "}" {
		return true
	}
	return bytes.HasPrefix(rest, []byte(`,"`)) && !bytes.Contains(rest, []byte(`\u0`)) &&
		!bytes.Contains(bytes.ToLower(rest), []byte(`\ud`))
}
