package rotation_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/rotation"
)

// fleet is a project with so many credentials, all equally old.
func fleet(t *testing.T, n int, age float64) *facts {
	t.Helper()
	f := newFacts(t)
	for i := range n {
		f.key(fmt.Sprintf("k%d", i), fmt.Sprintf("c%d", i), age)
	}
	return f
}

// A slot is held for the overlap and half a margin, 8 days here; due by age
// at 81. Every turn that shares a slot starts that much before the next.
func TestStaggering(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		credentials int
		want        []float64 // ages at which they are due
	}{
		"slots for all": {5, []float64{81, 81, 81, 81, 81}},
		"two too few":   {6, []float64{73, 73, 81, 81, 81, 81}},
		"three slots":   {7, []float64{65, 73, 73, 73, 81, 81, 81}},
		"two slots":     {8, []float64{57, 57, 65, 65, 73, 73, 81, 81}},
		"one slot":      {9, []float64{17, 25, 33, 41, 49, 57, 65, 73, 81}},
		"no slot":       {10, []float64{81, 81, 81, 81, 81, 81, 81, 81, 81, 81}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []float64
			for _, v := range rotation.Decide(fleet(t, test.credentials, 0).Facts).Keys {
				got = append(got, v.DueAt.Sub(noon).Hours()/24)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("due (-want +got):\n%s", diff)
			}
		})
	}
}

func TestForecast(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		facts *facts
		want  string // in the only warning; none when empty
	}{
		"one slot, in time":       {fleet(t, 9, 17), ""},
		"one slot, late by a bit": {fleet(t, 9, 18), ""},
		"one slot, too late":      {fleet(t, 9, 19), `9 credentials share 1 free slots of 10, too few to rotate`},
		"no slot, long before":    {fleet(t, 10, 0), "10 credentials share 0 free slots of 10, too few to rotate 10 of them"},
		"not for long": {
			fleet(t, 9, 0).with(func(f *rotation.Facts) { f.Policy.Overlap = 9 * day }), "will not fit for long",
		},
		"names what could go": {
			fleet(t, 9, 0).key("kx", "c0 (superseded 2026-01-01)", 9), "perhaps kx",
		},
		"kept keys never give their slot back": {
			fleet(t, 8, 0).with(func(f *rotation.Facts) { f.Policy.Adopt = rotation.AdoptKeep }), "too few to rotate 6 of them",
		},
		"an overlap that runs will end": {pair(t, 3).fill(t, 10), ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			warnings := strings.Join(rotation.Decide(test.facts.Facts).Warnings, "\n")
			if (test.want == "") != (warnings == "") || !strings.Contains(warnings, test.want) {
				t.Errorf("warnings %q, want %q", warnings, test.want)
			}
		})
	}
}

// Nine credentials and one slot fit for years: no key outlives the age limit,
// and nobody is warned for nothing.
func TestScarceSlotsForYears(t *testing.T) {
	t.Parallel()
	for credentials := 6; credentials <= 9; credentials++ {
		for _, spread := range []float64{0, 1, 9} {
			t.Run(fmt.Sprintf("%d credentials, %v days apart", credentials, spread), func(t *testing.T) {
				t.Parallel()
				w := &world{t: t, now: noon, keys: map[string]*truth{}, calm: true, luck: rand.New(rand.NewPCG(1, 2))}
				w.facts = newFacts(t).Facts
				w.facts.Policy.Margin = rotation.Margin(longestGap, jitter, verify)
				for i := range credentials {
					w.add(fmt.Sprintf("c%d", i), fmt.Sprintf("c%d", i), time.Duration(float64(i)*spread*float64(day)/2)).consumed = true
				}
				start := w.now
				for n := range 400 {
					w.tick(start, n)
					w.run()
					for _, k := range w.keys {
						if age := w.now.Sub(k.CreatedAt); age > w.facts.Policy.MaxAge {
							t.Fatalf("day %d: %s is %s old", n, k.credential, rotation.FormatDuration(age))
						}
					}
				}
				if w.warned {
					t.Error("warned of slots that suffice")
				}
				if rotations := len(w.facts.Records); rotations < 4*credentials || rotations > 6*credentials {
					t.Errorf("%d rotations in 400 days", rotations)
				}
			})
		}
	}
}
