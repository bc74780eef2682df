package machine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/vault/api"
	"github.com/jackc/pgx/v5/pgxpool"
	"pgregory.net/rapid"

	"rotator/internal/audit"
	"rotator/internal/jobs"
	"rotator/internal/rotation"
	"rotator/internal/secret"
	"rotator/internal/sinch"
	"rotator/internal/state"
	"rotator/internal/vault"
)

var errDead = errors.New("the process is dead")

// process is one rotator process. All that it does to the world goes through
// its wires, so cutting them is its death: whatever its goroutines still try
// has no effect.
type process struct {
	w      *world
	name   string
	runner *jobs.Runner
	pool   *pgxpool.Pool
	log    *audit.Log
	base   *http.Transport
	stop   context.CancelFunc
	ctx    context.Context //nolint:containedctx // the process's life

	dead    atomic.Bool
	events  atomic.Int64 // that have passed the wires
	killAt  atomic.Int64 // event that the process does not survive; 0 never
	after   atomic.Bool  // whether that event still happens
	create  atomic.Int64 // events from the next create to killAt; 0 if killAt is set
	flights sync.RWMutex // shared by each request under way

	mu    sync.Mutex
	conns map[net.Conn]bool

	vaultSeen  atomic.Int64
	vaultFault atomic.Pointer[vaultFault]
}

// vaultFault is what becomes of one request to Vault.
type vaultFault struct {
	at   int64 // among the requests from now on
	kind string
}

func (w *world) process(rt *rapid.T) *process {
	if w.alive != nil {
		return w.alive
	}
	w.started++
	p := &process{w: w, name: fmt.Sprint("process-", w.started), base: &http.Transport{}, conns: map[net.Conn]bool{}}
	p.ctx, p.stop = context.WithCancel(w.ctx)
	conf, err := pgxpool.ParseConfig(w.dbURL)
	must(rt, err)
	conf.MaxConns = 6
	conf.ConnConfig.RuntimeParams["application_name"] = p.name
	conf.ConnConfig.DialFunc = p.dial
	p.pool, err = pgxpool.NewWithConfig(p.ctx, conf)
	must(rt, err)
	p.log, err = audit.Open(p.ctx, audit.Config{
		Pool: p.pool, Now: w.now, Timeout: 5 * time.Second, Common: audit.Event{Actor: "test", Host: "test"},
	})
	must(rt, err)
	p.runner = jobs.New(p.config(rt))
	w.alive = p
	return p
}

func (p *process) config(rt *rapid.T) jobs.Config {
	w := p.w
	recorder := &jobs.Recorder{Log: p.log, Logger: quiet}
	access := api.DefaultConfig()
	access.Address = w.addr
	store, err := vault.Open(p.ctx, vault.Config{
		API: access, Auth: vault.Auth{Method: "token", Token: w.token}, Prefix: prefix,
		Recorder: recorder, Logger: quiet, Now: w.now, Base: vaultWire{p},
	})
	must(rt, err)
	client, err := sinch.New(sinch.Config{
		AuthURL: w.simURL + "/oauth2/token", AccessKeysURL: w.simURL, SubprojectsURL: w.simURL, Subprojects: "auto", AuthMethod: "oauth2",
		TokenBurst: 30, Timeout: 5 * time.Second, VerifyTimeout: 3 * time.Second,
		Recorder: recorder, Logger: quiet, MaxConns: 8, Now: w.now, Base: sinchWire{p},
	}, sinch.Credentials{KeyID: w.own.KeyID, Secret: secret.New(w.own.Secret)})
	must(rt, err)
	documents, err := store.Documents("audit")
	must(rt, err)
	anchors, err := audit.OpenAnchors(p.ctx, audit.AnchorConfig{
		Log: p.log, Store: jobs.AuditStore(documents), Signer: "kv", Prefix: "audit",
		Interval: time.Minute, MaxAge: time.Hour, Logger: quiet, Now: w.now,
	})
	must(rt, err)
	recorder.Anchors = anchors
	include, err := rotation.ParsePatterns("*")
	must(rt, err)
	exclude, err := rotation.ParsePatterns(untouched + "*")
	must(rt, err)
	return jobs.Config{
		Keys: client, Directory: client, Identity: client, Secrets: store,
		State: state.New(p.pool), Log: p.log, Anchors: anchors, Logger: quiet,
		Parent: parent, Scope: rotation.Scope{Include: include, Exclude: exclude}, Labels: rotation.LabelsStricter,
		Policy: w.policy, Actor: "test", Host: "test", Process: uuid.New(),
		Concurrency: w.concurrency, Lease: 30 * time.Second, Recheck: day, MaxSkew: 30 * time.Second,
		MaxFailures: 10, MaxRotations: -1, MaxDeletions: -1, Grace: 100 * time.Millisecond, Now: w.now,
	}
}

