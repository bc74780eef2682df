// Package pgtest gives each test a database of its own on a real Postgres
// server, with all migrations applied: a copy of a template, made in some
// tens of milliseconds. Tests log in as the daemon does, with a role that owns
// nothing; whoever wants to be another, or the superuser, has to ask.
//
// The server is ROTATOR_TEST_POSTGRES (a superuser's URL) if that is set, else a private cluster of the test process, from
// the binaries in POSTGRES_BIN or wherever pgcluster finds them. A server that
// cannot be had fails the test; only -short skips it.
package pgtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"rotator/internal/postgres"
	"rotator/internal/postgres/pgcluster"
	"rotator/internal/secret"
)

// cleanupTimeout limits dropping a database; a test's own context is over by
// then.
const cleanupTimeout = 30 * time.Second

// instance is the server of this test process.
type instance struct {
	admin    string // URL
	template string // name of the migrated database
	cluster  *pgcluster.Cluster
	err      error
}

var shared = sync.OnceValue(func() instance {
	ctx := context.Background()
	i := instance{admin: os.Getenv("ROTATOR_TEST_POSTGRES")}
	if i.admin == "" {
		if i.cluster, i.err = startCluster(ctx, os.Getenv("POSTGRES_BIN"), false); i.err != nil {
			return i
		}
		started.Store(i.cluster)
		i.admin = i.cluster.AdminURL()
	}
	i.template, i.err = ensureTemplate(ctx, i.admin)
	return i
})

// Main runs a package's tests and stops the cluster afterwards. It is
// optional: a cluster goes away with its process. Checks are made when all
// tests have passed.
//
//	func TestMain(m *testing.M) { pgtest.Main(m) }
func Main(m *testing.M, checks ...func() error) {
	code := m.Run()
	for _, check := range checks {
		if err := check(); code == 0 && err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if c := started.Load(); c != nil {
		if err := c.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "stopping the test cluster:", err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// Database returns the daemon's URL of a fresh, migrated database, which is
// dropped after the test. Its role may do what the daemon needs and no more;
// Installer, Auditor and Superuser give the others' URLs.
func Database(t testing.TB) string {
	t.Helper()
	i := server(t)
	return login(i.admin, writer, create(t, i.admin, i.template))
}

// Empty returns the installer's URL of a fresh database without any schema,
// which is dropped after the test. The installer owns the database and may
// not create roles.
func Empty(t testing.TB) string {
	t.Helper()
	i := server(t)
	return login(i.admin, installer, create(t, i.admin, "template0"))
}

// New returns the daemon's pool on a fresh, migrated database. Both go away
// after the test.
func New(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return Pool(t, Database(t))
}

// Private starts a server of the test's own, which may be stopped and crashed,
// and returns the daemon's URL of a migrated database on it. Both go away
// after the test.
func Private(t testing.TB) (*pgcluster.Cluster, string) {
	t.Helper()
	return private(t, false)
}

// Durable is Private with a server whose commits wait for the disk, as those of
// a real one do: for benchmarks.
func Durable(t testing.TB) (*pgcluster.Cluster, string) {
	t.Helper()
	return private(t, true)
}

func private(t testing.TB, durable bool) (*pgcluster.Cluster, string) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a Postgres of its own; left out by -short")
	}
	c, err := startCluster(t.Context(), os.Getenv("POSTGRES_BIN"), durable)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("stopping the test's own Postgres: %v", err)
		}
	})
	const name = "private"
	template, err := ensureTemplate(t.Context(), c.AdminURL())
	if err == nil {
		err = execute(t.Context(), c.AdminURL(), "CREATE DATABASE "+name+" TEMPLATE "+template+" OWNER "+installer)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c, login(c.AdminURL(), writer, name)
}

// Pool returns a pool on a database, which is closed after the test.
func Pool(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := postgres.Open(t.Context(), postgres.Config{URL: secret.New(url)})
	if err != nil {
		t.Fatalf("opening the test database: %v", err)
	}
	t.Cleanup(func() {
		closed := make(chan struct{})
		go func() { defer close(closed); pool.Close() }()
		select {
		case <-closed:
		case <-time.After(cleanupTimeout): // Close waits for ever for what is still in use
			t.Error("the test left a connection or transaction of its pool open")
		}
	})
	return pool
}

func server(t testing.TB) instance {
	t.Helper()
	if testing.Short() {
		t.Skip("needs Postgres; left out by -short")
	}
	i := shared()
	if i.err != nil {
		t.Fatalf("no Postgres server for tests: %v", i.err)
	}
	return i
}

// create makes a database and returns its name.
func create(t testing.TB, admin, template string) string {
	t.Helper()
	name := "t_" + strings.ToLower(rand.Text()[:16])
	if err := execute(t.Context(), admin, "CREATE DATABASE "+name+" TEMPLATE "+template+" OWNER "+installer); err != nil {
		t.Fatalf("creating a test database: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), cleanupTimeout)
		defer cancel()
		if err := execute(ctx, admin, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("dropping a test database: %v", err)
		}
	})
	return name
}

func execute(ctx context.Context, admin, statement string) error {
	conn, err := pgx.Connect(ctx, admin)
	if err != nil {
		return err //nolint:wrapcheck // callers say what it was for
	}
	defer conn.Close(ctx) //nolint:errcheck // nothing is pending
	_, err = conn.Exec(ctx, statement)
	return err //nolint:wrapcheck // callers say what it was for
}

// databaseOf is the name of the database that a URL is for.
func databaseOf(t testing.TB, link string) string {
	t.Helper()
	u, err := url.Parse(link)
	if err != nil {
		t.Fatal("not a URL of this package's")
	}
	return strings.TrimPrefix(u.Path, "/")
}

// onDatabase is the URL with another database.
func onDatabase(admin, name string) string {
	u, err := url.Parse(admin)
	if err != nil {
		return admin // which connecting will complain about
	}
	u.Path = "/" + name
	return u.String()
}
