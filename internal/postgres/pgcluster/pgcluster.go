// Package pgcluster runs private Postgres servers for the demo and for
// tests: real ones, from the machine's own binaries or, on Debian and Ubuntu,
// from downloaded packages. A cluster lives in one directory, listens on a
// Unix socket in it and nowhere else, and goes away with the process that
// started it, however that ends.
//
//	Start ─ initdb (or copy of a template) ─ postgres ─ answers
//	  │                                         │ ▲
//	  └─ reaper: a shell that waits for our    Stop, Restart, Signal
//	     end, then stops postgres and removes the temporary directory
package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"

	"rotator/internal/secret"
)

// port only names the socket; nothing listens on TCP.
const port = "5432"

// Options say how to start a cluster. The zero value is good for tests.
type Options struct {
	// BinDir holds initdb and postgres. Default: what FindBinaries finds.
	BinDir string
	// Dir is the cluster's home. An existing cluster in it is started as it
	// is. It is never removed. Default: a temporary directory, which is.
	Dir string
	// Template is the home of a stopped cluster that a new one is copied
	// from, which is faster than initdb. Superuser must be the same.
	Template string
	// Logger hears of downloads, starts and stops. Default: nobody.
	Logger *slog.Logger
	// Superuser is the name of the first role. Default "rotator".
	Superuser string
	// FSync makes commits survive a crash of the machine. Without it they
	// survive a crash of Postgres only, which is all that a test can cause.
	FSync bool
	// KeepDir keeps a temporary directory.
	KeepDir bool
	// Settings go onto the server's command line, over the defaults.
	Settings map[string]string
}

// Cluster is a Postgres server of our own. Its methods are not for
// concurrent use, except URL, Login and AdminURL.
type Cluster struct {
	opts      Options
	home      string
	socketDir string
	temporary []string // directories to remove
	owner     *account // nil: ourselves
	password  secret.Value
	reaper    *reaper
	server    *server // nil while stopped
}

// Start starts a cluster and returns when it answers. As root, Postgres runs
// as the user postgres or nobody, because it refuses root. Cancelling ctx
// gives up starting; it does not stop a cluster that runs.
func Start(ctx context.Context, opts Options) (*Cluster, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Superuser == "" {
		opts.Superuser = "rotator"
	}
	if opts.BinDir == "" {
		dir, err := FindBinaries(ctx, opts.Logger)
		if err != nil {
			return nil, err
		}
		opts.BinDir = dir
	}
	owner, err := serverAccount()
	if err != nil {
		return nil, err
	}
	c := &Cluster{opts: opts, owner: owner}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) error {
	if err := c.makeDirs(); err != nil {
		return fmt.Errorf("making the cluster's directory: %w", err)
	}
	r, err := startReaper(c.temporary)
	if err != nil {
		return fmt.Errorf("starting the cluster's reaper: %w", err)
	}
	c.reaper = r
	if err := c.create(ctx); err != nil {
		return fmt.Errorf("creating a Postgres cluster: %w", err)
	}
	return c.Restart(ctx)
}

// URL is a connection string of the superuser for a database. It contains
// the generated password.
func (c *Cluster) URL(database string) string {
	return c.Login(c.opts.Superuser, c.password, database)
}

// Login is a connection string of another role, which somebody has made.
func (c *Cluster) Login(role string, password secret.Value, database string) string {
	query := url.Values{"host": {c.socketDir}, "port": {port}}
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(role, password.Reveal()),
		Path: "/" + database, RawQuery: query.Encode(),
	}
	return u.String()
}

// AdminURL is URL of the database "postgres", which every cluster has.
func (c *Cluster) AdminURL() string { return c.URL("postgres") }

// Dir is the cluster's home: "data" in it is Postgres' own, "log" its log.
func (c *Cluster) Dir() string { return c.home }

// PID is the postmaster's process id, 0 while the cluster is stopped.
func (c *Cluster) PID() int {
	if c.server == nil {
		return 0
	}
	return c.server.cmd.Process.Pid
}

// Close stops the cluster, fast, and removes its directory if that is a
// temporary one that need not be kept. Closing twice does nothing.
func (c *Cluster) Close() error {
	err := c.Stop("fast")
	if c.reaper != nil {
		err = errors.Join(err, c.reaper.dismiss())
		c.reaper = nil
	}
	for _, dir := range c.temporary {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	c.temporary = nil
	return err
}

func (c *Cluster) dataDir() string      { return filepath.Join(c.home, "data") }
func (c *Cluster) logPath() string      { return filepath.Join(c.home, "log") }
func (c *Cluster) passwordPath() string { return filepath.Join(c.home, "password") }
