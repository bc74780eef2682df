package audit

import (
	"errors"
	"fmt"
	"strings"
	"time"
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
	return 0, 0, fmt.Errorf("%w: status %q is neither like 429 nor like 5xx", ErrFilter, s)
}
