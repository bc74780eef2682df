package state_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"rotator/internal/state"
)

// memory returns what is known of project p.
func (g *rig) memory(keys, ids []string) *state.Memory {
	g.Helper()
	all, err := g.Recall(g.Context(), "p")
	g.must(err)
	g.must(g.Complete(g.Context(), all[0], keys, ids))
	return all[0]
}

// rotations returns the ids of the rotations that are recalled, sorted.
func (g *rig) rotations(keys, ids []string) []string {
	g.Helper()
	found := []string{}
	for _, r := range g.memory(keys, ids).Rotations {
		found = append(found, r.ID)
	}
	slices.Sort(found)
	return found
}

// TestRotationsThatStillMatter: years of history stay in the table, a few rows
// are looked at.
func TestRotationsThatStillMatter(t *testing.T) {
	t.Parallel()
	g := newRig(t, "p", "q")
	l, q := g.lease("p"), g.lease("q")
	now := time.Now()
	publish := func(l *state.Lease, id, credential, old, key string, age time.Duration) {
		t.Helper()
		g.apply(l.PlanRotation(newRotation(id, credential, old)))
		g.apply(l.RotationPublished(publication(id, key, func(p *state.Publication) { p.Credential, p.At = credential, now.Add(-age) })))
	}
	publish(l, "api0000000001", "api", "k0", "k1", 300*time.Hour)
	publish(l, "api0000000002", "api", "k1", "k2", 200*time.Hour)
	publish(l, "api0000000003", "api", "k2", "k3", 100*time.Hour)
	publish(l, "web0000000001", "web", "", "w1", 100*time.Hour)
	publish(q, "qqq0000000001", "api", "", "k3", time.Hour)
	g.apply(l.PlanRotation(newRotation("api0000000004", "api", "k3")))
	g.apply(l.PlanRotation(newRotation("api0000000005", "api", "k3")))
	g.apply(l.RotationFailed("api0000000005", "given up"))

	always := []string{"api0000000003", "api0000000004", "web0000000001"} // last published, unfinished
	for name, test := range map[string]struct {
		keys, ids []string
		more      []string
	}{
		"nothing listed":          {},
		"made a listed key":       {keys: []string{"k2"}, more: []string{"api0000000002"}},
		"replaced a listed key":   {keys: []string{"k0"}, more: []string{"api0000000001"}},
		"a listed name's id":      {ids: []string{"api0000000005"}, more: []string{"api0000000005"}},
		"another project's id":    {ids: []string{"qqq0000000001"}},
		"both keys of a rotation": {keys: []string{"k1", "k2"}, more: []string{"api0000000001", "api0000000002"}},
	} {
		want := slices.Concat(always, test.more)
		slices.Sort(want)
		if diff := cmp.Diff(want, g.rotations(test.keys, test.ids)); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

func TestRotationComesBackAsItWasWritten(t *testing.T) {
	t.Parallel()
	g := newRig(t, "p")
	l := g.lease("p")
	n := newRotation(first, "Ünïcode / name", "k0")
	n.Overlap, n.Trigger = 36*time.Hour+500*time.Millisecond, "compromised"
	g.apply(l.PlanRotation(n))
	at := time.Date(2026, 5, 1, 12, 0, 0, 123456000, time.UTC)
	g.apply(l.RotationPublished(publication(first, "k1", func(p *state.Publication) { p.At, p.Version = at, 7 })))
	rows := g.memory(nil, nil).Rotations
	retire := at.Add(n.Overlap)
	want := []state.Rotation{{
		ID: first, Credential: n.Credential, DisplayName: n.DisplayName, OldKeyID: "k0", NewKeyID: "k1",
		Trigger: "compromised", State: "published", Overlap: n.Overlap, PublishedAt: &at, RetireAt: &retire,
	}}
	ignore := cmp.FilterPath(func(p cmp.Path) bool { return p.String() == "StartedAt" }, cmp.Ignore())
	if diff := cmp.Diff(want, rows, ignore); diff != "" {
		t.Error(diff)
	}
	if age := time.Since(rows[0].StartedAt).Abs(); age > time.Minute {
		t.Errorf("started %s ago", age)
	}
}

func TestSnapshotKnowsWhatIsListed(t *testing.T) {
	t.Parallel()
	g := newRig(t, "p")
	l := g.lease("p")
	see := func(ids ...string) {
		t.Helper()
		keys := []state.SeenKey{}
		for _, id := range ids {
			keys = append(keys, state.SeenKey{ID: id, Credential: "api", DisplayName: "api", State: "current", CreatedAt: time.Now()})
		}
		g.apply(l.Snapshot(keys, []byte{byte(len(ids))}))
	}
	known := func(want ...string) {
		t.Helper()
		ids := g.memory(nil, nil).Known
		slices.Sort(ids)
		if !slices.Equal(ids, want) {
			t.Errorf("known keys %v, want %v", ids, want)
		}
	}
	see("a", "b", "c")
	known("a", "b", "c")
	see("b", "d")
	known("b", "d")
	see("a", "b", "d") // a listing was late
	g.apply(l.KeyGone("d"))
	known("a", "b")
	see()
	known()
	g.must(g.Release(t.Context(), state.Release{Lease: l, NextCheck: time.Now()}))
	if p := g.lease("p").Project; !slices.Equal(p.SnapshotSHA256, []byte{0}) || p.SnapshotAt == nil {
		t.Errorf("the next claim does not tell of the snapshot: %+v", p)
	}
}

func TestVanishedProjectsComeBack(t *testing.T) {
	t.Parallel()
	g := newRig(t, "a", "b", "c")
	next := g.now()
	g.discover("a", "d")
	n, err := g.Vanished(t.Context(), next)
	if err != nil || n != 2 {
		t.Errorf("%d vanished, %v; want b and c", n, err)
	}
	all := func(c *state.Claiming) { c.Since, c.Known = g.now(), true }
	if got := g.claimed(g.claiming(all)); !slices.Equal(got, []string{"a", "d"}) {
		t.Errorf("projects left: %v", got)
	}
	last := g.now()
	g.discover("a", "b")
	g.exec(`UPDATE rotator.project SET lease_expires_at = NULL`)
	if got := g.claimed(g.claiming(func(c *state.Claiming) { c.Since = last })); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("projects after b came back: %v", got)
	}
}

func TestCredentialFailures(t *testing.T) {
	t.Parallel()
	g := newRig(t, "p")
	l := g.lease("p")
	g.apply(l.CredentialFailed("api", "sinch/p/api", "broken", 3))
	creds := g.memory(nil, nil).Credentials
	if len(creds) != 1 || creds[0].Failures != 3 || creds[0].NotBefore == nil || time.Until(*creds[0].NotBefore) > state.Backoff(3) {
		t.Fatalf("credentials %+v", creds)
	}
	g.apply(l.PlanRotation(newRotation(first, "api", "k0")))
	g.apply(l.RotationPublished(publication(first, "k1")))
	creds = g.memory(nil, nil).Credentials
	if diff := cmp.Diff([]state.Credential{{Name: "api", CurrentKeyID: "k1"}}, creds); diff != "" {
		t.Error(diff)
	}
}

func TestOwnKeysOfLiveProcesses(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	a, b, dead := uuid.New(), uuid.New(), uuid.New()
	for process, key := range map[uuid.UUID]string{a: "k1", b: "k2", dead: "k3"} {
		_, err := g.Beat(t.Context(), process, "host", key, time.Minute)
		g.must(err)
	}
	g.exec(`UPDATE rotator.process SET expires_at = now() - interval '1 second' WHERE id = $1`, dead)
	alive, err := g.Beat(t.Context(), a, "host", "k4", time.Minute) // has moved on
	g.must(err)
	g.must(g.Leave(t.Context(), b))
	own, err := g.OwnKeys(t.Context())
	g.must(err)
	if diff := cmp.Diff(map[string]bool{"k4": true}, own); diff != "" || alive != 2 {
		t.Errorf("%d alive; own keys:\n%s", alive, diff)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	for _, want := range []string{"", "parent/rotator", "parent/another"} {
		if want != "" {
			g.must(g.SetSetting(t.Context(), "self", want))
		}
		if got, err := g.Setting(t.Context(), "self"); err != nil || got != want {
			t.Errorf("setting %q, %v; want %q", got, err, want)
		}
	}
}

// TestWriterRoleCanDoItsWork: every test's store logs in with the writer's
// role. What that may do is enough, and is no more than that.
func TestWriterRoleCanDoItsWork(t *testing.T) {
	t.Parallel()
	g := newRig(t, "p")
	l := g.lease("p")
	for name, c := range guarded(l) {
		if _, err := g.Apply(t.Context(), c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	g.apply(state.StartRun(state.Begun{ID: g.run, Trigger: "manual", Actor: "a", Host: "h"}))
	g.apply(state.FinishRun(g.run, map[string]int64{"rotated": 1}))
	_, err := g.Beat(t.Context(), uuid.New(), "h", "k", time.Minute)
	g.must(err)
	g.must(g.Leave(t.Context(), uuid.New()))
	g.must(g.SetSetting(t.Context(), "self", "p/api"))
	for _, sql := range []string{`TRUNCATE rotator.setting`, `DROP TABLE rotator.run`, `CREATE TABLE rotator.mine ()`, `ALTER TABLE rotator.project ADD x int`} {
		if _, err := g.pool.Exec(t.Context(), sql); err == nil {
			t.Errorf("the writer may: %s", sql)
		}
	}
}
