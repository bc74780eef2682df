// Package bench_test measures the real binary as a whole, beside the floor (the
// same calls without any thought) and beside what a user would do instead.
// docs/performance.md explains the figures. Ratios are what counts: each comes
// from one run, its two sides taken in turns.
package bench_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"rotator/internal/postgres/pgtest"
	"rotator/internal/sinch/sinchtest"
	"rotator/internal/vault/vaultmem"
	"rotator/internal/vault/vaulttest"
	"rotator/test/rig"
)

func TestMain(m *testing.M) { rig.Main(m, 1) }

const (
	parent = "parent"
	// concurrency is how many projects are worked on at once, by every side.
	concurrency = 32
	// latency of Sinch and Vault.
	latency = 20 * time.Millisecond
)

// stack is what rotator needs, with remote servers that take their time and a
// Postgres whose commits wait for the disk.
type stack struct {
	b      *testing.B
	sim    *sinchtest.Server
	sinch  string // base URL
	vault  string // base URL
	direct string // the same without latency
	token  string // of rotator's own login to Vault
	prefix string
	own    sinchtest.Issued
	firsts []string      // first key of each project of the fleet
	db     *pgxpool.Pool // as the superuser
	link   string        // the daemon's URL of the database
	env    []string
}

// newStack starts the servers. Sinch's and Vault's answers take wait longer
// than they would.
func newStack(b *testing.B, sim sinchtest.Config, wait time.Duration) *stack {
	b.Helper()
	sim.Latency, sim.ReadyDelay = wait, -1
	s := &stack{b: b, sim: sinchtest.New(sim), prefix: vaulttest.Prefix()}
	b.Cleanup(func() { _ = s.sim.Close() })
	var err error
	if s.sinch, err = s.sim.Start(); err != nil {
		b.Fatal(err)
	}
	s.openVault()
	if s.vault = s.direct; wait > 0 {
		s.vault = slow(b, s.direct, wait)
	}
	cluster, link := pgtest.Durable(b)
	database, err := url.Parse(link)
	if err != nil {
		b.Fatal("the database's URL cannot be read")
	}
	s.link, s.db = link, pgtest.Pool(b, cluster.URL(strings.TrimPrefix(database.Path, "/")))
	s.sim.AddParent(parent, "Parent")
	s.own = s.sim.AddKey(parent, "rotator", time.Now().Add(-day))
	s.env = []string{
		"SINCH_PROJECT_ID=" + parent, "SINCH_KEY_ID=" + s.own.KeyID, "SINCH_KEY_SECRET=" + s.own.Secret,
		"SINCH_AUTH_URL=" + s.sinch + "/oauth2/token", "SINCH_ACCESS_KEYS_URL=" + s.sinch, "SINCH_SUBPROJECTS_URL=" + s.sinch,
		"SINCH_RATE_LIMIT=100000", "SINCH_TOKEN_RATE_LIMIT=100000", "SINCH_TOKEN_BURST=100000",
		"DATABASE_URL=" + s.link,
		"VAULT_ADDR=" + s.vault, "VAULT_TOKEN=" + s.token, "VAULT_KV_PREFIX=" + s.prefix, "AUDIT_VAULT_PREFIX=audit-" + s.prefix,
		"ROTATOR_INCLUDE=service-*", "ROTATOR_MAX_AGE=" + maxAge.String(), "ROTATOR_OVERLAP=1h", "ROTATOR_MARGIN=1h",
		"ROTATOR_CONCURRENCY=" + strconv.Itoa(concurrency), "ROTATOR_LISTEN=127.0.0.1:0",
		"ROTATOR_STATE_DIR=" + b.TempDir(), "ROTATOR_ACTOR=bench@rig", "HOME=" + b.TempDir(),
	}
	return s
}

// real asks for a real Vault. It takes about 1.8 ms of CPU time for a read, so
// that on two cores it holds back whoever uses it, floor and rotator alike.
var real = flag.Bool("real-vault", false, "use a real Vault instead of the demo's")

// openVault starts the demo's server, which passes the same contract tests as a
// real one and takes next to no CPU time, or a real one.
func (s *stack) openVault() {
	s.b.Helper()
	if *real {
		server := vaulttest.Real(s.b)
		s.direct = server.Addr
		s.token = server.Login(s.b, vaulttest.ShippedPolicy(s.b, s.prefix, "audit-"+s.prefix, s.prefix)).Reveal()
		return
	}
	server := vaultmem.New(vaultmem.Config{})
	address, token, err := server.Start(s.b.Context())
	if err != nil {
		s.b.Fatal(err)
	}
	s.b.Cleanup(func() { _ = server.Close() })
	s.direct, s.token = address, token.Reveal()
}

// usage is what a process took.
type usage struct {
	wall, cpu time.Duration
	resident  int64 // at most, in bytes
	out       []byte
}

// run runs rotator to its end, which must be a success.
func (s *stack) run(settings []string, args ...string) usage {
	s.b.Helper()
	return measured(s.b, slices.Concat(s.env, settings), rig.Program(s.b), args)
}

// measured runs a program to its end, which must be a success, or one of the
// exit codes that others may have.
func measured(b *testing.B, env []string, program string, args []string, codes ...int) usage {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), program, args...)
	var out, said bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &out, &said
	begun := time.Now()
	err := cmd.Start()
	if err == nil {
		resident := watchMemory(cmd.Process.Pid)
		err = cmd.Wait()
		u := usageOf(cmd.ProcessState, time.Since(begun), out.Bytes())
		u.resident = resident()
		if err == nil || slices.Contains(codes, cmd.ProcessState.ExitCode()) {
			return u
		}
	}
	b.Fatalf("%s %v: %v\n%s%s", program, args, err, tail(said.String()), tail(out.String()))
	return usage{}
}

func usageOf(p *os.ProcessState, wall time.Duration, out []byte) usage {
	return usage{wall: wall, cpu: p.UserTime() + p.SystemTime(), out: out}
}

// watchMemory watches how much memory a process has had at most, until it is
// asked for it. What the kernel says of a process that has ended is no use: it
// begins with what the benchmark itself had when it started it.
func watchMemory(pid int) (most func() int64) {
	ended, last := make(chan struct{}), make(chan int64)
	go func() {
		seen := int64(0)
		for tick := time.Tick(20 * time.Millisecond); ; {
			if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err == nil {
				if _, rest, found := strings.Cut(string(text), "VmHWM:"); found {
					var kb int64
					if _, err := fmt.Sscan(rest, &kb); err == nil {
						seen = kb << 10
					}
				}
			}
			select {
			case <-ended:
				last <- seen
				return
			case <-tick:
			}
		}
	}()
	return func() int64 { close(ended); return <-last }
}

// tail is the end of a text.
func tail(text string) string { return text[max(0, len(text)-2000):] }

// one is a query's number.
func (s *stack) one(query string, args ...any) (n int64) {
	s.b.Helper()
	if err := s.db.QueryRow(s.b.Context(), query, args...).Scan(&n); err != nil {
		s.b.Fatalf("%s: %v", query, err)
	}
	return n
}

// client returns an HTTP client with the settings of rotator's own.
func client() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: concurrency, IdleConnTimeout: 30 * time.Second}}
}

var errStatus = errors.New("unexpected status")
