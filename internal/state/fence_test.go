package state_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"rotator/internal/state"
)

// newRotation is a rotation's row to begin with.
func newRotation(id, credential, old string) state.NewRotation {
	return state.NewRotation{
		ID: id, Credential: credential, DisplayName: credential + "~" + id, OldKeyID: old,
		Trigger: "schedule", Reason: "due", Actor: "test", Run: uuid.New(), Overlap: time.Hour,
	}
}

// Rotation ids of tests.
const (
	first  = "0000000000001"
	second = "0000000000002"
	third  = "0000000000003"
	fourth = "0000000000004"
)

// dump is every row of the state, but for who holds which lease until when.
func (g *rig) dump() (rows []string) {
	g.Helper()
	found, err := g.pool.Query(g.Context(), `
		SELECT 'project ' || (to_jsonb(p) - 'fence' - 'lease_owner' - 'lease_expires_at' - 'next_check_at')::text FROM rotator.project p
		UNION ALL SELECT 'credential ' || to_jsonb(c)::text FROM rotator.credential c
		UNION ALL SELECT 'rotation ' || to_jsonb(r)::text FROM rotator.rotation r
		UNION ALL SELECT 'key ' || to_jsonb(k)::text FROM rotator.access_key k ORDER BY 1`)
	g.must(err)
	defer found.Close()
	for found.Next() {
		var row string
		g.must(found.Scan(&row))
		rows = append(rows, row)
	}
	g.must(found.Err())
	return rows
}

// staged is a project with a key, a credential and a rotation in each state.
func staged(t *testing.T) *rig {
	t.Helper()
	g := newRig(t, "p")
	l := g.lease("p")
	g.apply(l.PlanRotation(newRotation(first, "api", "k0")))
	g.apply(l.PlanRotation(newRotation(second, "api", "k0")))
	g.apply(l.RotationCreated(second, "k2"))
	g.apply(l.PlanRotation(newRotation(third, "api", "k0")))
	g.apply(l.RotationCreated(third, "k3"))
	g.apply(l.RotationVerified(third))
	g.current("p", "api", "k0")
	g.apply(l.Snapshot([]state.SeenKey{{ID: "k0", Credential: "api", State: "current", CreatedAt: time.Now()}}, []byte{1}))
	g.must(g.Release(t.Context(), state.Release{Lease: l, NextCheck: time.Now()}))
	return g
}

// guarded are all changes that a lease guards; each applies to what staged
// sets up.
func guarded(l *state.Lease) map[string]state.Change {
	return map[string]state.Change{
		"held":       l.Held(),
		"plan":       l.PlanRotation(newRotation(fourth, "api", "k0")),
		"created":    l.RotationCreated(first, "k1"),
		"verified":   l.RotationVerified(second),
		"published":  l.RotationPublished(publication(third, "k3")),
		"replaced":   l.RotationPublished(replacement(third, "k3")),
		"failed":     l.RotationFailed(first, "given up"),
		"known":      l.RotationKnown(newRotation("0000000000005", "web", ""), "k9", 1, time.Now()),
		"snapshot":   l.Snapshot([]state.SeenKey{{ID: "k5", Credential: "api", State: "current", CreatedAt: time.Now()}}, []byte{2}),
		"key gone":   l.KeyGone("k0"),
		"policy":     l.Policy("max_age=1h"),
		"credential": l.CredentialFailed("api", "sinch/p/api", "broken", 3),
	}
}

// publication is one of a rotation of api whose keys the next look will see.
func publication(rotation, key string, edits ...func(*state.Publication)) state.Publication {
	p := state.Publication{Rotation: rotation, Credential: "api", Path: "sinch/p/api", Version: 2, At: time.Now(), Key: key}
	for _, edit := range edits {
		edit(&p)
	}
	return p
}

// replacement is one that notes both keys.
func replacement(rotation, key string) state.Publication {
	return publication(rotation, key, func(p *state.Publication) {
		p.Seen, p.Replaced = state.SeenKey{ID: key, Credential: "api", State: "current", CreatedAt: time.Now()}, "k0"
	})
}

// TestStaleFenceChangesNothing: whatever a worker still writes after its lease
// ran out or went to another changes no row. Under a lease that holds, the
// same changes apply.
func TestStaleFenceChangesNothing(t *testing.T) {
	t.Parallel()
	for name := range guarded(&state.Lease{}) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := staged(t)
			stale := g.lease("p")
			g.expire("p")
			before := g.dump()
			g.refused("after the lease ran out", guarded(stale)[name], before)
			holder := g.lease("p")
			g.refused("after another process claimed", guarded(stale)[name], before)
			forged := *holder
			forged.Fence++
			g.refused("with a fence of the future", guarded(&forged)[name], before)

			g.apply(guarded(holder)[name])
			if name != "held" && cmp.Equal(before, g.dump()) {
				t.Error("under a lease that holds, nothing was changed either")
			}
		})
	}
}

// refused fails the test unless the change does not apply and leaves the
// state as it was.
func (g *rig) refused(when string, c state.Change, before []string) {
	g.Helper()
	if applied, err := g.Apply(g.Context(), c); err != nil || applied {
		g.Errorf("%s: applied %t, error %v", when, applied, err)
	}
	if diff := cmp.Diff(before, g.dump()); diff != "" {
		g.Errorf("%s: state changed:\n%s", when, diff)
	}
}

// TestAClaimWaitsForACommit: between the check of a fence and its commit no
// other process can claim the project.
func TestAClaimWaitsForACommit(t *testing.T) {
	t.Parallel()
	g := newRig(t, "p")
	l := g.lease("p")
	tx, err := g.pool.Begin(t.Context())
	g.must(err)
	defer tx.Rollback(t.Context()) //nolint:errcheck // nothing is lost
	var b pgx.Batch
	applied := l.Held()(&b)
	g.must(tx.SendBatch(t.Context(), &b).Close())
	if !applied() {
		t.Fatal("a lease that holds does not")
	}
	for _, change := range []string{
		`UPDATE rotator.project SET fence = fence + 1 WHERE id = 'p'`,
		`UPDATE rotator.project SET lease_expires_at = now() WHERE id = 'p'`,
	} {
		if _, err := g.pool.Exec(t.Context(), `SET lock_timeout = '100ms'; `+change); err == nil {
			t.Errorf("went through beside an open transaction that rests on the lease: %s", change)
		}
	}
	other := g.claiming(func(c *state.Claiming) { c.Since, c.Known = g.now(), true })
	if again := g.claim(other); again != nil {
		t.Error("the project was claimed")
	}
}

func TestRotationGoesThroughItsStatesInOrder(t *testing.T) {
	t.Parallel()
	g := staged(t)
	l := g.lease("p")
	for name, c := range map[string]state.Change{
		"verified before created":  l.RotationVerified(first),
		"created twice":            l.RotationCreated(second, "another"),
		"another project's":        l.RotationCreated(fourth, "k4"),
		"created after verified":   l.RotationCreated(third, "another"),
		"published without a plan": l.RotationPublished(publication(fourth, "k4")),
	} {
		g.refused(name, c, g.dump())
	}
	g.apply(l.RotationPublished(publication(third, "k3")))
	g.refused("failed after published", l.RotationFailed(third, "late"), g.dump())
	g.apply(l.RotationFailed(second, "given up"))
	g.apply(l.RotationPublished(publication(second, "k2"))) // Vault had it after all
}
