package jobs_test

import (
	"cmp"
	"context"
	"flag"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/vault/api"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"rotator/internal/audit"
	"rotator/internal/jobs"
	"rotator/internal/postgres/pgtest"
	"rotator/internal/rotation"
	"rotator/internal/secret"
	"rotator/internal/sinch"
	"rotator/internal/sinch/sinchtest"
	"rotator/internal/state"
	"rotator/internal/vault"
	"rotator/internal/vault/vaulttest"
)

// TestMain runs more tests at once than there are cores: they wait for servers
// most of the time. The command line may say otherwise.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	pgtest.Main(m, leaks)
}

// leaks finds goroutines that the tests' runs and daemons have left behind.
// Those that belong to the servers that all tests share are no leaks, nor are
// idle connections: BenchmarkSoak watches over those.
func leaks() error {
	var known []goleak.Option
	for _, function := range []string{
		"net/http.(*persistConn).readLoop", "net/http.(*persistConn).writeLoop",
		"os/exec.(*Cmd).Wait", "os/exec.(*Cmd).Start.func2",
	} {
		known = append(known, goleak.IgnoreAnyFunction(function))
	}
	return goleak.Find(known...)
}

const (
	day    = 24 * time.Hour
	parent = "parent"
)

// rig is a whole rotator on real parts: Postgres, Vault, and the simulator of
// Sinch over HTTP.
type rig struct {
	t      *testing.T
	sim    *sinchtest.Server
	url    string // the simulator's
	own    sinchtest.Issued
	vault  vaulttest.Server
	prefix string
	pool   *pgxpool.Pool
	log    *audit.Log
	proxy  *vaulttest.Proxy    // stands before Vault
	tune   func(*sinch.Config) // changes the clients of later runners; may be nil
	login  vaulttest.Role      // instead of the root token, if set

	signer    string                    // of the log's checkpoints, kv if empty
	anchoring func(*audit.AnchorConfig) // changes how later runners make checkpoints; may be nil
}

// newRig starts one, its Sinch changed by edits; the parent's own key is a day
// old.
func newRig(t *testing.T, edits ...func(*sinchtest.Config)) *rig {
	t.Helper()
	g := &rig{t: t, vault: vaulttest.Real(t), prefix: vaulttest.Prefix(), pool: pgtest.New(t)}
	g.proxy = vaulttest.NewProxy(t, g.vault.Addr)
	cfg := sinchtest.Config{TokenRate: -1, ReadyDelay: -1, TokenGrace: -1}
	for _, edit := range edits {
		edit(&cfg)
	}
	g.sim = sinchtest.New(cfg)
	url, err := g.sim.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.sim.Close() })
	g.url = url
	g.sim.AddParent(parent, "Parent")
	g.own = g.sim.AddKey(parent, "rotator", time.Now().Add(-day))
	g.log, err = audit.Open(t.Context(), audit.Config{Pool: g.pool, Common: audit.Event{Actor: "test", Host: "test"}})
	if err != nil {
		t.Fatal(err)
	}
	log := g.log // reopen puts another in its place
	t.Cleanup(func() { _ = log.Close(t.Context()) })
	t.Cleanup(g.checkCalls)
	return g
}

// checkCalls holds every test's log against what the views of schema audit
// rely on: which operations have intents, and that an outcome says all that
// its intent did.
func (g *rig) checkCalls() {
	const wrong = `select coalesce(string_agg(distinct i.operation, ', '), '') from audit.event i
		left join audit.event o on o.call_id = i.call_id and o.phase <> 'intent'
		where i.phase = 'intent' and (not audit.mutates(i.operation) or o.seq < i.seq
			or o.seq is not null and (i.operation is distinct from o.operation or i.project_id is distinct from o.project_id
				or i.credential is distinct from o.credential or i.rotation_id is distinct from o.rotation_id
				or i.key_id is not null and i.key_id is distinct from o.key_id
				or o.phase = 'outcome' and i.run_id is distinct from o.run_id))`
	var operations string
	if err := g.pool.QueryRow(context.WithoutCancel(g.t.Context()), wrong).Scan(&operations); err != nil || operations != "" {
		g.t.Errorf("calls that the views of the log do not understand: %s (%v)", operations, err)
	}
}

