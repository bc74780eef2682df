package rotation

import (
	"fmt"
	"strings"
)

// namePrefix in front of a project pattern makes it one of display names.
const namePrefix = "name:"

// Pattern selects credentials: `credential`, in every project, or
// `project/credential`, where the project is its id or `name:<display name>`.
//
// It is split at its first `/`; credential names may hold slashes themselves,
// so `a/b` is credential b of project a, and `*/a/b` credential a/b of any.
// Within a part `*` stands for any text without `/`; a part that is `*` alone
// stands for every name, so that neither `*` nor `project/*` misses a
// credential because of a slash in it. `\` takes the meaning from `,`, `/`,
// `*` and itself. All else, upper case too, stands for itself.
type Pattern struct {
	text       string
	byName     bool
	project    glob
	credential glob
}

// String returns the pattern as it was written.
func (p Pattern) String() string { return p.text }

// Match reports whether the pattern selects the credential of project.
func (p Pattern) Match(project Project, credential string) bool {
	id := project.ID
	if p.byName {
		id = project.Name
	}
	return p.project.match(id) && p.credential.match(credential)
}

// ParsePatterns reads patterns separated by commas; blanks around them do not
// count. An empty text is no pattern at all.
func ParsePatterns(text string) ([]Pattern, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var patterns []Pattern
	for _, item := range splitUnescaped(text, ',', -1) {
		p, err := parsePattern(strings.TrimSpace(item))
		if err != nil {
			return nil, fmt.Errorf("reading pattern %q: %w", strings.TrimSpace(item), err)
		}
		patterns = append(patterns, p)
	}
	return patterns, nil
}

func parsePattern(text string) (Pattern, error) {
	p := Pattern{text: text, project: glob{anything}}
	parts := splitUnescaped(text, '/', 2)
	credential := parts[len(parts)-1]
	if len(parts) == 2 {
		project, byName := strings.CutPrefix(parts[0], namePrefix)
		g, err := parseGlob(project)
		if err != nil {
			return Pattern{}, err
		}
		p.project, p.byName = g, byName
	} else if strings.HasPrefix(text, namePrefix) {
		return Pattern{}, fmt.Errorf("a project needs its credentials: write %s/*", text)
	}
	g, err := parseGlob(credential)
	if err != nil {
		return Pattern{}, err
	}
	p.credential = g
	return p, nil
}

// splitUnescaped is strings.SplitN at separators without a `\` before them.
func splitUnescaped(text string, separator byte, n int) []string {
	var parts []string
	start := 0
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\':
			i++
		case text[i] == separator && (n < 0 || len(parts) < n-1):
			parts = append(parts, text[start:i])
			start = i + 1
		}
	}
	return append(parts, text[start:])
}