// die cuts all wires at once.
func (p *process) die() {
	p.dead.Store(true)
	p.stop()
	p.mu.Lock()
	for c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	go func() { _ = p.log.Close(context.Background()) }()
	go p.pool.Close()
}

// pass is asked before each event on the wires: whether it happens, and
// whether the process lives on afterwards.
func (p *process) pass() (happens, survives bool) {
	if p.dead.Load() {
		return false, false
	}
	if n := p.events.Add(1); n != p.killAt.Load() {
		return true, true
	}
	if p.after.Load() {
		return true, false
	}
	p.die()
	return false, false
}

// dial connects to Postgres through a wire.
func (p *process) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if p.dead.Load() {
		return nil, errDead
	}
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = true
	if p.dead.Load() {
		_ = c.Close()
	}
	return &dbWire{Conn: c, p: p}, nil
}

// dbWire is a connection to Postgres; each write to it is an event.
type dbWire struct {
	net.Conn
	p *process
}

func (d *dbWire) Write(b []byte) (int, error) {
	happens, survives := d.p.pass()
	if !happens {
		return 0, errDead
	}
	n, err := d.Conn.Write(b)
	if !survives {
		d.p.die()
		return 0, errDead
	}
	return n, err
}

// trip sends a request through the wire. Its answer is read to its end, so
// that nothing is under way when the process is dead.
func (p *process) trip(r *http.Request) (*http.Response, error) {
	p.flights.RLock()
	defer p.flights.RUnlock()
	if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/accessKeys") {
		if n := p.create.Swap(0); n > 0 {
			p.killAt.Store(p.events.Load() + n)
		}
	}
	happens, survives := p.pass()
	if !happens {
		return nil, errDead
	}
	resp, err := p.base.RoundTrip(r.WithContext(context.WithoutCancel(r.Context())))
	if err == nil {
		var body []byte
		body, err = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		resp.Body = io.NopCloser(bytes.NewReader(body))
	}
	if !survives {
		p.die()
		return nil, errDead
	}
	if err != nil {
		return nil, err
	}
	return resp, nil
}

type sinchWire struct{ p *process }

// RoundTrip looks, before a key is deleted, whether Vault names it: in that
// moment nobody else can change what it names.
func (s sinchWire) RoundTrip(r *http.Request) (*http.Response, error) {
	if parts := strings.Split(r.URL.Path, "/"); r.Method == http.MethodDelete && len(parts) == 6 {
		s.p.w.deleting(parts[3], parts[5])
	}
	return s.p.trip(r)
}

type vaultWire struct{ p *process }

// RoundTrip does what the armed fault says.
func (v vaultWire) RoundTrip(r *http.Request) (*http.Response, error) {
	f := v.p.vaultFault.Load()
	if f == nil || v.p.vaultSeen.Add(1) != f.at {
		return v.p.trip(r)
	}
	switch f.kind {
	case "not applied":
		return nil, io.ErrUnexpectedEOF
	case "unanswered":
		_, _ = v.p.trip(r)
		return nil, io.ErrUnexpectedEOF
	}
	return &http.Response{
		StatusCode: http.StatusInternalServerError, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(`{"errors":["internal error"]}`)),
	}, nil
}

// bury waits until nothing of a dead process is under way any more, and lets
// its leases run out.
func (w *world) bury(rt *rapid.T, p *process) {
	p.flights.Lock()
	defer p.flights.Unlock() // whoever comes later finds the process dead
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var left int
		must(rt, w.db.QueryRow(w.ctx, `SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database()`, p.name).Scan(&left))
		if left == 0 {
			break
		}
		if time.Now().After(deadline) {
			rt.Fatalf("%d connections of the dead %s are still there", left, p.name)
		}
	}
	w.alive = nil
	for _, q := range []string{
		`UPDATE rotator.project SET lease_expires_at = now() - interval '1 second' WHERE lease_expires_at IS NOT NULL`,
		`UPDATE rotator.process SET expires_at = now() - interval '1 second'`,
	} {
		_, err := w.db.Exec(w.ctx, q)
		must(rt, err)
	}
}
