package outage_test

import (
	"context"
	cryptorand "crypto/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/jackc/pgx/v5/pgxpool"

	"rotator/internal/postgres/pgcluster"
	"rotator/internal/postgres/pgtest"
	"rotator/internal/rotation"
	"rotator/internal/sinch/sinchtest"
	"rotator/internal/vault"
	"rotator/internal/vault/vaulttest"
)

const (
	day    = 24 * time.Hour
	parent = "parent"
	// limit is how long anything in a world may take.
	limit = 90 * time.Second
)

// setting says what is special about a world.
type setting struct {
	ownPostgres bool // one that may be stopped
	ownVault    bool // one that may be sealed
	sim         sinchtest.Config
	env         []string
}

// world is a fleet and everything that rotator needs to work on it.
type world struct {
	t       *testing.T
	sim     *sinchtest.Server
	own     sinchtest.Issued
	server  vaulttest.Server
	vault   *api.Client // straight to the server
	prefix  string
	cluster *pgcluster.Cluster // nil: the shared one
	link    string             // to the database
	db      *pgxpool.Pool
	gate    *gate
	state   string // ROTATOR_STATE_DIR
	env     []string
	creds   []credential
	killed  bool // a process was killed, and took answers with it that nobody recorded
}

type credential struct{ project, name string }

// newWorld makes a world in which the parent has one young key, rotator's own.
func newWorld(t *testing.T, s setting) *world {
	t.Helper()
	if testing.Short() {
		t.Skip("needs servers; left out by -short")
	}
	w := &world{t: t, prefix: vaulttest.Prefix(), state: t.TempDir()}
	w.gate = &gate{vouch: w.vouched, times: map[string]int{}}
	w.server = vaulttest.Server{}
	if s.ownVault {
		w.server, _ = vaulttest.Start(t)
	} else {
		w.server = vaulttest.Real(t)
	}
	w.vault = w.server.Client(t)
	w.openDatabase(s.ownPostgres)

	s.sim.TokenRate, s.sim.ReadyDelay, s.sim.TokenGrace = -1, -1, -1
	w.sim = sinchtest.New(s.sim)
	t.Cleanup(func() { _ = w.sim.Close() })
	w.sim.AddParent(parent, "Parent")
	w.own = w.sim.AddKey(parent, "rotator", time.Now().Add(-day))
	sinch := w.gate.web(t, sinchMutation, w.sim)
	w.env = append([]string{
		"SINCH_PROJECT_ID=" + parent, "SINCH_KEY_ID=" + w.own.KeyID, "SINCH_KEY_SECRET=" + w.own.Secret,
		"SINCH_AUTH_URL=" + sinch + "/oauth2/token", "SINCH_ACCESS_KEYS_URL=" + sinch, "SINCH_SUBPROJECTS_URL=" + sinch,
		"SINCH_RATE_LIMIT=1000", "SINCH_TOKEN_RATE_LIMIT=1000", "SINCH_TIMEOUT=5s", "SINCH_VERIFY_TIMEOUT=4s",
		"DATABASE_URL=" + w.link,
		"VAULT_ADDR=" + w.gate.web(t, vaultMutation, forward(t, w.server.Addr)),
		"VAULT_TOKEN=" + w.server.Token.Reveal(), "VAULT_KV_PREFIX=" + w.prefix,
		"ROTATOR_INCLUDE=*", "ROTATOR_OVERLAP=1h", "ROTATOR_LABELS=any", "ROTATOR_LEASE=20s", "ROTATOR_CONCURRENCY=1",
		"ROTATOR_STATE_DIR=" + w.state, "ROTATOR_ACTOR=test@outage", "HOME=" + t.TempDir(),
	}, s.env...)
	if s.ownPostgres {
		w.run(0, "migrate", "up")
	}
	return w
}

// openDatabase connects to a database of the shared server, or of one of the
// world's own, which has no schema yet.
func (w *world) openDatabase(own bool) {
	w.t.Helper()
	if own {
		var err error
		if w.cluster, err = pgcluster.Start(w.t.Context(), pgcluster.Options{}); err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { _ = w.cluster.Close() })
		w.link = w.cluster.AdminURL()
	} else {
		w.link = pgtest.Database(w.t)
	}
	db, err := pgxpool.New(w.t.Context(), w.link)
	if err != nil {
		w.t.Fatal(err)
	}
	w.db = db
	w.t.Cleanup(db.Close)
}

// set changes a setting of the processes to come.
func (w *world) set(name, value string) {
	w.env = slices.DeleteFunc(slices.Clone(w.env), func(pair string) bool { return strings.HasPrefix(pair, name+"=") })
	w.env = append(w.env, name+"="+value)
}

