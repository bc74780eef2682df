package kill_test

import (
	"bytes"
	cryptorand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os/exec"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/jackc/pgx/v5"

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
	limit = 60 * time.Second
)

// world is a fleet and everything that rotator needs to work on it.
type world struct {
	t      *testing.T
	sim    *sinchtest.Server
	vault  *api.Client // straight to the server
	prefix string
	db     *pgx.Conn // straight to the server
	gate   *gate
	env    []string
	creds  []credential // that have a path in Vault
	sample *sampler
}

type credential struct{ project, name string }

// pace is how long requests and commits take on their way, at least and at
// most; the zero pace is no delay.
type pace struct{ sinch, vault, postgres span }

// span is a range of durations.
type span struct{ least, most time.Duration }

func (s span) draw() time.Duration {
	if s.most <= s.least {
		return s.least
	}
	return s.least + rand.N(s.most-s.least)
}

// newWorld makes a world in which the parent has one young key, rotator's own.
func newWorld(t *testing.T, p pace) *world {
	t.Helper()
	w := &world{t: t, gate: &gate{}, prefix: vaulttest.Prefix()}
	w.gate.expect(nil, nil)
	server := vaulttest.Real(t)
	w.vault = server.Client(t)
	database, err := pgx.ParseConfig(pgtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	if w.db, err = pgx.ConnectConfig(t.Context(), database); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.db.Close(t.Context()) })

	w.sim = sinchtest.New(sinchtest.Config{TokenRate: -1, ReadyDelay: -1, TokenGrace: -1})
	t.Cleanup(func() { _ = w.sim.Close() })
	w.sim.AddParent(parent, "Parent")
	own := w.sim.AddKey(parent, "rotator", time.Now().Add(-day))

	sinchURL := w.gate.web(t, w.gate.sinchLabel(own.KeyID), p.sinch.draw, w.sim)
	vaultURL := w.gate.web(t, vaultLabel(w.prefix), p.vault.draw, forward(t, server.Addr))
	host, port := w.gate.wire(t, database, p.postgres.draw)
	databaseURL := url.URL{
		Scheme: "postgres", User: url.UserPassword(database.User, database.Password),
		Host: fmt.Sprintf("%s:%d", host, port), Path: "/" + database.Database, RawQuery: "sslmode=disable",
	}
	w.env = []string{
		"SINCH_PROJECT_ID=" + parent, "SINCH_KEY_ID=" + own.KeyID, "SINCH_KEY_SECRET=" + own.Secret,
		"SINCH_AUTH_URL=" + sinchURL + "/oauth2/token", "SINCH_ACCESS_KEYS_URL=" + sinchURL, "SINCH_SUBPROJECTS_URL=" + sinchURL,
		"SINCH_RATE_LIMIT=1000", "SINCH_TOKEN_RATE_LIMIT=1000",
		"DATABASE_URL=" + databaseURL.String(),
		"VAULT_ADDR=" + vaultURL, "VAULT_TOKEN=" + server.Token.Reveal(), "VAULT_KV_PREFIX=" + w.prefix,
		"ROTATOR_INCLUDE=*", "ROTATOR_OVERLAP=1h", "ROTATOR_LABELS=any", "ROTATOR_LEASE=30s", "ROTATOR_CONCURRENCY=1",
		"ROTATOR_STATE_DIR=" + t.TempDir(), "ROTATOR_ACTOR=test@kill", "HOME=" + t.TempDir(),
	}
	w.sample = w.startSampler()
	return w
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
// would have, and watches it.
func (w *world) publish(project, name string, keys ...made) {
	w.t.Helper()
	kv := w.vault.KVv2("secret")
	err := kv.PutMetadata(w.t.Context(), w.path(project, name), api.KVMetadataPutInput{
		CustomMetadata: map[string]any{"managed_by": "rotator", "credential": name, "display_name": name},
	})
	for i, k := range keys {
		if err != nil {
			break
		}
		_, err = kv.Put(w.t.Context(), w.path(project, name), map[string]any{
			"project_id": project, "key_id": k.KeyID, "key_secret": k.Secret,
			"created_at": k.created.UTC().Format(time.RFC3339Nano), "rotation_id": k.rotation,
		}, api.WithCheckAndSet(i))
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.watch(project, name)
}

// watch makes the credential one whose path is checked.
func (w *world) watch(project, name string) {
	w.creds = append(w.creds, credential{project, name})
	w.sample.watch(w.path(project, name))
}

func (w *world) path(project, name string) string {
	return w.prefix + "/" + project + "/" + vault.Component(name)
}

// process is a rotator at work.
type process struct {
	w        *world
	cmd      *exec.Cmd
	out, err bytes.Buffer
	ended    chan struct{}
	begun    time.Time
}

// start runs rotator; its steps are counted from here.
func (w *world) start(h *hold, watch func(step), args ...string) *process {
	w.t.Helper()
	w.gate.expect(h, watch)
	p := &process{w: w, cmd: exec.Command(program(w.t), args...), ended: make(chan struct{}), begun: time.Now()}
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = w.env, &p.out, &p.err
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // how it ended is in ProcessState
	}()
	return p
}

// wait waits for the end and returns the exit code.
func (p *process) wait() int {
	p.w.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(limit):
		_ = p.cmd.Process.Kill()
		<-p.ended
		p.w.t.Fatalf("rotator %v did not end; stderr:\n%s", p.cmd.Args[1:], p.err.String())
	}
	return p.cmd.ProcessState.ExitCode()
}

// kill kills the process for good. It reports false if it had ended by itself.
func (p *process) kill() bool {
	p.w.t.Helper()
	err := p.cmd.Process.Kill()
	<-p.ended
	if err != nil && !errors.Is(err, exec.ErrNotFound) && p.cmd.ProcessState.Exited() {
		return false
	}
	return !p.cmd.ProcessState.Exited()
}

// bury waits until nothing of a killed process goes on: its requests have
// been dealt with, and the server has ended its transactions.
func (w *world) bury() {
	w.t.Helper()
	w.until("the dead process's calls to end", func() bool {
		var open int
		err := w.db.QueryRow(w.t.Context(), `select count(*) from pg_stat_activity
			where datname = current_database() and pid <> pg_backend_pid()`).Scan(&open)
		return err == nil && open == 0 && w.gate.idle()
	})
}

// expire makes the leases of dead processes run out now: the processes are
// gone, and waiting for the clock would prove nothing more.
func (w *world) expire() {
	w.t.Helper()
	_, err := w.db.Exec(w.t.Context(), `update rotator.project set lease_expires_at = now() - interval '1 second' where lease_expires_at >= now()`)
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) until(what string, done func() bool) {
	w.t.Helper()
	for begun := time.Now(); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Since(begun) > limit {
			w.t.Fatalf("waited for %s in vain", what)
		}
	}
}

// maxRuns is how many runs after a kill may be needed.
const maxRuns = 2

// converge runs rotator until it says that everything is as it should be, and
// returns how many runs that took.
func (w *world) converge(args ...string) int {
	w.t.Helper()
	for n := 1; ; n++ {
		p := w.start(nil, nil, append([]string{"run-now", "-o", "json"}, args...)...)
		code := p.wait()
		if code == 0 {
			return n
		}
		if n == maxRuns {
			w.t.Fatalf("exit code %d of run %d after the kill\n%s%s", code, n, p.out.String(), p.err.String())
		}
	}
}
