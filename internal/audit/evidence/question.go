package evidence

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Kind says what the values of a column are.
type Kind string

// Kinds of columns, with what a value is in JSON. Every value may be null.
const (
	Text    Kind = "text"    // a string; it may come from outside
	Time    Kind = "time"    // a string, RFC 3339 UTC with microseconds
	Seconds Kind = "seconds" // an integer: a length of time
	Number  Kind = "number"  // an integer
	Bool    Kind = "bool"
)

// Column is one column of a table.
type Column struct {
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
}

// Parameter is a value that a table's SQL is asked with.
type Parameter struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// severity says what the rows of a table mean for a reader in a hurry.
type severity int

const (
	informs   severity = iota // rows are no exceptions
	objects                   // every row is an exception
	someWrong                 // those whose column "exception" is true
)

// question is a table before it is asked.
type question struct {
	id      string
	section string
	title   string
	about   string // what a row is, and what would make it an exception
	columns []Column
	rows    severity
	sql     string // as psql reads it: parameters are :'name'
}

// columns reads "name kind" pairs: columns("key_id", Text, "age_s", Seconds).
func columns(pairs ...any) []Column {
	out := make([]Column, 0, len(pairs)/2)
	for pair := range slices.Chunk(pairs, 2) {
		name, _ := pair[0].(string)
		kind, _ := pair[1].(Kind)
		out = append(out, Column{name, kind})
	}
	return out
}

// parameterForm is how psql writes a variable as a literal.
var parameterForm = regexp.MustCompile(`:'([a-z_]+)'`)

// parameters are the values that a question may be asked with, by name.
type parameters map[string]string

// bind returns the statement as the server takes it, its arguments, and, by
// name, what the table shows of them. A variable that nobody has set is an
// error.
func (p parameters) bind(sql string) (statement string, args []any, used []Parameter, err error) {
	statement = parameterForm.ReplaceAllStringFunc(sql, func(form string) string {
		name := parameterForm.FindStringSubmatch(form)[1]
		n := slices.IndexFunc(used, func(u Parameter) bool { return u.Name == name })
		if n < 0 {
			value, known := p[name]
			if !known {
				err = fmt.Errorf("the parameter %s has no value", name)
			}
			n = len(used)
			used, args = append(used, Parameter{name, value}), append(args, value)
		}
		return fmt.Sprintf("$%d", n+1)
	})
	slices.SortFunc(used, func(a, b Parameter) int { return strings.Compare(a.Name, b.Name) })
	return statement, args, used, err
}