// crash stops Postgres as a power failure would.
func (w *world) crash() {
	w.t.Helper()
	if err := w.cluster.Stop("immediate"); err != nil {
		w.t.Fatal(err)
	}
}

// recover starts it again.
func (w *world) recover() {
	w.t.Helper()
	if err := w.cluster.Restart(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.db.Reset()
}

// made is a key that a rotation of this installation has made, or so its name
// says.
type made struct {
	sinchtest.Issued
	rotation string
	created  time.Time
}

// key makes a key of the given age as rotator would have.
func (w *world) key(project, name string, age time.Duration) made {
	w.t.Helper()
	created := time.Now().Add(-age)
	id, err := rotation.NewID(created, cryptorand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	return made{w.sim.AddKey(project, rotation.DisplayName(name, id), created), id, created}
}

// publish writes keys to a credential's path, one version each, as rotator
// would have.
func (w *world) publish(project, name string, keys ...made) {
	w.t.Helper()
	err := w.vault.KVv2("secret").PutMetadata(w.t.Context(), w.path(project, name), api.KVMetadataPutInput{
		CustomMetadata: map[string]any{"managed_by": "rotator", "credential": name, "display_name": name},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	for i, k := range keys {
		w.put(project, name, k, i)
	}
	w.creds = append(w.creds, credential{project, name})
}

// put writes a key to a credential's path.
func (w *world) put(project, name string, k made, cas int) {
	w.t.Helper()
	_, err := w.vault.KVv2("secret").Put(w.t.Context(), w.path(project, name), map[string]any{
		"project_id": project, "key_id": k.KeyID, "key_secret": k.Secret,
		"created_at": k.created.UTC().Format(time.RFC3339Nano), "rotation_id": k.rotation,
	}, api.WithCheckAndSet(cas))
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) path(project, name string) string {
	return w.prefix + "/" + project + "/" + vault.Component(name)
}

// due makes a project whose only key has to be replaced, and returns that.
func (w *world) due(project string) made {
	w.t.Helper()
	w.sim.AddSubproject(parent, project, project, nil)
	k := w.key(project, "billing", 100*day)
	w.publish(project, "billing", k)
	return k
}

// past makes a project with a key whose overlap has passed.
func (w *world) past(project string) {
	w.t.Helper()
	const overlap = time.Second
	w.sim.AddSubproject(parent, project, project, map[string]string{"rotator.overlap": overlap.String()})
	w.publish(project, "mail", w.key(project, "mail", 50*day), w.key(project, "mail", 10*day))
	time.Sleep(overlap + 100*time.Millisecond)
}

// await waits for a held request.
func (w *world) await(arrived <-chan struct{}, p *process) {
	w.t.Helper()
	select {
	case <-arrived:
	case <-p.ended:
		w.t.Fatalf("the run ended before the request to be held: exit code %d\n%s", p.wait(), p.log())
	case <-time.After(limit):
		w.t.Fatalf("the request to be held did not come; log:\n%s", p.log())
	}
}

// holdSinch keeps one request to the simulator: before it is applied, or its
// answer.
func (w *world) holdSinch(applied bool, f sinchtest.Fault) (arrived <-chan struct{}, release func()) {
	var h *sinchtest.Held
	if applied {
		f.Do, h = sinchtest.AppliedHold()
	} else {
		f.Do, h = sinchtest.Hold()
	}
	f.Times = 1
	w.sim.Fault(f)
	w.t.Cleanup(h.Release)
	came := make(chan struct{})
	go func() {
		select {
		case <-h.Arrived():
			close(came)
		case <-w.t.Context().Done():
		}
	}()
	return came, h.Release
}

func (w *world) until(what string, done func() bool) {
	w.t.Helper()
	for begun := time.Now(); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Since(begun) > limit {
			w.t.Fatalf("waited for %s in vain", what)
		}
	}
}

// outlast waits until the leases of processes that are gone have run out.
func (w *world) outlast() {
	w.t.Helper()
	w.until("the leases to run out", func() bool {
		return w.one(`select count(*) from rotator.project where lease_expires_at >= now()`) == 0
	})
}

// one is a query's number.
func (w *world) one(query string, args ...any) (n int) {
	w.t.Helper()
	if err := w.db.QueryRow(w.t.Context(), query, args...).Scan(&n); err != nil {
		w.t.Fatalf("%s: %v", query, err)
	}
	return n
}

// vouched reports whether the log has the nth intent for a request that
// arrives now. While Postgres is away the answer is yes: see checkSent.
func (w *world) vouched(what string, nth int) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var n int
	err := w.db.QueryRow(ctx, `select count(*) from (`+intents+`) i where what = $1`, what).Scan(&n)
	return err != nil || n >= nth
}
