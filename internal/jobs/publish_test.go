package jobs_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"

	"rotator/internal/audit"
	"rotator/internal/jobs"
	"rotator/internal/vault"
)

// forgetful is a Vault that answers its first write with success and does not
// keep it, as a cluster may that fails over.
type forgetful struct {
	jobs.Secrets
	forgot *atomic.Bool
}

func (f forgetful) Put(ctx context.Context, path string, d vault.Data, cas int) (int, error) {
	if f.forgot.Swap(true) {
		return f.Secrets.Put(ctx, path, d, cas)
	}
	return cas + 1, nil
}

// TestPublicationIsReadBack: what Vault's answer says is not enough. Unless
// the path, read back, names the new key, nothing is published and the old
// key has no successor.
func TestPublicationIsReadBack(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	old := g.project("p1", "api", 89*day)
	secrets := forgetful{forgot: new(atomic.Bool)}
	r := g.run(jobs.Order{}, overlap(0), func(c *jobs.Config) {
		secrets.Secrets = c.Secrets
		c.Secrets = secrets
	})
	g.wantExit(r, jobs.ExitFailed)
	if r.Rotated != 0 || r.OrphansDeleted != 1 {
		t.Errorf("results %+v", r.Results)
	}
	if n := len(g.events(audit.Filter{Type: audit.RotationPublished})); n != 0 {
		t.Errorf("%d publications are in the log, and none in Vault", n)
	}
	if !g.sim.Works(old.KeyID, old.Secret) || !slices.Equal(g.listed("p1"), []string{old.KeyID}) {
		t.Errorf("listed %v, want only the old key %s", g.listed("p1"), old.KeyID)
	}
	g.wantExit(g.run(jobs.Order{}, overlap(0)), jobs.ExitConverged)
	if got := g.listed("p1"); !slices.Equal(got, []string{g.consistent("p1", "api")}) {
		t.Errorf("listed %v after the next run", got)
	}
}
