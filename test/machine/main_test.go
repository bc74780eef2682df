// Package machine_test is the property test of the whole machine: random
// fleets under random policies, with random faults, kills and leaps in time,
// and people who interfere. After every step it looks at what must never be
// broken, and at the end everything must have converged.
//
//	go test ./test/machine                       a short one
//	go test ./test/machine -rapid.checks 100     a longer one
//	go test ./test/machine -fuzz FuzzMachine     as long as you like
//
// A failure prints its seed and the shortest story that rapid has found for
// it. Moments of kills depend on how goroutines take turns, so that a story
// may need several tries to happen again.
package machine_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"rotator/internal/postgres/pgtest"
)

// preset are flags for the short test; the command line goes before them.
var preset = map[string]string{"rapid.checks": "3", "rapid.steps": "40", "rapid.nofailfile": "true"}

func TestMain(m *testing.M) {
	flag.Parse()
	flag.Visit(func(f *flag.Flag) { delete(preset, f.Name) })
	for name, value := range preset {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	pgtest.Main(m)
}

// lanes are how many cases run side by side; they wait most of the time.
const lanes = 3

// TestMachine tells short random stories.
func TestMachine(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Postgres; left out by -short")
	}
	t.Parallel()
	tally := new(tally)
	t.Cleanup(func() { tally.verdict(t) }) // after all lanes
	for n := range lanes {
		t.Run(fmt.Sprint("lane ", n), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) { story(t, rt, tally) })
		})
	}
}

// FuzzMachine tells stories for as long as the fuzzer lives.
func FuzzMachine(f *testing.F) {
	if testing.Short() {
		f.Skip("needs Postgres; left out by -short")
	}
	random := rand.NewChaCha8([32]byte{1})
	enough := make([]byte, 1<<14)
	_, _ = random.Read(enough) // never fails
	f.Add(enough)
	f.Fuzz(func(t *testing.T, input []byte) {
		rapid.MakeFuzz(func(rt *rapid.T) { story(t, rt, new(tally)) })(t, input)
	})
}

// tally counts what happened, so that a test in which nothing does fails.
type tally struct{ steps, rotated, deleted, orphans, kills, failed atomic.Int64 }

func (y *tally) verdict(t *testing.T) {
	t.Helper()
	t.Logf("%d steps, %d rotations, %d deletions (%d orphans), %d kills, %d runs with failures",
		y.steps.Load(), y.rotated.Load(), y.deleted.Load(), y.orphans.Load(), y.kills.Load(), y.failed.Load())
	if !t.Failed() && (y.steps.Load() < 60 || y.rotated.Load() == 0 || y.deleted.Load() == 0 || y.kills.Load() == 0) {
		t.Error("that is too little to prove anything")
	}
}

// story is one case: a world, what happens to it, and its end.
func story(t *testing.T, rt *rapid.T, tally *tally) {
	t.Helper()
	w := newWorld(t, rt, tally)
	defer w.close()
	rt.Repeat(map[string]func(*rapid.T){
		"":                w.check,
		"time passes":     w.timePasses,
		"run":             w.plainRun,
		"asked run":       w.askedRun,
		"faulty run":      w.faultyRun,
		"faulty vault":    w.faultyVault,
		"killed run":      w.killedRun,
		"killed rotation": w.killedRotation,
		"person adds":     w.personAdds,
		"person removes":  w.personRemoves,
		"person renames":  w.personRenames,
		"person rolls":    w.personRollsBack,
		"person unlabels": w.personUnlabels,
		"new subproject":  w.newSubproject,
	})
	w.converges(rt)
}
