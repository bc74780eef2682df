package jobs_test

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rotator/internal/audit"
	"rotator/internal/jobs"
	"rotator/internal/vault/vaulttest"
)

// TestCheckpointsOverdueInARun: checkpoints fail, and become overdue after the
// first of two projects. In the second one no key is made any more.
func TestCheckpointsOverdueInARun(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.project("p1", "api", 89*day)
	g.project("p2", "api", 89*day)
	var later atomic.Int64
	g.anchoring = func(c *audit.AnchorConfig) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	}
	g.run(jobs.Order{Due: true, Projects: []string{"nobody"}}) // makes a checkpoint
	g.proxy.Fail(func(r *http.Request) bool {
		return r.Method != http.MethodGet && strings.Contains(r.URL.Path, "/checkpoints/")
	}, slices.Repeat([]vaulttest.Fault{vaulttest.InternalError}, 1000)...)
	r := g.run(jobs.Order{}, func(c *jobs.Config) {
		c.Concurrency = 1
		c.Progress = func(int, int) { later.Store(int64(61 * time.Minute)) }
	})
	g.wantExit(r, jobs.ExitRefused)
	if r.Rotated != 1 || r.Refused != 1 || g.sent("access_keys.create") != 1 {
		t.Errorf("%d creates were sent: %+v", g.sent("access_keys.create"), r.Results)
	}
	refused := g.events(audit.Filter{Type: audit.GuardRefused})
	if len(refused) != 1 || refused[0].Project != "p2" || !strings.HasPrefix(refused[0].Reason, "checkpoint_overdue: ") {
		t.Errorf("the log tells of %+v", refused)
	}
}
