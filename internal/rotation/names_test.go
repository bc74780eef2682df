package rotation_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"rotator/internal/rotation"
)

var idShape = regexp.MustCompile(`^[0-9a-v]{13}$`)

func TestNewID(t *testing.T) {
	t.Parallel()
	seen, last := map[string]bool{}, ""
	for i := range 2000 {
		id, err := rotation.NewID(noon.Add(time.Duration(i)*time.Millisecond), rand.Reader)
		if err != nil || !idShape.MatchString(id) || seen[id] || id <= last {
			t.Fatalf("NewID = %q, %v after %q", id, err, last)
		}
		seen[id], last = true, id
	}
}

func TestNewIDUsesAllBits(t *testing.T) {
	t.Parallel()
	low, err := rotation.NewID(noon, bytes.NewReader(make([]byte, 4)))
	if err != nil {
		t.Fatal(err)
	}
	high, err := rotation.NewID(noon, bytes.NewReader(bytes.Repeat([]byte{255}, 4)))
	if err != nil {
		t.Fatal(err)
	}
	if low[:8] != high[:8] || low[9:] != "0000" || high[9:] != "vvvv" {
		t.Errorf("from zeros %s, from ones %s", low, high)
	}
}

func TestNewIDErrors(t *testing.T) {
	t.Parallel()
	if _, err := rotation.NewID(noon, iotest.ErrReader(io.ErrClosedPipe)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("broken source: %v", err)
	}
	for _, year := range []int{1960, 2200} {
		if _, err := rotation.NewID(time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC), rand.Reader); err == nil {
			t.Errorf("the year %d is accepted", year)
		}
	}
}

func TestParseName(t *testing.T) {
	t.Parallel()
	for display, want := range map[string]rotation.Name{
		"api":                         {Credential: "api"},
		"api~" + first:                {Credential: "api", RotationID: first},
		"api (superseded 2026-11-22)": {Credential: "api", Superseded: true},
		"api~" + first + " (superseded 2026-11-22)":           {Credential: "api", RotationID: first, Superseded: true},
		"api (superseded 2026-11-22) (superseded 2026-11-23)": {Credential: "api", Superseded: true},
		"api~" + first + "~" + second:                         {Credential: "api", RotationID: second},
		"~" + first:                                           {Credential: "~" + first},
		" (superseded 2026-11-22)":                            {Credential: " (superseded 2026-11-22)"},
		"api~0f0000000000":                                    {Credential: "api~0f0000000000"},
		"api~0F00000000001":                                   {Credential: "api~0F00000000001"},
		"api~0f0000000000w":                                   {Credential: "api~0f0000000000w"},
		"api(superseded 2026-11-22)":                          {Credential: "api(superseded 2026-11-22)"},
		"api\n~" + first:                                      {Credential: "api\n", RotationID: first},
		"api~" + first + "\n":                                 {Credential: "api~" + first + "\n"},
		"":                                                    {},
	} {
		if diff := cmp.Diff(want, rotation.ParseName(display)); diff != "" {
			t.Errorf("ParseName(%q) (-want +got):\n%s", display, diff)
		}
	}
}

func TestNamesAreCutInTheCredentialOnly(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ü", 200)
	display := rotation.DisplayName(long, first)
	superseded := rotation.SupersededName(display, noon)
	adopted := rotation.SupersededName(long[:2*120], noon)
	for got, want := range map[string]string{
		display:    strings.Repeat("ü", 114) + "~" + first,
		superseded: strings.Repeat("ü", 90) + "~" + first + " (superseded 2026-11-22)",
		adopted:    strings.Repeat("ü", 104) + " (superseded 2026-11-22)",
		rotation.SupersededName("api (superseded 2020-01-01)", noon): "api (superseded 2026-11-22)",
		rotation.DisplayName(long[:2*114], first):                    display,
	} {
		if got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

// checkNames asserts what must hold for any credential and display name.
func checkNames(t interface{ Fatalf(string, ...any) }, text string) {
	name := rotation.ParseName(text)
	if again := rotation.ParseName(name.Credential); again != (rotation.Name{Credential: name.Credential}) {
		t.Fatalf("%q reads as %+v, whose credential reads as %+v", text, name, again)
	}
	display := rotation.DisplayName(name.Credential, second)
	superseded := rotation.SupersededName(display, noon)
	for _, written := range []string{display, superseded, rotation.SupersededName(text, noon)} {
		if n := utf8.RuneCountInString(written); n > rotation.NameLimit {
			t.Fatalf("%q has %d characters", written, n)
		}
	}
	for _, written := range []string{display, superseded} {
		got := rotation.ParseName(written)
		if name.Credential != "" && got.RotationID != second {
			t.Fatalf("%q has lost its rotation id: %+v", written, got)
		}
		if name.Credential != "" && utf8.RuneCountInString(name.Credential) <= 90 && got.Credential != name.Credential {
			t.Fatalf("%q reads as %q, not %q", written, got.Credential, name.Credential)
		}
	}
}

func TestNamesRoundTrip(t *testing.T) {
	t.Parallel()
	piece := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"~" + first, " (superseded 2026-11-22)", "\x00", "~", "/", strings.Repeat("x", 113), "\xff", "\u202e"}))
	rapid.Check(t, func(t *rapid.T) {
		checkNames(t, strings.Join(rapid.SliceOfN(piece, 0, 6).Draw(t, "pieces"), ""))
	})
}

func FuzzParseName(f *testing.F) {
	for _, text := range []string{"api~" + first + " (superseded 2026-11-22)", strings.Repeat("ü", 200), "a\x00b", "\xff~" + first, "~" + first + "~" + first} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) { checkNames(t, text) })
}
