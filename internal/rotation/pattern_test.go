package rotation_test

import (
	"strings"
	"testing"

	"rotator/internal/rotation"
)

func TestPatterns(t *testing.T) {
	t.Parallel()
	tests := []struct {
		patterns, credential string
		want                 bool
	}{
		{"*", "api", true},
		{"*", "a/b", true},
		{"*", "", true},
		{"api", "api", true},
		{"api", "API", false},
		{"api", "apis", false},
		{"p1/api", "api", true},
		{"p2/api", "api", false},
		{"p*/api", "api", true},
		{"*/api", "api", true},
		{"p1/*", "a/b", true},
		{"p1/a*", "ab", true},
		{"p1/a*", "a/b", false},
		{"*/a/b", "a/b", true},
		{"*/a/*", "a/b", true},
		{"*/a/*", "a/b/c", false},
		{"*/*/*", "a/b", true},
		{`a\/b`, "a/b", true},
		{"name:Pay ments/api", "api", true},
		{"name:Pay*/api", "api", true},
		{"name:p1/api", "api", false},
		{`*/name:x`, "name:x", true},
		{"*-prod", "billing-prod", true},
		{"*-prod", "billing-prod-2", false},
		{"b*g*d", "billing-prod", true},
		{"b*x*d", "billing-prod", false},
		{`a\*`, "a*", true},
		{`a\*`, "ab", false},
		{`a\\b`, `a\b`, true},
		{`a\,b`, "a,b", true},
		{" x , api ", "api", true},
		{"[a]?", "a", false},
		{"[a]?", "[a]?", true},
		{"ü*", "über", true},
		{"", "api", false},
	}
	for _, test := range tests {
		s := rotation.Scope{Include: patterns(t, test.patterns)}
		if got := s.Contains(rotation.Project{ID: "p1", Name: "Pay ments"}, test.credential); got != test.want {
			t.Errorf("%q contains %q: %v", test.patterns, test.credential, got)
		}
	}
}

func TestScopeExcludes(t *testing.T) {
	t.Parallel()
	s := rotation.Scope{Include: patterns(t, "*"), Exclude: patterns(t, "p1/api, break-glass*")}
	for credential, want := range map[string]bool{"api": false, "web": true, "break-glass-1": false} {
		if got := s.Contains(rotation.Project{ID: "p1"}, credential); got != want {
			t.Errorf("contains %q: %v", credential, got)
		}
	}
	if (rotation.Scope{Exclude: patterns(t, "x")}).Contains(rotation.Project{}, "api") {
		t.Error("a scope that includes nothing contains something")
	}
}

func TestParsePatternsErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"api,":     "empty",
		",":        "empty",
		"p1/":      "empty",
		"/api":     "empty",
		"name:/x":  "empty",
		"name:foo": "name:foo/*",
		`a\`:       "escapes nothing",
		`a\x`:      "means nothing",
	} {
		if _, err := rotation.ParsePatterns(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParsePatterns(%q): %v, want %q", text, err, want)
		}
	}
}

func FuzzParsePatterns(f *testing.F) {
	for _, text := range []string{"*", "p1/api,web", "name:a/b*c", `a\/b`, `\`, ",,", "*/*/*"} {
		f.Add(text, "a/b")
	}
	escape := strings.NewReplacer(`\`, `\\`, ",", `\,`, "/", `\/`, "*", `\*`)
	f.Fuzz(func(t *testing.T, text, credential string) {
		if all, err := rotation.ParsePatterns(text); err == nil {
			for _, p := range all {
				p.Match(rotation.Project{ID: credential, Name: text}, credential)
			}
		}
		// Whatever a credential is called, there is a pattern for it alone.
		if strings.TrimSpace(credential) != credential || credential == "" || strings.HasPrefix(credential, "name:") {
			return
		}
		own, err := rotation.ParsePatterns(escape.Replace(credential))
		if err != nil || len(own) != 1 || !own[0].Match(rotation.Project{}, credential) || own[0].Match(rotation.Project{}, credential+"x") {
			t.Fatalf("pattern for %q: %v, %v", credential, own, err)
		}
	})
}
