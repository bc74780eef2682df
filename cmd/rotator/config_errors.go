package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// problem is one thing wrong with the configuration.
type problem struct {
	variable string // or file:line
	wrong    string // what is wrong
	right    string // what would be right; empty where wrong says it
}

// configError is everything that is wrong with the configuration; main exits
// with 1 on it (`audit verify` with 2).
type configError []problem

// Error lists the problems, one a line.
func (e configError) Error() string {
	var b strings.Builder
	noun := "problems"
	if len(e) == 1 {
		noun = "problem"
	}
	fmt.Fprintf(&b, "%d %s in the configuration:", len(e), noun)
	for _, p := range e {
		fmt.Fprintf(&b, "\n  %s: %s", p.variable, p.wrong)
		if p.right != "" {
			b.WriteString("; " + p.right)
		}
	}
	return b.String()
}

// add appends a problem.
func (e *configError) add(variable, wrong, right string) {
	*e = append(*e, problem{variable, wrong, right})
}

// addAll appends the problems of err, which is nil or a configError.
func (e *configError) addAll(err error) {
	var more configError
	if errors.As(err, &more) {
		*e = append(*e, more...)
	}
}

// names reports whether a problem with one of these variables is known, so
// that checks across variables keep quiet about what follows from it.
func (e configError) names(variables ...string) bool {
	for _, p := range e {
		for _, v := range variables {
			if p.variable == v || p.variable == v+"_FILE" {
				return true
			}
		}
	}
	return false
}

// orNil is the error to return: sorted, each problem once, or nil when there
// is none.
func (e configError) orNil() error {
	if len(e) == 0 {
		return nil
	}
	slices.SortStableFunc(e, func(a, b problem) int { return strings.Compare(a.variable, b.variable) })
	return e[:len(slices.Compact(e))]
}
