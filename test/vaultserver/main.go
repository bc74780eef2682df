// Command vaultserver runs a real Vault server for tests, built from Vault's
// own packages. It initialises and unseals itself, mounts KV v2 at secret/,
// transit and AppRole, prints one line of JSON to its parent once it is ready,
// and ends on SIGTERM or when its standard input ends, so that it never
// outlives the test that started it. The login methods cert, jwt and kubernetes
// are compiled in and mounted by whoever needs them. It listens on loopback,
// without TLS, and with a certificate of its own beside that: never run it for
// anything but tests.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/vault"
)

func main() {
	var o options
	flag.StringVar(&o.listen, "listen", "127.0.0.1:0", "loopback `address` to listen on")
	flag.StringVar(&o.storage, "storage", "inmem", "inmem, or file:DIR to survive a restart")
	flag.StringVar(&o.keys, "keys", "", "`file` that keeps unseal key and root token between starts (0600)")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "vaultserver:", err)
		os.Exit(1) //nolint:gocritic // stop has nothing left to undo
	}
}

type options struct{ listen, storage, keys string }

func run(ctx context.Context, o options) error {
	core, err := newCore(o.storage)
	if err != nil {
		return err
	}
	defer core.Shutdown() //nolint:errcheck // the process ends
	k, err := open(core, o.keys)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	secure, authority, err := listenTLS()
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           vaulthttp.Handler.Handler(&vault.HandlerProperties{Core: core, ListenerConfig: &configutil.Listener{}}),
		ReadHeaderTimeout: 10 * time.Second,
	}
	failed := make(chan error, 2)
	go func() { failed <- server.Serve(listener) }()
	go func() { failed <- server.Serve(secure) }()
	k.Addr = "http://" + listener.Addr().String()
	k.TLSAddr, k.TLSCA = "https://"+secure.Addr().String(), authority
	if err := json.NewEncoder(os.Stdout).Encode(k); err != nil {
		return fmt.Errorf("announcing the server: %w", err)
	}

	orphaned := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(orphaned)
	}()
	select {
	case <-ctx.Done():
	case <-orphaned:
	case err = <-failed:
	}
	if cerr := server.Close(); !errors.Is(err, http.ErrServerClosed) {
		err = errors.Join(err, cerr)
	}
	return err
}
