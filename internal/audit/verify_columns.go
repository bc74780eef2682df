package audit

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"rotator/internal/call"
)

// columns are the query columns of an event, in Postgres' binary form, nil
// for NULL.
type columns [14][]byte

// Columns that have no field of their own, or that come before those that do.
const (
	columnTime = iota
	columnDay
	columnStatus
	columnID   // of the event, then of call and run
	columnText = columnID + 3
)

// columnNames are the columns in their order: from the status on, that of the
// fields.
var columnNames = [len(columns{})]string{
	"occurred_at", "day", "http_status", "event_id", "call_id", "run_id",
	"type", "phase", "outcome", "operation", "rotation_id", "credential", "project_id", "key_id",
}

// fieldOfColumn is the field that a column was filled with.
func fieldOfColumn(i int) field { return max(field(i)-1, fieldTime) }

// columns compares the query columns with the body that they were filled
// with: by nothing else do auditors find an event.
func (v *verification) columns(r *row, c *content) {
	for i, cell := range r.cols {
		if !sameColumn(i, cell, c[fieldOfColumn(i)]) {
			v.find(v.at(r.seq, FoundColumn, "column %s of %s says %s, its body %s: the column was altered, or filled past the log's own function",
				columnNames[i], describe(r.seq, c), shown(i, cell), told(i, c[fieldOfColumn(i)])))
		}
	}
}

// sameColumn reports whether a column says what the field does.
func sameColumn(i int, cell, text []byte) bool {
	if cell == nil || text == nil {
		return cell == nil && text == nil
	}
	switch {
	case i >= columnText:
		return bytes.Equal(cell, text)
	case i >= columnID:
		return sameUUID(cell, text)
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return false
	}
	switch i {
	case columnTime:
		return len(cell) == 8 && int64(binary.BigEndian.Uint64(cell)) == sinceY2K(n) // #nosec G115 -- two's complement, as Postgres sends it
	case columnDay:
		return len(cell) == 4 && int64(int32(binary.BigEndian.Uint32(cell))) == floorDay(sinceY2K(n)) // #nosec G115 -- as above
	}
	return len(cell) == 2 && int64(int16(binary.BigEndian.Uint16(cell))) == n // #nosec G115 -- as above
}

// Postgres counts times from 2000 on.
const (
	y2kUS = 946_684_800_000_000
	dayUS = 86_400_000_000
)

// sinceY2K is a time of the body as the column has it. It goes through a
// double, as it does when Postgres multiplies an interval.
func sinceY2K(us int64) int64 { return int64(float64(us)) - y2kUS }

func floorDay(us int64) int64 {
	if us < 0 {
		us -= dayUS - 1
	}
	return us / dayUS
}

// sameUUID compares a UUID with a text of it. Postgres reads more forms than
// our own.
func sameUUID(cell, text []byte) bool {
	if len(cell) != 16 {
		return false
	}
	id, ok := parseUUID(text)
	return ok && string(cell) == string(id[:])
}

// parseUUID reads a UUID's text.
func parseUUID(text []byte) (id [16]byte, ok bool) {
	if len(text) == 36 && text[8] == '-' && text[13] == '-' && text[18] == '-' && text[23] == '-' {
		var bad byte
		for i, at := range uuidDigits {
			high, low := hexDigits[text[at]], hexDigits[text[at+1]]
			id[i] = high<<4 | low
			bad |= high | low
		}
		return id, bad < 16
	}
	return parseOddUUID(text)
}

// uuidDigits is where each byte of a UUID stands in its usual text.
var uuidDigits = [16]int{0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34}

// hexDigits are the values of hexadecimal digits, 255 for anything else.
var hexDigits = func() (values [256]byte) {
	for i := range values {
		values[i] = 255
	}
	for i, digit := range "0123456789abcdef" {
		values[digit], values[unicode.ToUpper(digit)] = byte(i), byte(i)
	}
	return values
}()

// parseOddUUID reads other forms that Postgres reads: without hyphens, or in
// braces.
func parseOddUUID(text []byte) (id [16]byte, ok bool) {
	var digits [32]byte
	n := 0
	for _, b := range text {
		switch {
		case b == '-' || b == '{' || b == '}':
		case n == len(digits):
			return id, false
		default:
			digits[n] = b
			n++
		}
	}
	_, err := hex.Decode(id[:], digits[:n])
	return id, err == nil && n == len(digits)
}

// shown is a column's value in a finding.
func shown(i int, cell []byte) string {
	switch {
	case cell == nil:
		return "nothing"
	case i >= columnText:
		return quoted(cell)
	case i >= columnID:
		return fmt.Sprintf("%x", cell)
	case i == columnTime && len(cell) == 8:
		return microsecond(int64(binary.BigEndian.Uint64(cell)) + y2kUS).Format(time.RFC3339Nano) // #nosec G115 -- as above
	case i == columnDay && len(cell) == 4:
		return microsecond(int64(int32(binary.BigEndian.Uint32(cell)))*dayUS + y2kUS).Format(time.DateOnly) // #nosec G115 -- as above
	case i == columnStatus && len(cell) == 2:
		return strconv.Itoa(int(int16(binary.BigEndian.Uint16(cell)))) // #nosec G115 -- as above
	}
	return strings.ToUpper(hex.EncodeToString(cell))
}

// told is what the body says for a column, in a finding.
func told(i int, text []byte) string {
	us, err := strconv.ParseInt(string(text), 10, 64)
	if i > columnDay || err != nil {
		return quoted(text)
	}
	return microsecond(us).Format(time.RFC3339Nano)
}

// quoted is a field's text in a finding.
func quoted(text []byte) string {
	if text == nil {
		return "nothing"
	}
	return strconv.Quote(call.Clean(string(text), wordLimit))
}
