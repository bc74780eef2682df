package sinchtest_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/sinch/sinchtest"
)

func TestSeedFleet(t *testing.T) {
	t.Parallel()
	clock := newClock()
	seed := func(n uint64) (*sinchtest.Server, sinchtest.Issued) {
		s := sinchtest.New(sinchtest.Config{Now: clock.Now, Seed: n})
		return s, s.SeedFleet(sinchtest.Fleet{Subprojects: 25, Keys: 4, Oldest: 100 * time.Hour})
	}
	a, self := seed(1)
	b, same := seed(1)
	c, other := seed(2)
	if self != same || self == other {
		t.Error("want the same key from the same seed only")
	}
	if !a.Works(self.KeyID, self.Secret) || a.Keys("parent")[0].DisplayName != "rotator" {
		t.Error("the fleet's own key does not work")
	}
	subs := a.Subprojects("parent")
	if diff := cmp.Diff(subs, b.Subprojects("parent")); diff != "" || len(subs) != 25 || subs[0] == c.Subprojects("parent")[0] {
		t.Errorf("%d subprojects, between runs:\n%s", len(subs), diff)
	}
	quarters := map[int]int{}
	for _, sub := range subs {
		keys := a.Keys(sub)
		if diff := cmp.Diff(keys, b.Keys(sub)); diff != "" || len(keys) != 4 {
			t.Errorf("%d keys, between runs:\n%s", len(keys), diff)
		}
		for _, k := range keys {
			quarters[int(clock.Now().Sub(k.CreateTime)/(25*time.Hour))]++
		}
	}
	for q := range 4 {
		if n := quarters[q]; n < 23 || n > 27 {
			t.Errorf("ages by quarter: %v, want about 25 each", quarters)
		}
	}
}

// TestLargeFleet holds the largest fleet of the benchmarks. It is not parallel:
// it measures the heap.
func TestLargeFleet(t *testing.T) {
	if testing.Short() {
		t.Skip("seeds 400,000 keys")
	}
	before := heap()
	s := sinchtest.New(sinchtest.Config{})
	s.SeedFleet(sinchtest.Fleet{Subprojects: 100_000, Keys: 4})
	used := heap() - before
	if n := len(s.Subprojects("parent")); n != 100_000 {
		t.Errorf("%d subprojects", n)
	}
	if used > 256<<20 {
		t.Errorf("uses %d MiB", used>>20)
	}
	t.Logf("%d MiB", used>>20)
	runtime.KeepAlive(s)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
