package machine_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/jackc/pgx/v5/pgxpool"
	"pgregory.net/rapid"

	"rotator/internal/postgres/pgtest"
	"rotator/internal/rotation"
	"rotator/internal/secret"
	"rotator/internal/sinch/sinchtest"
	"rotator/internal/vault"
	"rotator/internal/vault/vaultmem"
)

const (
	day    = 24 * time.Hour
	parent = "parent"
	prefix = "sinch"
	// untouched begins the names that the policy excludes.
	untouched = "keep-"
)

// world is Sinch, Vault and Postgres under one clock, and rotator in it.
type world struct {
	ctx    context.Context //nolint:containedctx // the case's, for every step
	tally  *tally
	offset atomic.Int64 // time.Duration that the world is ahead of us
	sim    *sinchtest.Server
	simURL string
	own    sinchtest.Issued
	mem    *vaultmem.Server
	addr   string
	token  secret.Value
	vault  *api.KVv2
	db     *pgxpool.Pool // the superuser's, who moves the clock
	dbURL  string        // rotator's
	seen   int64         // events of the log that have been looked at

	policy      rotation.Policy
	concurrency int
	alive       *process // nil after a kill
	started     int      // processes so far

	named    int                        // names given out
	creds    map[string]map[string]bool // project → credentials that ever were
	removed  map[string]bool            // keys that a person has removed
	renamed  map[string]bool            // keys that a person has renamed
	excluded map[string]string          // keys out of scope → their name
	filled   map[string]bool            // projects that had keys, until a person removes the last
	wrong    atomic.Pointer[string]     // what the wire has caught
}

// now is the world's clock.
func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.offset.Load())) }

func newWorld(t *testing.T, rt *rapid.T, tally *tally) *world {
	t.Helper()
	w := &world{
		ctx: t.Context(), tally: tally, creds: map[string]map[string]bool{}, removed: map[string]bool{},
		renamed: map[string]bool{}, excluded: map[string]string{}, filled: map[string]bool{},
	}
	w.policy = drawPolicy(rt)
	w.concurrency = rapid.IntRange(1, 4).Draw(rt, "concurrency")
	w.sim = sinchtest.New(sinchtest.Config{
		Now: w.now, TokenRate: -1, ReadyDelay: -1, TokenGrace: -1,
		PageSizeMax: rapid.SampledFrom([]int{0, 1, 2, 3}).Draw(rt, "page size"), Seed: rapid.Uint64().Draw(rt, "sinch seed"),
	})
	var err error
	w.simURL, err = w.sim.Start()
	must(rt, err)
	w.mem = vaultmem.New(vaultmem.Config{Now: w.now})
	w.addr, w.token, err = w.mem.Start(w.ctx)
	must(rt, err)
	conf := api.DefaultConfig()
	conf.Address = w.addr
	client, err := api.NewClient(conf)
	must(rt, err)
	client.SetToken(w.token.Reveal())
	w.vault = client.KVv2("secret")
	w.database(t, rt)
	w.sim.AddParent(parent, "Parent")
	w.own = w.add(parent, "rotator", day)
	for n := range rapid.IntRange(1, 4).Draw(rt, "subprojects") {
		w.seed(rt, n)
	}
	return w
}

func drawPolicy(rt *rapid.T) rotation.Policy {
	return rotation.Policy{
		MaxAge:  rapid.SampledFrom([]time.Duration{20 * day, 30 * day, 90 * day}).Draw(rt, "max age"),
		Overlap: rapid.SampledFrom([]time.Duration{0, time.Hour, day, 7 * day}).Draw(rt, "overlap"),
		Margin:  rapid.SampledFrom([]time.Duration{6 * time.Hour, day, 2 * day}).Draw(rt, "margin"),
		Adopt:   rapid.SampledFrom([]rotation.Adopt{rotation.AdoptDelete, rotation.AdoptKeep}).Draw(rt, "adopt"),
	}
}

// seed adds a subproject with some keys.
func (w *world) seed(rt *rapid.T, n int) {
	id := fmt.Sprint("sub-", n)
	w.sim.AddSubproject(parent, id, id, nil)
	for range rapid.IntRange(0, 3).Draw(rt, "keys") {
		w.add(id, w.name(""), time.Duration(rapid.IntRange(0, 100).Draw(rt, "age in days"))*day)
	}
	if rapid.Bool().Draw(rt, "excluded key") {
		w.add(id, w.name(untouched), 300*day)
	}
}

// name returns a name that no key has had.
func (w *world) name(begin string) string {
	w.named++
	if begin == "" {
		begin = "api-"
	}
	return fmt.Sprint(begin, w.named)
}

// add adds a key as a person would.
func (w *world) add(project, name string, age time.Duration) sinchtest.Issued {
	k := w.sim.AddKey(project, name, w.now().Add(-age))
	w.filled[project] = true
	if strings.HasPrefix(name, untouched) {
		w.excluded[k.KeyID] = name
		return k
	}
	if w.creds[project] == nil {
		w.creds[project] = map[string]bool{}
	}
	w.creds[project][name] = true
	return k
}

// fakeClock puts a clock of ours before Postgres' own. The defaults of the
// tables were bound to that when they were made.
const fakeClock = `
	CREATE SCHEMA fake;
	CREATE TABLE fake.clock (ahead interval NOT NULL);
	INSERT INTO fake.clock VALUES ('0');
	CREATE FUNCTION fake.now() RETURNS timestamptz LANGUAGE sql STABLE
		AS 'SELECT pg_catalog.transaction_timestamp() + ahead FROM fake.clock';
	GRANT USAGE ON SCHEMA fake TO PUBLIC;
	GRANT SELECT ON fake.clock TO PUBLIC;
	DO $$
	DECLARE d record;
	BEGIN
		FOR d IN SELECT table_schema s, table_name t, column_name c FROM information_schema.columns
			WHERE table_schema = 'rotator' AND column_default = 'now()' LOOP
			EXECUTE format('ALTER TABLE %I.%I ALTER %I SET DEFAULT fake.now()', d.s, d.t, d.c);
		END LOOP;
		EXECUTE format('ALTER DATABASE %I SET search_path = fake, pg_catalog, public', current_database());
	END $$`

func (w *world) database(t *testing.T, rt *rapid.T) {
	t.Helper()
	w.dbURL = pgtest.Database(t)
	super := pgtest.Superuser(t, w.dbURL)
	first, err := pgxpool.New(w.ctx, super)
	must(rt, err)
	_, err = first.Exec(w.ctx, fakeClock)
	first.Close()
	must(rt, err)
	conf, err := pgxpool.ParseConfig(super)
	must(rt, err)
	conf.MaxConns = 1
	w.db, err = pgxpool.NewWithConfig(w.ctx, conf)
	must(rt, err)
}

func (w *world) close() {
	if w.alive != nil {
		w.alive.die()
	}
	_ = w.mem.Close()
	_ = w.sim.Close()
	w.db.Close()
}

// projects are the parent and its subprojects.
func (w *world) projects() []string { return append(w.sim.Subprojects(parent), parent) }

func path(project, credential string) string {
	return prefix + "/" + project + "/" + vault.Component(credential)
}

func must(rt *rapid.T, err error) {
	rt.Helper()
	if err != nil {
		rt.Fatal(err)
	}
}

var quiet = slog.New(slog.DiscardHandler)
