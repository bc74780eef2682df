package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// configRow is one variable, for README, config.example.env and -h.
type configRow struct {
	Section     string
	Name        string
	Default     string // as people read it; "required" where there is none and one is needed
	Description string
	Secret      bool
	Shown       bool // Default is a description, not a value that could be set
}

// configTable lists every variable, section by section.
func configTable() []configRow {
	var rows []configRow
	for _, s := range new(config).sections() {
		t := reflect.TypeOf(s.target).Elem()
		for f := range t.Fields() {
			v := variableOf(f)
			required := ""
			if v.required {
				required = "required"
			}
			rows = append(rows, configRow{s.title, v.name, cmp.Or(v.shown, v.fallback, required), v.doc, v.secret, v.shown != ""})
		}
	}
	return rows
}

// values is what each variable says; of secrets, whether they are set.
func (c *config) values() map[string]string {
	values := map[string]string{}
	for _, s := range c.sections() {
		v := reflect.ValueOf(s.target).Elem()
		for f, field := range v.Fields() {
			values[variableOf(f).name] = fmt.Sprint(reflect.Indirect(field))
		}
	}
	return values
}

// sha256 is the fingerprint of what the process works by, for the audit log:
// every value that is not a secret, and of secrets whether they are set.
func (c *config) sha256() string {
	values := c.values()
	values["margin"] = c.Policy.Margin.String()
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		fmt.Fprintf(h, "%s=%q\n", name, values[name])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// unknownVariables warns about ROTATOR_ and AUDIT_ variables that nobody
// reads: most are typing errors.
func unknownVariables(src *sources) []string {
	known := map[string]bool{}
	for _, row := range configTable() {
		known[row.Name], known[row.Name+"_FILE"] = true, true
	}
	found := map[string]string{}
	for _, one := range src.list {
		for _, name := range one.env.Names() {
			ours := strings.HasPrefix(name, "ROTATOR_") || strings.HasPrefix(name, "AUDIT_")
			if ours && !known[name] {
				found[name] = one.label
			}
		}
	}
	var warnings []string
	for _, name := range slices.Sorted(maps.Keys(found)) {
		hint := ""
		if like := nearest(name, known); like != "" {
			hint = "; did you mean " + like + "?"
		}
		warnings = append(warnings, "unknown variable "+name+found[name]+hint)
	}
	return warnings
}

// maxTypos is how many letters may differ between a variable and the one it
// was meant to be.
const maxTypos = 3

// nearest returns the known name most like name, empty if none is.
func nearest(name string, known map[string]bool) string {
	best, least := "", maxTypos+1
	for _, k := range slices.Sorted(maps.Keys(known)) {
		if d := distance(name, k); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is Levenshtein's: how many letters to insert, drop or change.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
