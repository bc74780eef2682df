package audit_test

import (
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"rotator/internal/audit"
	"rotator/internal/postgres/pgtest"
)

// TestStoppedPostgres crashes the server in a loop under load. Some of the
// outages are longer than the log's patience: then outcomes are spilled. What
// was acknowledged, by the log or by the spill, is what stands in the log in
// the end, each once.
func TestStoppedPostgres(t *testing.T) {
	t.Parallel()
	cluster, url := pgtest.Private(t)
	pool, dir := pgtest.Pool(t, url), t.TempDir()
	var acknowledged, spilled, reports, late atomic.Int64
	var over atomic.Bool
	var g errgroup.Group
	logs, spills := make([]*audit.Log, 2), make([]*audit.Spill, 2)
	for p, process := range []string{"a", "b"} {
		logs[p] = open(t, faultyPool(t, url, &faults{}), func(c *audit.Config) { c.Timeout = time.Second })
		spills[p] = openSpill(t, dir, process)
		for range 8 {
			g.Go(func() error {
				for !over.Load() {
					e := logs[p].Stamp(stamped("under load"))
					err := logs[p].Append(t.Context(), e)
					if errors.Is(err, audit.ErrUnwritable) {
						spilled.Add(1)
						err = spills[p].Write(e)
					}
					if err != nil {
						return err
					}
					acknowledged.Add(1)
				}
				return nil
			})
		}
		g.Go(func() error {
			for !over.Load() {
				done, err := logs[p].Replay(t.Context(), dir, spills[p])
				if err != nil && !errors.Is(err, audit.ErrUnwritable) {
					return err
				}
				reports.Add(int64(len(done)))
				time.Sleep(20 * time.Millisecond)
			}
			return nil
		})
	}
	g.Go(func() error {
		defer over.Store(true)
		for cycle := range 6 {
			time.Sleep(time.Duration(300+rand.IntN(300)) * time.Millisecond)
			if err := cluster.Stop("immediate"); err != nil {
				return err
			}
			if cycle%2 == 1 {
				time.Sleep(1500 * time.Millisecond) // longer than the log's timeout
			}
			if err := cluster.Restart(t.Context()); err != nil {
				return err
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for p := range logs { // what was spilled at the very end
		for tries := 0; !spills[p].Empty(); tries++ {
			done, err := logs[p].Replay(t.Context(), dir, spills[p])
			if err != nil && (tries == 20 || !errors.Is(err, audit.ErrUnwritable)) {
				t.Fatal(err)
			}
			reports.Add(int64(len(done)))
			late.Add(int64(len(done)))
		}
	}
	if left := files(t, dir); len(left) != 0 {
		t.Errorf("%d spill files were left", len(left))
	}
	t.Logf("%d acknowledged, %d of them spilled, %d files replayed, %d of them at the end",
		acknowledged.Load(), spilled.Load(), reports.Load(), late.Load())
	if spilled.Load() == 0 {
		t.Error("nothing was spilled: the outages were too short")
	}
	// A replay whose commit lost its answer is reported by the next one again.
	n := get[int64](t, pool, "select count(*) from audit.event where type = $1", audit.AuditSpillReplayed)
	if n < reports.Load() {
		t.Errorf("%d replays are reported, %d were made", n, reports.Load())
	}
	checkLog(t, pool, acknowledged.Load()+n)
}
