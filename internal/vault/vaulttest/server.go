// Package vaulttest gives tests a real Vault server: the one that
// VAULT_TEST_ADDR and VAULT_TEST_TOKEN name, else a `vault` or `bao` on PATH
// in dev mode, else one built from Vault's own packages (test/vaultserver).
// The build takes minutes once and is kept in the user's cache.
package vaulttest

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"rotator/internal/secret"
)

// Server is a running, unsealed Vault with KV v2 at secret/, AppRole at
// auth/approle and Transit at transit/.
type Server struct {
	Addr      string       // URL
	Token     secret.Value // root token
	UnsealKey string       // empty if the server is not of our build
	TLSAddr   string       // URL that asks for client certificates; empty if the server is not of our build
	TLSCA     string       // PEM of who signed its certificate
}

// startLimit is how long a server may take to come up.
const startLimit = 30 * time.Second

var shared struct {
	once   sync.Once
	server Server
	stop   func() // never called; without it the pipe would be collected and the server end
	err    error
}

// Real returns the server that all tests of this process share. A test keeps
// to paths of its own (see Prefix) and never seals it. Under -short the test
// is skipped; otherwise a server that cannot be had is a failure.
func Real(t testing.TB) Server {
	t.Helper()
	if testing.Short() {
		t.Skip("a real Vault server is not for -short")
	}
	shared.once.Do(func() {
		// It outlives this test: it ends when this process does, with the
		// pipe that is its standard input.
		ctx := context.WithoutCancel(t.Context())
		if shared.server, shared.err = given(); shared.err == nil && shared.server.Addr == "" {
			shared.server, shared.stop, shared.err = start(ctx)
		}
		if shared.err == nil {
			shared.err = shared.server.prepare(ctx)
		}
	})
	if shared.err != nil {
		t.Fatalf("getting a real Vault server: %v", shared.err)
	}
	return shared.server
}

// Start returns a server of the test's own, which it may seal or stop (stop
// may be called twice).
func Start(t testing.TB) (s Server, stop func()) {
	t.Helper()
	if testing.Short() {
		t.Skip("a real Vault server is not for -short")
	}
	s, stop, err := start(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatalf("starting a Vault server: %v", err)
	}
	t.Cleanup(stop)
	if err := s.prepare(t.Context()); err != nil {
		t.Fatalf("preparing the Vault server: %v", err)
	}
	return s, stop
}

// Prefix is a path prefix that no other test uses.
func Prefix() string { return "t-" + strings.ToLower(rand.Text()[:12]) }

// given is the server that the environment names, if it names one.
func given() (Server, error) {
	addr := os.Getenv("VAULT_TEST_ADDR")
	if addr == "" {
		return Server{}, nil
	}
	token := os.Getenv("VAULT_TEST_TOKEN")
	if token == "" {
		return Server{}, fmt.Errorf("VAULT_TEST_ADDR is set: VAULT_TEST_TOKEN must hold a root token")
	}
	return Server{Addr: addr, Token: secret.New(token)}, nil
}

func start(ctx context.Context) (Server, func(), error) {
	for _, name := range []string{"vault", "bao"} {
		if path, err := exec.LookPath(name); err == nil {
			return startDev(ctx, path)
		}
	}
	return startBuilt(ctx)
}

// startBuilt runs our own build, which announces itself in one line.
func startBuilt(ctx context.Context) (Server, func(), error) {
	path, err := build(ctx)
	if err != nil {
		return Server{}, nil, err
	}
	cmd := exec.CommandContext(ctx, path) //nolint:gosec // what we have just built
	out, err := cmd.StdoutPipe()
	if err != nil {
		return Server{}, nil, fmt.Errorf("connecting to the server: %w", err)
	}
	stop, err := launch(cmd)
	if err != nil {
		return Server{}, nil, err
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		stop()
		return Server{}, nil, fmt.Errorf("waiting for the server to come up: %w: %v", err, cmd.Stderr)
	}
	var said struct {
		Addr      string `json:"addr"`
		RootToken string `json:"root_token"`
		UnsealKey string `json:"unseal_key"`
		TLSAddr   string `json:"tls_addr"`
		TLSCA     string `json:"tls_ca"`
	}
	if err := json.Unmarshal(line, &said); err != nil {
		stop()
		return Server{}, nil, fmt.Errorf("reading the server's announcement: %w", err)
	}
	return Server{
		Addr: said.Addr, Token: secret.New(said.RootToken), UnsealKey: said.UnsealKey, TLSAddr: said.TLSAddr, TLSCA: said.TLSCA,
	}, stop, nil
}

// startDev runs a Vault or OpenBao in dev mode, under a shell that ends it
// when this process ends.
func startDev(ctx context.Context, path string) (Server, func(), error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return Server{}, nil, fmt.Errorf("finding a free port: %w", err)
	}
	addr := listener.Addr().String()
	if err := listener.Close(); err != nil {
		return Server{}, nil, fmt.Errorf("finding a free port: %w", err)
	}
	token := rand.Text()
	const script = `"$0" server -dev -dev-no-store-token -dev-listen-address="$1" -dev-root-token-id="$2" >&2 & cat >/dev/null; kill $!`
	stop, err := launch(exec.CommandContext(ctx, "sh", "-c", script, path, addr, token)) //nolint:gosec // found on PATH
	if err != nil {
		return Server{}, nil, err
	}
	return Server{Addr: "http://" + addr, Token: secret.New(token)}, stop, nil
}

// launch starts cmd with a standard input that stays open until stop or the
// end of this process.
func launch(cmd *exec.Cmd) (stop func(), err error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("connecting to the server: %w", err)
	}
	cmd.Stderr = new(tail)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	return sync.OnceFunc(func() {
		_ = in.Close()
		_ = cmd.Wait() // it ends by itself without its input; how is of no interest
	}), nil
}

// tail keeps the first few KiB of what a server complains about.
type tail struct {
	mu   sync.Mutex
	text strings.Builder
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.text.Len() < 1<<13 {
		_, _ = t.text.Write(p)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

var _ io.Writer = (*tail)(nil)

// prepare waits until the server answers and mounts what is missing.
func (s Server) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	client, err := s.client()
	if err != nil {
		return err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err = client.Logical().ReadWithContext(ctx, "secret/config"); err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the server: %w", err)
		case <-tick.C:
		}
	}
	for path, kind := range map[string]string{"sys/auth/approle": "approle", "sys/mounts/transit": "transit"} {
		_, err := client.Logical().WriteWithContext(ctx, path, map[string]any{"type": kind})
		if err != nil && !strings.Contains(err.Error(), "path is already in use") {
			return fmt.Errorf("mounting %s: %w", kind, err)
		}
	}
	return nil
}

func (s Server) client() (*api.Client, error) {
	conf := api.DefaultConfig()
	conf.Address = s.Addr
	client, err := api.NewClient(conf)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	client.SetToken(s.Token.Reveal())
	return client, nil
}
