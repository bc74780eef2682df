package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// field is a field of an event's body that verification looks at.
type field int

// Fields. The first ones are those of the query columns, in their order.
const (
	fieldTime field = iota
	fieldStatus
	fieldID
	fieldCall
	fieldRun
	fieldType
	fieldPhase
	fieldOutcome
	fieldOp
	fieldRotation
	fieldCredential
	fieldProject
	fieldKey
	fieldVaultPath
	fieldCount
)

// fieldOf finds a field by its name in the body, -1 for one of no interest.
func fieldOf(name []byte) field {
	switch string(name) {
	case "t_us":
		return fieldTime
	case "status":
		return fieldStatus
	case "id":
		return fieldID
	case "call":
		return fieldCall
	case "run":
		return fieldRun
	case "type":
		return fieldType
	case "phase":
		return fieldPhase
	case "outcome":
		return fieldOutcome
	case "op":
		return fieldOp
	case "rotation":
		return fieldRotation
	case "credential":
		return fieldCredential
	case "project":
		return fieldProject
	case "key":
		return fieldKey
	case "vault_path":
		return fieldVaultPath
	}
	return -1
}

// content is what a body says in those fields, as texts: what Postgres' ->>
// gives, nil for null or absent. They point into the body where they can.
type content [fieldCount][]byte

// read reads a body. Bodies are hostile: it must see in them what Postgres
// sees (of a name that stands twice, the last value counts). The form that
// Marshal writes is read in passing; any other as JSON may be written.
func (c *content) read(body []byte) error {
	if c.scan(body) {
		return nil
	}
	return c.parse(body)
}

// parse reads any form of JSON.
func (c *content) parse(body []byte) error {
	*c = content{}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(body, &all); err != nil {
		return fmt.Errorf("reading an event: %w", err)
	}
	for name, raw := range all {
		f := fieldOf([]byte(name))
		if f < 0 {
			continue
		}
		if raw[0] == '"' {
			c[f] = unquote(raw)
		} else if string(raw) != "null" {
			c[f] = raw
		}
	}
	return nil
}

// unquote decodes a JSON string.
func unquote(quoted []byte) []byte {
	var text string
	if json.Unmarshal(quoted, &text) != nil {
		return quoted // no string at all: it equals nothing
	}
	return []byte(text)
}

// scan reads the form that Marshal writes: one object without spaces, names
// without escapes. It reports false for anything else. Whether the body is
// JSON at all it does not find out.
func (c *content) scan(body []byte) bool {
	*c = content{}
	last := len(body) - 1
	if last < 1 || body[0] != '{' || body[last] != '}' {
		return false
	}
	for i := 1; ; i++ {
		end, plain := endOfString(body, i)
		if !plain || end >= last || body[end] != ':' {
			return false
		}
		f, from := fieldOf(body[i+1:end-1]), end+1
		value, end := c.value(body, from, f >= 0)
		if end < 0 {
			return false
		}
		if f >= 0 {
			c[f] = value
		}
		if body[end] == '}' {
			return end == last
		}
		if body[end] != ',' {
			return false
		}
		i = end
	}
}

// value reads the value that begins at from and returns where it ends, -1 if
// it does not. Its text is read only if it is wanted.
func (c *content) value(body []byte, from int, wanted bool) (text []byte, end int) {
	switch body[from] {
	case '"':
		end, plain := endOfString(body, from)
		switch {
		case end >= len(body):
			return nil, -1
		case plain:
			return body[from+1 : end-1 : end-1], end
		case wanted:
			return unquote(body[from:end]), end
		}
		return nil, end
	case '{', '[':
		end = endOfNested(body, from)
	default:
		end = from + bytes.IndexAny(body[from:], ",}]\" \t\r\n")
	}
	if end <= from || end >= len(body) {
		return nil, -1
	}
	if text = body[from:end:end]; string(text) == "null" {
		text = nil
	}
	return text, end
}

// endOfString returns the index after the string that begins at from, or the
// body's length when it does not end or does not begin; plain says that it
// holds no escapes.
func endOfString(body []byte, from int) (end int, plain bool) {
	if from >= len(body) || body[from] != '"' {
		return len(body), false
	}
	plain = true
	for i := from + 1; i < len(body); i++ {
		switch body[i] {
		case '"':
			return i + 1, plain
		case '\\':
			plain = false
			i++
		}
	}
	return len(body), false
}

// endOfNested returns the index after the object or array that begins at
// from, or the body's length.
func endOfNested(body []byte, from int) int {
	depth := 0
	for i := from; i < len(body); i++ {
		switch body[i] {
		case '"':
			end, _ := endOfString(body, i)
			i = end - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(body)
}
