package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"rotator/internal/call"
)

// BodyLimit is the largest body of an event, in bytes.
const BodyLimit = 16 << 10

// ErrInvalid marks an event that cannot be logged as it is: no type, an id
// that is not a UUID, or too large even after its texts were cut. It is the
// caller's mistake and permanent.
var ErrInvalid = errors.New("invalid audit event")

// Longest texts, in bytes. JSON doubles a text of quotes at most, so all of
// them together stay below BodyLimit and leave room for keysBudget.
const (
	wordLimit   = 128
	nameLimit   = 300
	proseLimit  = 500
	urlLimit    = 1000
	keysBudget  = 6 << 10 // marshalled keys of one part of a snapshot
	counterSize = 64
	noteLimit   = 4 << 10 // signed notes and frontiers are our own and stay as they are
)

// Marshal returns the body of the event: the bytes that are stored and hashed.
// Texts are made valid UTF-8 without control characters and scrubbed of known
// secrets; over-long ones are cut. Times are cut to microseconds.
func (e Event) Marshal() ([]byte, error) {
	e = e.clean()
	if err := e.check(); err != nil {
		return nil, err
	}
	body, err := encode(e)
	if err != nil {
		return nil, fmt.Errorf("%w: marshalling %s: %w", ErrInvalid, e.Type, err)
	}
	if len(body) > BodyLimit {
		return nil, fmt.Errorf("%w: %s has %d bytes, at most %d are allowed", ErrInvalid, e.Type, len(body), BodyLimit)
	}
	return body, nil
}

func (e Event) check() error {
	if e.Type == "" {
		return fmt.Errorf("%w: no type", ErrInvalid)
	}
	for _, id := range []struct{ name, text string }{{"id", e.ID}, {"call", e.Call}, {"run", e.Run}} {
		if id.text == "" && id.name != "id" {
			continue
		}
		if err := uuid.Validate(id.text); err != nil || len(id.text) != 36 {
			return fmt.Errorf("%w: %s of %s is not a UUID: %q", ErrInvalid, id.name, e.Type, id.text)
		}
	}
	if !utf8.ValidString(e.Note) || strings.ContainsRune(e.Note, 0) || len(e.Note) > noteLimit || len(e.Frontier) > noteLimit {
		return fmt.Errorf("%w: the note of %s is no signed note", ErrInvalid, e.Type)
	}
	if e.Status < 0 || e.Status > 999 {
		return fmt.Errorf("%w: status %d", ErrInvalid, e.Status)
	}
	return nil
}

// encode writes JSON without escaping <, > and &, which HTML needs and an
// auditor's eye does not.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err //nolint:wrapcheck // Marshal and SplitSnapshot wrap it
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// clean returns a copy whose texts and times are fit to be stored.
func (e Event) clean() Event {
	word := func(texts ...*string) {
		for _, t := range texts {
			*t = call.Clean(*t, wordLimit)
		}
	}
	e.Phase, e.Outcome = Phase(call.Clean(string(e.Phase), wordLimit)), Outcome(call.Clean(string(e.Outcome), wordLimit))
	word(&e.ID, &e.Type, &e.Call, &e.Run, &e.Rotation, &e.Trigger, &e.Host, &e.Build, &e.ConfigSHA256,
		&e.Project, &e.Key, &e.Replaces, &e.Op, &e.Method, &e.RequestID, &e.Traceparent, &e.DBUser, &e.VaultEntity)
	for _, t := range []*string{&e.Actor, &e.Credential, &e.DisplayName, &e.VaultPath} {
		*t = call.Clean(*t, nameLimit)
	}
	for _, t := range []*string{&e.Error, &e.Reason, &e.Policy} {
		*t = call.Clean(*t, proseLimit)
	}
	e.URL = call.Clean(e.URL, urlLimit)
	for _, t := range []*time.Time{&e.KeyCreatedAt, &e.RetireAt, &e.Tick} {
		*t = cleanTime(*t)
	}
	e.Counters, e.Keys = cleanCounters(e.Counters), cleanKeys(e.Keys)
	return e
}

func cleanCounters(counters map[string]int64) map[string]int64 {
	if counters == nil {
		return nil
	}
	clean := make(map[string]int64, len(counters))
	for name, n := range counters {
		clean[call.Clean(name, counterSize)] += n
	}
	return clean
}

func cleanKeys(keys []Key) []Key {
	clean := make([]Key, len(keys))
	for i, k := range keys {
		clean[i] = Key{
			ID: call.Clean(k.ID, wordLimit), Name: call.Clean(k.Name, nameLimit),
			Created: cleanTime(k.Created), State: call.Clean(k.State, counterSize),
		}
	}
	return clean
}

// cleanTime drops what neither RFC 3339 nor Postgres can write: a remote
// clock must not be able to block the log.
func cleanTime(t time.Time) time.Time {
	t = t.UTC().Truncate(time.Microsecond)
	if t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}
	}
	return t
}

// SplitSnapshot cuts a snapshot whose keys would not fit one event into parts
// that do, numbered by Part and Parts. One that fits comes back alone.
func SplitSnapshot(e Event) ([]Event, error) {
	var parts []Event
	size, from := 0, 0
	for i, k := range cleanKeys(e.Keys) {
		body, err := encode(k)
		if err != nil {
			return nil, fmt.Errorf("%w: marshalling key of a snapshot: %w", ErrInvalid, err)
		}
		if size += len(body) + 1; size > keysBudget {
			parts = append(parts, withKeys(e, e.Keys[from:i]))
			size, from = len(body)+1, i
		}
	}
	parts = append(parts, withKeys(e, e.Keys[from:]))
	for i := range parts {
		if len(parts) > 1 {
			parts[i].ID, parts[i].Part, parts[i].Parts = "", i+1, len(parts)
		}
	}
	return parts, nil
}

func withKeys(e Event, keys []Key) Event {
	e.Keys = keys
	return e
}
