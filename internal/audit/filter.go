package audit

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// ErrFilter marks a filter that cannot be understood.
var ErrFilter = errors.New("invalid filter")

// Filter says which events List returns. What is left zero does not restrict.
type Filter struct {
	Since, Until time.Time // Since included, Until not
	Project      string
	Credential   string
	Key          string // access key id
	Run          string
	Rotation     string
	Type         string
	Operation    string
	Status       string // an HTTP status such as 429, or a class such as 5xx
	Outcome      string
	Actor        string
	Limit        int  // at most so many events; 0 means all
	Newest       bool // with Limit: the last ones instead of the first
}

// FilterError is a value that a filter cannot have. It matches ErrFilter.
type FilterError struct {
	Field string // such as status
	Value string
	Want  string // what would be right
}

func (e *FilterError) Error() string {
	return fmt.Sprintf("%s: %s %q: want %s", ErrFilter, e.Field, e.Value, e.Want)
}

func (e *FilterError) Unwrap() error { return ErrFilter }

// Check returns what no event can match because it is written wrongly, all of
// it. List does not ask for this, a person's input deserves it.
func (f Filter) Check() []*FilterError {
	var wrong []*FilterError
	add := func(ok bool, field, value, want string) {
		if value != "" && !ok {
			wrong = append(wrong, &FilterError{field, value, want})
		}
	}
	add(len(f.Run) == 36 && uuid.Validate(f.Run) == nil, "run", f.Run, "a run's id, a UUID as `rotator audit list --type run.started -o json` shows it")
	add(rotationID.MatchString(f.Rotation), "rotation", f.Rotation, "a rotation's id: 13 characters of 0-9 and a-v, as behind the ~ in a key's display name")
	_, _, err := parseStatus(f.Status)
	add(err == nil, "status", f.Status, statusForm)
	add(slices.Contains([]Outcome{OK, Error, Unknown}, Outcome(f.Outcome)), "outcome", f.Outcome, "ok, error or unknown")
	if !f.Since.IsZero() && !f.Until.IsZero() && !f.Since.Before(f.Until) {
		wrong = append(wrong, &FilterError{"until", instant(f.Until), "a time after " + instant(f.Since) + ", where the events begin"})
	}
	return wrong
}

// rotationID is what rotation ids look like: base 32 with the extended hex
// alphabet, in lower case.
var rotationID = regexp.MustCompile(`^[0-9a-v]{13}$`)

// String says in words what is asked for: `project p1, status 5xx`.
func (f Filter) String() string {
	var words []string
	for _, w := range []struct{ name, value string }{
		{"since", instant(f.Since)},
		{"until", instant(f.Until)},
		{"project", f.Project},
		{"credential", f.Credential},
		{"key", f.Key},
		{"run", f.Run},
		{"rotation", f.Rotation},
		{"type", f.Type},
		{"op", f.Operation},
		{"status", f.Status},
		{"outcome", f.Outcome},
		{"actor", f.Actor},
	} {
		if w.value != "" {
			words = append(words, w.name+" "+w.value)
		}
	}
	if f.Limit > 0 {
		words = append(words, fmt.Sprintf("at most %d", f.Limit))
	}
	if f.Limit > 0 && f.Newest {
		words = append(words, "the newest")
	}
	if len(words) == 0 {
		return "everything"
	}
	return strings.Join(words, ", ")
}

// instant is a time as RFC 3339 in UTC, empty where there is none.
func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// query returns the statement and its arguments. Only constant text goes into
// the statement.
func (f Filter) query() (string, []any, error) {
	var where []string
	var args []any
	add := func(condition string, arg any) {
		args = append(args, arg)
		where = append(where, fmt.Sprintf(condition, len(args)))
	}
	for _, c := range []struct{ condition, value string }{
		{"project_id = $%d", f.Project},
		{"credential = $%d", f.Credential},
		{"key_id = $%d", f.Key},
		{"run_id = $%d", f.Run},
		{"rotation_id = $%d", f.Rotation},
		{"type = $%d", f.Type},
		{"operation = $%d", f.Operation},
		{"outcome = $%d", f.Outcome},
		{"body ->> 'actor' = $%d", f.Actor},
	} {
		if c.value != "" {
			add(c.condition, c.value)
		}
	}
	if !f.Since.IsZero() {
		add("occurred_at >= $%d", f.Since)
	}
	if !f.Until.IsZero() {
		add("occurred_at < $%d", f.Until)
	}
	if f.Status != "" {
		low, high, err := parseStatus(f.Status)
		if err != nil {
			return "", nil, err
		}
		add("http_status >= $%d", low)
		add("http_status <= $%d", high)
	}
	sql := "select seq, body::text as body from audit.event"
	if len(where) > 0 {
		sql += " where " + strings.Join(where, " and ")
	}
	switch {
	case f.Limit > 0 && f.Newest:
		sql = fmt.Sprintf("select seq, body from (%s order by seq desc limit %d) newest order by seq", sql, f.Limit)
	case f.Limit > 0:
		sql += fmt.Sprintf(" order by seq limit %d", f.Limit)
	default:
		sql += " order by seq"
	}
	return sql, args, nil
}

const statusForm = "an HTTP status such as 429, or a class such as 5xx"

// parseStatus reads "404" as 404 to 404 and "4xx" as 400 to 499.
func parseStatus(s string) (low, high int, err error) {
	digit := func(i int) (int, bool) { return int(s[i] - '0'), s[i] >= '0' && s[i] <= '9' }
	if len(s) == 3 {
		class, ok := digit(0)
		if ok && class > 0 && strings.EqualFold(s[1:], "xx") {
			return class * 100, class*100 + 99, nil
		}
		tens, ok1 := digit(1)
		ones, ok2 := digit(2)
		if n := class*100 + tens*10 + ones; ok && class > 0 && ok1 && ok2 {
			return n, n, nil
		}
	}
	return 0, 0, &FilterError{"status", s, statusForm}
}
