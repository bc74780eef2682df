package rotation_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"rotator/internal/rotation"
)

const (
	longestGap = 24 * time.Hour
	jitter     = time.Hour
	verify     = 2 * time.Minute
)

// draw makes a project with so many credentials, keys of strangers among
// them, and a policy that can be kept.
func draw(t *rapid.T, credentials, strangers int) *world {
	policy := rotation.Policy{
		Overlap: time.Duration(rapid.IntRange(0, 10).Draw(t, "overlap")) * day,
		Margin:  rotation.Margin(longestGap, jitter, verify),
	}
	policy.MaxAge = 2*policy.Overlap + policy.Margin + time.Duration(rapid.IntRange(1, 60*24).Draw(t, "room"))*time.Hour
	if err := policy.Validate(); err != nil {
		t.Fatal(err)
	}
	all, err := rotation.ParsePatterns("*")
	if err != nil {
		t.Fatal(err)
	}
	luck := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "luck"), 1))
	w := &world{t: t, now: noon, luck: luck, keys: map[string]*truth{}, facts: rotation.Facts{
		Project: rotation.Project{ID: "p1"}, Policy: policy, Scope: rotation.Scope{Include: all},
		Paths: map[string]rotation.Path{}, Records: map[string]rotation.Record{}, Own: map[string]bool{},
	}}
	together := rapid.Bool().Draw(t, "together")
	for i := range credentials {
		name, age := fmt.Sprintf("c%d", i), time.Duration(0)
		if !together {
			age = w.upTo(policy.DueAfter())
		}
		w.add(name, name, age).consumed = true
	}
	for i := range strangers {
		switch rapid.IntRange(0, 1).Draw(t, "stranger") {
		case 0:
			w.add(fmt.Sprintf("c%d~0f0000000000%d", i, i), fmt.Sprintf("c%d", i), 0).alien = true
		case 1:
			w.facts.Scope.Exclude, _ = rotation.ParsePatterns("private*")
			w.add(fmt.Sprintf("private-%d", i), fmt.Sprintf("private-%d", i), 0).alien = true
		}
	}
	return w
}

// tick goes to the next run: a gap on, and some jitter after the tick.
func (w *world) tick(start time.Time, n int) {
	w.now = later(w.now, start.Add(time.Duration(n)*longestGap+w.upTo(jitter)))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// A world in which everything may fail at any point never sees a key deleted
// that it needs, an eleventh key, a third key of a credential, or a key made
// beside a failed rotation's. (world itself says so when one is.)
func TestSafetyWhateverFails(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := draw(t, rapid.IntRange(1, 9).Draw(t, "credentials"), rapid.IntRange(0, 2).Draw(t, "strangers"))
		for len(w.keys) > rotation.KeyCap {
			delete(w.keys, slices.Max(slices.Collect(maps.Keys(w.keys))))
		}
		start := w.now
		for n := range 100 {
			w.tick(start, n)
			if w.chance(3) {
				w.forgetVault()
			}
			w.run()
		}
	})
}

// forgetVault loses an older version, as max_versions does.
func (w *world) forgetVault() {
	for _, name := range slices.Sorted(maps.Keys(w.facts.Paths)) {
		if p := w.facts.Paths[name]; len(p.Older) > 2 {
			p.Older = p.Older[1:]
			w.facts.Paths[name] = p
		}
	}
}

// When runs come on schedule and nothing fails, no key outlives the age
// limit, however few the slots: unless a warning comes first, which ends the
// property.
func TestAgeLimitIsKept(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := draw(t, rapid.IntRange(1, 10).Draw(t, "credentials"), 0)
		w.calm = true
		start := w.now
		for n := range 150 {
			w.tick(start, n)
			w.run()
			if w.warned {
				return
			}
			for _, k := range w.keys {
				if age := w.now.Sub(k.CreatedAt); age > w.facts.Policy.MaxAge {
					t.Fatalf("day %d: key %s of %s is %s old", n, k.ID, k.credential, rotation.FormatDuration(age))
				}
			}
		}
	})
}

// Decide does not depend on the order of its facts.
func TestDecideIsDeterministic(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := draw(t, rapid.IntRange(1, 8).Draw(t, "credentials"), 2)
		start := w.now
		for n := range 60 {
			w.tick(start, n)
			w.run()
		}
		f := w.look()
		want := rotation.Decide(f)
		f.Keys = slices.Clone(f.Keys)
		w.luck.Shuffle(len(f.Keys), func(i, j int) { f.Keys[i], f.Keys[j] = f.Keys[j], f.Keys[i] })
		f.Paths, f.Records = maps.Clone(f.Paths), maps.Clone(f.Records)
		if diff := cmp.Diff(want, rotation.Decide(f)); diff != "" {
			t.Fatalf("another plan (-first +second):\n%s", diff)
		}
	})
}
