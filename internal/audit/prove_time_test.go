package audit_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"rotator/internal/audit"
	"rotator/internal/postgres/pgtest"
)

// TestProveBetweenTimes finds checkpoints by when they were made: a range
// begins with the first one that covers all before it, and ends with the last
// one until it.
func TestProveBetweenTimes(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	set := func(at time.Time) { mu.Lock(); defer mu.Unlock(); now = at }
	pool, dir := pgtest.New(t), audit.DirStore(t.TempDir())
	k := keep(t, pool, newShelf(), func(c *audit.AnchorConfig) {
		c.Mirror, c.Now = dir, func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	})
	hours := []int{0, 1, 13, 26, 100}
	start := now
	at := func(h float64) time.Time { return start.Add(time.Duration(h * float64(time.Hour))) }
	for _, h := range hours { // sizes 1 to 5
		set(at(float64(h)))
		k.logs(t, 1)
		k.anchor(t)
	}
	// As dropping a partition makes it: small, and younger than larger ones.
	boundary(t, k, 2, at(50))
	for _, c := range []struct {
		from, to      float64
		older, newer  int64
		coarse        [2]int64 // where only days are known
		coarseNothing bool
	}{
		{from: -100, to: 200, older: 1, newer: 5, coarse: [2]int64{1, 5}},
		{from: 0, to: 1, older: 1, newer: 2, coarseNothing: true},
		{from: 0.5, to: 13, older: 2, newer: 3, coarseNothing: true},
		{from: 1.1, to: 99, older: 3, newer: 4, coarse: [2]int64{3, 4}},
		{from: 0.9, to: 40, older: 2, newer: 4, coarse: [2]int64{3, 4}},
		{from: 12, to: 60, older: 3, newer: 4, coarse: [2]int64{3, 4}},
		{from: 13, to: 26, older: 3, newer: 4, coarseNothing: true},
	} {
		name := fmt.Sprintf("%v to %v", c.from, c.to)
		from, to := audit.Mark{Time: at(c.from)}, audit.Mark{Time: at(c.to)}
		for _, store := range []audit.Store{k.store, dir} {
			p, err := k.prover(t, pool, store).Consistency(t.Context(), from, to)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			} else if k.verified(t, p); p.Older.Size != c.older || p.Newer.Size != c.newer {
				t.Errorf("%s: proof of %d to %d, want %d to %d", name, p.Older.Size, p.Newer.Size, c.older, c.newer)
			}
		}
		p, err := k.prover(t, pool, notesOnly(t, dir)).Consistency(t.Context(), from, to)
		switch {
		case c.coarseNothing && !errors.Is(err, audit.ErrUnprovable):
			t.Errorf("%s by days: %v, want nothing provable", name, err)
		case !c.coarseNothing && err != nil:
			t.Errorf("%s by days: %v", name, err)
		case !c.coarseNothing && [2]int64{p.Older.Size, p.Newer.Size} != c.coarse:
			t.Errorf("%s by days: proof of %d to %d, want %v", name, p.Older.Size, p.Newer.Size, c.coarse)
		}
	}
	for name, m := range map[string][2]audit.Mark{
		"from after all":  {{Time: at(100.1)}, {}},
		"to before all":   {{Size: 1}, {Time: at(-0.1)}},
		"nothing between": {{Time: at(2)}, {Time: at(12)}},
	} {
		if _, err := k.prover(t, pool, k.store).Consistency(t.Context(), m[0], m[1]); !errors.Is(err, audit.ErrUnprovable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// boundary makes a checkpoint of a size that the log has passed.
func boundary(t *testing.T, k *keeper, size int64, at time.Time) {
	t.Helper()
	for a, err := range (&audit.Archive{Store: k.store, Keys: k.keys}).Anchors(t.Context(), 1, size) {
		if err != nil || a.Size != size {
			t.Fatalf("there is no checkpoint %d to copy: %v", size, err)
		}
		fields := map[string]string{"note": a.Note, "anchored_at": at.Format(time.RFC3339)}
		if err := k.store.Create(t.Context(), fmt.Sprintf("checkpoints/1/%s/%016d", at.Format(time.DateOnly), size), fields); err != nil {
			t.Fatal(err)
		}
		return
	}
}
