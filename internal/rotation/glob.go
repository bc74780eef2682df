package rotation

import (
	"errors"
	"fmt"
	"strings"
)

// Wildcards in a glob; negative, so that no character equals one.
const (
	anySegment rune = -1 // any text without `/`
	anything   rune = -2 // any text
)

// glob is one part of a Pattern: characters and wildcards.
type glob []rune

func parseGlob(text string) (glob, error) {
	switch text {
	case "":
		return nil, errors.New("a part is empty: write * for any")
	case "*":
		return glob{anything}, nil
	}
	var g glob
	escaped := false
	for _, r := range text {
		switch {
		case escaped && !strings.ContainsRune(`,/*\`, r):
			return nil, fmt.Errorf(`\%c means nothing: only \, \/ \* and \\ do`, r)
		case escaped:
			g, escaped = append(g, r), false
		case r == '\\':
			escaped = true
		case r == '*':
			g = append(g, anySegment)
		default:
			g = append(g, r)
		}
	}
	if escaped {
		return nil, errors.New(`a \ at the end escapes nothing: write \\`)
	}
	return g, nil
}

// match compares in time |g|·|text| at worst: on a mismatch only the last
// wildcard takes one character more, since an earlier one that did could only
// leave less to match.
func (g glob) match(text string) bool {
	if len(g) == 1 && g[0] == anything {
		return true
	}
	t := []rune(text)
	i, star, taken := 0, -1, 0
	for j := 0; j < len(t); {
		switch {
		case i < len(g) && g[i] == t[j]:
			i, j = i+1, j+1
		case i < len(g) && g[i] == anySegment:
			star, taken = i, j
			i++
		case star >= 0 && t[taken] != '/':
			taken++
			i, j = star+1, taken
		default:
			return false
		}
	}
	for i < len(g) && g[i] == anySegment {
		i++
	}
	return i == len(g)
}