// project adds a subproject with one key, and returns the key.
func (g *rig) project(id, credential string, age time.Duration) sinchtest.Issued {
	g.sim.AddSubproject(parent, id, "Project "+id, nil)
	return g.sim.AddKey(id, credential, time.Now().Add(-age))
}

// runner returns a rotator process on the rig, changed by edits.
func (g *rig) runner(edits ...func(*jobs.Config)) *jobs.Runner {
	g.t.Helper()
	logger := slog.New(slog.NewTextHandler(testWriter{g.t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	recorder := &jobs.Recorder{Log: g.log, Logger: logger}
	store := g.open(recorder)
	sinchCfg := sinch.Config{
		AuthURL: g.url + "/oauth2/token", AccessKeysURL: g.url, SubprojectsURL: g.url, Subprojects: "auto", AuthMethod: "oauth2",
		TokenBurst: 30, Timeout: 30 * time.Second, VerifyTimeout: 30 * time.Second,
		Recorder: recorder, Logger: logger, MaxConns: 16,
	}
	if g.tune != nil {
		g.tune(&sinchCfg)
	}
	client, err := sinch.New(sinchCfg, sinch.Credentials{KeyID: g.own.KeyID, Secret: secret.New(g.own.Secret)})
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(client.Close)
	everything, err := rotation.ParsePatterns("*")
	if err != nil {
		g.t.Fatal(err)
	}
	cfg := jobs.Config{
		Keys: client, Directory: client, Identity: client, Secrets: store,
		State: state.New(g.pool), Log: g.log, Logger: logger,
		Parent: parent, Scope: rotation.Scope{Include: everything}, Labels: rotation.LabelsStricter,
		Policy: rotation.Policy{MaxAge: 90 * day, Overlap: 7 * day, Margin: 2 * day, Adopt: rotation.AdoptDelete},
		Actor:  "test", Host: "test", Process: uuid.New(),
		Concurrency: 8, Lease: 30 * time.Second, Recheck: day, MaxSkew: 30 * time.Second,
		MaxFailures: 10, MaxRotations: -1, MaxDeletions: -1, Grace: 5 * time.Second, Now: time.Now,
	}
	cfg.Anchors = g.anchors(store)
	recorder.Anchors = cfg.Anchors
	for _, edit := range edits {
		edit(&cfg)
	}
	return jobs.New(cfg)
}

// open logs in to Vault as a process does.
func (g *rig) open(recorder *jobs.Recorder) *vault.Store {
	g.t.Helper()
	access := api.DefaultConfig()
	access.Address = g.proxy.URL
	auth := vault.Auth{Method: "token", Token: g.vault.Token}
	if g.login.RoleID != "" {
		auth = vault.Auth{Method: "approle", RoleID: g.login.RoleID, SecretID: g.login.SecretID}
	}
	store, err := vault.Open(g.t.Context(), vault.Config{
		API: access, Auth: auth,
		Prefix: g.prefix, Recorder: recorder, Logger: recorder.Logger,
	})
	if err != nil {
		g.t.Fatal(err)
	}
	return store
}

// anchors returns what keeps the log's checkpoints in Vault.
func (g *rig) anchors(secrets *vault.Store) *audit.Anchors {
	g.t.Helper()
	documents, err := secrets.Documents("audit-" + g.prefix)
	if err != nil {
		g.t.Fatal(err)
	}
	cfg := audit.AnchorConfig{
		Log: g.log, Store: jobs.AuditStore(documents), Signer: cmp.Or(g.signer, "kv"), Prefix: "audit-" + g.prefix,
		Transit:  func(ref string) (audit.Transit, error) { return jobs.AuditTransit(secrets, ref) },
		Interval: time.Minute, MaxAge: time.Hour, Now: time.Now,
	}
	if g.anchoring != nil {
		g.anchoring(&cfg)
	}
	anchors, err := audit.OpenAnchors(g.t.Context(), cfg)
	if err != nil {
		g.t.Fatal(err)
	}
	return anchors
}

// overlap sets the policy's overlap.
func overlap(d time.Duration) func(*jobs.Config) {
	return func(c *jobs.Config) { c.Policy.Overlap = d }
}

// run does one run and fails the test if it cannot be done at all.
func (g *rig) run(o jobs.Order, edits ...func(*jobs.Config)) *jobs.Report {
	g.t.Helper()
	if o.Trigger == "" {
		o.Trigger = rotation.Manual
	}
	report, err := g.runner(edits...).Run(g.t.Context(), o)
	if err != nil {
		g.t.Fatalf("run: %v", err)
	}
	for _, res := range report.Results {
		if res.Action == jobs.Failed && (res.Step == "" || res.Tried == rotation.Rotate && !slices.Contains(jobs.RotationSteps(), res.Step)) {
			g.t.Errorf("%s of %s/%s failed at the step %q, which metrics do not know", res.Tried, res.ProjectID, res.Credential, res.Step)
		}
	}
	return report
}

// stored returns what Vault's path of a credential names, and its secret.
func (g *rig) stored(project, credential string) (keyID, keySecret string) {
	g.t.Helper()
	s, err := g.vault.Client(g.t).KVv2("secret").Get(g.t.Context(), g.prefix+"/"+project+"/"+vault.Component(credential))
	if err != nil {
		g.t.Fatalf("reading %s/%s from Vault: %v", project, credential, err)
	}
	keyID, _ = s.Data["key_id"].(string)
	keySecret, _ = s.Data["key_secret"].(string)
	return keyID, keySecret
}

// consistent fails the test unless Vault names a listed key that works.
func (g *rig) consistent(project, credential string) string {
	g.t.Helper()
	id, text := g.stored(project, credential)
	if !g.sim.Works(id, text) {
		g.t.Errorf("%s/%s: Vault names key %s, which does not work", project, credential, id)
	}
	return id
}

// listed returns the ids of a project's keys.
func (g *rig) listed(project string) []string {
	var ids []string
	for _, k := range g.sim.Keys(project) {
		ids = append(ids, k.ID)
	}
	return ids
}

// overlapped waits until an overlap of d that began before now has passed.
func overlapped(d time.Duration) { time.Sleep(d + 100*time.Millisecond) }

// wantExit fails the test unless the run ended so.
func (g *rig) wantExit(r *jobs.Report, want int) {
	g.t.Helper()
	if got := r.ExitCode(); got != want {
		g.t.Fatalf("exit code %d, want %d; results %+v", got, want, r.Results)
	}
}

// only returns the run's one result, which must be the action.
func (g *rig) only(r *jobs.Report, want jobs.Action) jobs.Result {
	g.t.Helper()
	if len(r.Results) != 1 || r.Results[0].Action != want {
		g.t.Fatalf("want one result, %s; got %+v", want, r.Results)
	}
	return r.Results[0]
}

// sent counts the requests of an operation that arrived.
func (g *rig) sent(operation string) int {
	n := 0
	for _, r := range g.sim.Requests() {
		if r.Operation == operation {
			n++
		}
	}
	return n
}

// events returns the log's events of a type, oldest first.
func (g *rig) events(f audit.Filter) []audit.Event {
	g.t.Helper()
	var found []audit.Event
	for r, err := range audit.List(g.t.Context(), g.pool, f) {
		if err != nil {
			g.t.Fatal(err)
		}
		found = append(found, r.Event)
	}
	return found
}

// testWriter writes a logger's lines into the test's log.
type testWriter struct{ t *testing.T }

var logging sync.Mutex

// Write logs one line.
func (w testWriter) Write(p []byte) (int, error) {
	logging.Lock()
	defer logging.Unlock()
	if w.t.Context().Err() == nil {
		w.t.Log(string(p[:len(p)-1]))
	}
	return len(p), nil
}
