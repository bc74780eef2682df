// Package vault is rotator's access to HashiCorp Vault: logins, the KV v2
// paths where consumers find their credentials, the documents beside them that
// are written once (the audit log's checkpoints), and signing by Transit.
//
// Every request goes through call.Transport, so each is recorded, and each
// write has its intent committed before it leaves. Writes are sent once: a
// write whose answer was lost comes back as ErrStateUnknown and is settled by
// the caller, who reads. Reads and logins are repeated a few times. The one
// exception is a write that Vault refuses because the login has expired:
// that proves that nothing was written, so it is sent again, once, after a
// new login, as an attempt of its own.
package vault

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"rotator/internal/call"
)

// Config says which Vault and how to log in.
type Config struct {
	// API is the library's configuration: address, TLS, proxy. Open takes it
	// over and changes it; give each Store its own. Nil means the library's
	// defaults.
	API *api.Config
	// Namespace of Vault Enterprise or HCP; empty leaves the library's choice.
	Namespace string
	Auth      Auth
	// ClientCert and ClientKey are PEM files of a TLS client certificate, read
	// again for every connection. Method cert needs them.
	ClientCert, ClientKey string
	// Mount is the KV v2 engine (default "secret"), Prefix the folder below
	// it that holds credentials (default "sinch").
	Mount, Prefix string
	// Recorder is told of every request. Required.
	Recorder call.Recorder
	// Logger gets what is worth knowing but fails nothing; nil discards it.
	Logger *slog.Logger
	// Now is the clock for token lifetimes; nil means time.Now.
	Now func() time.Time
	// Timeout of one request; 0 means 15 s.
	Timeout time.Duration
	// Base sends the requests; nil means API's own transport.
	Base http.RoundTripper
}

// Store is a logged-in Vault client. It is safe for concurrent use.
type Store struct {
	client        *api.Client
	session       *session
	base          http.RoundTripper // records nothing
	mount, prefix string
}

// Open logs in and checks that the mount, where it may be looked at, is KV
// v2. Its errors match ErrConfig, ErrUnreachable, ErrDenied or ErrSealed.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	cfg.defaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	method, err := cfg.Auth.method()
	if err != nil {
		return nil, err
	}
	client, base, err := newClient(cfg)
	if err != nil {
		return nil, fmt.Errorf("setting up the Vault client: %w", err)
	}
	s := &Store{client: client, base: base, mount: cfg.Mount, prefix: cfg.Prefix}
	s.session = newSession(cfg, method, client)
	if err := s.session.advance(ctx, login{}); err != nil {
		return nil, fmt.Errorf("logging in to Vault at %s: %w", client.Address(), err)
	}
	if err := s.checkMount(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Entity is who Vault says we are: the login's entity id, else its display
// name.
func (s *Store) Entity() string { return s.session.who() }

func (c *Config) defaults() {
	if c.Mount = strings.Trim(c.Mount, "/"); c.Mount == "" {
		c.Mount = "secret"
	}
	if c.Prefix = strings.Trim(c.Prefix, "/"); c.Prefix == "" {
		c.Prefix = "sinch"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Timeout <= 0 {
		c.Timeout = 15 * time.Second
	}
	c.Auth.defaults()
}

func (c *Config) check() error {
	if c.Recorder == nil {
		return fmt.Errorf("%w: a Recorder is required", ErrConfig)
	}
	if !plainPath(c.Mount + "/" + c.Prefix) {
		return fmt.Errorf("%w: mount %q and prefix %q must be plain path components joined by /", ErrConfig, c.Mount, c.Prefix)
	}
	if (c.ClientCert == "") != (c.ClientKey == "") || c.Auth.Method == "cert" && c.ClientCert == "" {
		return fmt.Errorf("%w: VAULT_CLIENT_CERT and VAULT_CLIENT_KEY belong together, and method cert needs them", ErrConfig)
	}
	return nil
}

// newClient makes the library send every request through call.Transport,
// once.
func newClient(cfg Config) (_ *api.Client, base http.RoundTripper, _ error) {
	conf := cfg.API
	if conf == nil {
		conf = api.DefaultConfig()
	}
	if conf.Error != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrConfig, conf.Error)
	}
	// A standby that has not yet seen our write answers 412, and we ask again.
	conf.ReadYourWrites = true
	client, err := api.NewClient(conf)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if base, err = transport(cfg, conf.HttpClient.Transport); err != nil {
		return nil, nil, err
	}
	// Only now: a unix:// address makes NewClient change the transport.
	conf.HttpClient = &http.Client{
		Transport: &call.Transport{Service: call.Vault, Base: base, Recorder: cfg.Recorder, LabelFor: labelFor},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
	client.SetMaxRetries(0)
	client.SetCheckRetry(func(ctx context.Context, _ *http.Response, _ error) (bool, error) {
		return false, ctx.Err()
	})
	client.SetClientTimeout(cfg.Timeout)
	if cfg.Namespace != "" {
		client.SetNamespace(cfg.Namespace)
	}
	return client, base, nil
}

// transport is what sends the requests, given the library's own.
func transport(cfg Config, own http.RoundTripper) (http.RoundTripper, error) {
	base := cfg.Base
	if base == nil {
		base = own
	}
	if cfg.ClientCert != "" {
		if err := presentCertificate(base, cfg.ClientCert, cfg.ClientKey); err != nil {
			return nil, err
		}
	}
	if t, ok := base.(*http.Transport); ok && cfg.Auth.Method == "cert" {
		base = freshLogins{t}
	}
	return base, nil
}

// checkMount refuses a mount that is certainly not KV v2: writing there would
// put secrets where nobody looks. A login that may not look at the mount
// passes; CanWrite tells more later.
func (s *Store) checkMount(ctx context.Context) error {
	answer, err := s.read(ctx, label{}, func(ctx context.Context, l *api.Logical) (*api.Secret, error) {
		return l.ReadWithContext(ctx, "sys/internal/ui/mounts/"+s.mount)
	})
	switch {
	case errors.Is(err, ErrDenied), errors.Is(err, ErrNotFound), errors.Is(err, ErrRejected):
		return nil
	case err != nil:
		return fmt.Errorf("looking at mount %s: %w", s.mount, err)
	}
	options, _ := answer.Data["options"].(map[string]any)
	if kind, _ := answer.Data["type"].(string); kind != "kv" || options["version"] != "2" {
		return fmt.Errorf("%w: mount %s is of type %q, version %v; rotator needs KV version 2", ErrConfig, s.mount, kind, options["version"])
	}
	return nil
}
