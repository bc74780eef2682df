package vault_test

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"rotator/internal/vault"
)

func TestComponent(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 100)
	for _, c := range []struct{ name, want string }{
		{"billing-api", "billing-api"},
		{"a..b", "a..b"},
		{"0", "0"},
		{long, long},
		{long + "a", strings.Repeat("a", 80) + "-9d0793397991"},
		{"Billing API", "billing-api-63b0599976b3"},
		{"billing-api-0123456789ab", "billing-api-0123456789ab-318369ab4bbf"},
		{"../../root", "..-..-root-5f223e330a2a"},
		{"-x", "-x-a420962426d7"},
		{"", "-e3b0c44298fc"},
		{"ÜÜ", "---2446f6425fa1"},
	} {
		if got := vault.Component(c.name); got != c.want {
			t.Errorf("Component(%q) = %q, want %q", c.name, got, c.want)
		}
	}
}

// hostile draws names that try to collide or to escape.
func hostile() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.String(),
		rapid.StringOfN(rapid.RuneFrom([]rune("aAbB-._/ äß\x00%~")), 0, 8, -1),
		rapid.StringMatching(`[a-b]{1,2}-[0-9a-f]{12}`),
		rapid.StringMatching(`a{79,101}[ab]?`),
		rapid.Map(rapid.String(), vault.Component), // looks like a result
	)
}

var component = regexp.MustCompile(`^[a-z0-9._-]+$`)

func checkComponent(t interface {
	Errorf(format string, args ...any)
}, name string,
) {
	got := vault.Component(name)
	if !component.MatchString(got) || len(got) > 100 || got == "." || got == ".." {
		t.Errorf("Component(%q) = %q is no plain path component", name, got)
	}
	if got != vault.Component(name) {
		t.Errorf("Component(%q) differs from call to call", name)
	}
}

func TestComponentKeepsNamesApart(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := hostile().Draw(t, "a"), hostile().Draw(t, "b")
		checkComponent(t, a)
		if a != b && vault.Component(a) == vault.Component(b) {
			t.Errorf("%q and %q share the component %q", a, b, vault.Component(a))
		}
		// The most likely thief of a component is the component itself.
		if c := vault.Component(a); c != a && vault.Component(c) == c {
			t.Errorf("%q shares the component %q with that name", a, c)
		}
	})
}

func FuzzComponent(f *testing.F) {
	for _, seed := range []string{"billing-api", "", "..", "A/b", "x-0123456789ab", "\xff\x00", strings.Repeat("é", 99)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) { checkComponent(t, name) })
}
