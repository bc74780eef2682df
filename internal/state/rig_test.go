package state_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"rotator/internal/postgres/pgtest"
	"rotator/internal/state"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// rig is a store on a database of the test's own.
type rig struct {
	*testing.T
	*state.Store
	pool  *pgxpool.Pool
	run   uuid.UUID
	since time.Time // before every project was seen
}

func newRig(t *testing.T, projects ...string) *rig {
	t.Helper()
	pool := pgtest.New(t)
	g := &rig{T: t, Store: state.New(pool), pool: pool, run: uuid.New()}
	g.since = g.now()
	g.discover(projects...)
	return g
}

func (g *rig) discover(projects ...string) {
	g.Helper()
	page := []state.Discovered{}
	for _, id := range projects {
		page = append(page, state.Discovered{ID: id, Name: "Project " + id})
	}
	g.must(g.Discover(g.Context(), page))
}

// now is the database's clock.
func (g *rig) now() time.Time {
	g.Helper()
	now, err := g.Now(g.Context())
	g.must(err)
	return now
}

func (g *rig) must(err error) {
	g.Helper()
	if err != nil {
		g.Fatal(err)
	}
}

// exec runs SQL that sets the stage.
func (g *rig) exec(sql string, args ...any) {
	g.Helper()
	_, err := g.pool.Exec(g.Context(), sql, args...)
	g.must(err)
}

// count returns the one number that a query selects.
func (g *rig) count(sql string, args ...any) (n int) {
	g.Helper()
	g.must(g.pool.QueryRow(g.Context(), sql, args...).Scan(&n))
	return n
}

// claiming is a claim of the rig's run, changed by edits.
func (g *rig) claiming(edits ...func(*state.Claiming)) state.Claiming {
	c := state.Claiming{Owner: uuid.New(), Since: g.since, Length: time.Minute}
	for _, edit := range edits {
		edit(&c)
	}
	return c
}

// claim returns the next lease, nil when there is none.
func (g *rig) claim(c state.Claiming) *state.Lease {
	g.Helper()
	all, err := g.Claim(g.Context(), c, 1)
	g.must(err)
	if len(all) == 0 {
		return nil
	}
	return all[0]
}

// claimed returns the ids of all projects that can be claimed, in order.
func (g *rig) claimed(c state.Claiming) []string {
	g.Helper()
	ids := []string{}
	for l := g.claim(c); l != nil; l = g.claim(c) {
		ids = append(ids, l.Project.ID)
	}
	return ids
}

// lease claims p, which must be there to be claimed.
func (g *rig) lease(p string) *state.Lease {
	g.Helper()
	l := g.claim(g.claiming(func(c *state.Claiming) { c.Only, c.Since, c.Known = []string{p}, g.now(), true }))
	if l == nil {
		g.Fatalf("project %s cannot be claimed", p)
	}
	return l
}

// expire makes the project's lease run out.
func (g *rig) expire(p string) {
	g.Helper()
	g.exec(`UPDATE rotator.project SET lease_expires_at = now() - interval '1 second' WHERE id = $1`, p)
}

// apply makes a change, which must apply.
func (g *rig) apply(c state.Change) {
	g.Helper()
	applied, err := g.Apply(g.Context(), c)
	g.must(err)
	if !applied {
		g.Fatal("the change did not apply")
	}
}

// current notes the current key of a credential, as a publication does.
func (g *rig) current(project, name, key string) {
	g.Helper()
	g.exec(`INSERT INTO rotator.credential (project_id, name, vault_path, current_key_id) VALUES ($1, $2, 'path', $3)
		ON CONFLICT (project_id, name) DO UPDATE SET current_key_id = $3`, project, name, key)
}
