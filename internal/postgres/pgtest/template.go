package pgtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"rotator/internal/postgres"
	"rotator/internal/postgres/pgcluster"
	"rotator/internal/secret"
	"rotator/migrations"
)

// unusedFor is how long a cached cluster lies unused before it is removed.
const unusedFor = 3 * 24 * time.Hour

// started is the private cluster, for Main to stop.
var started atomic.Pointer[pgcluster.Cluster]

// startCluster starts this process's cluster as a copy of a cached one, in
// which the template database exists already. The commits of a durable one wait
// for the disk.
func startCluster(ctx context.Context, binDir string, durable bool) (*pgcluster.Cluster, error) {
	if binDir == "" {
		dir, err := pgcluster.FindBinaries(ctx, slog.New(slog.DiscardHandler))
		if err != nil {
			return nil, fmt.Errorf("finding Postgres: %w", err)
		}
		binDir = dir
	}
	template, err := cachedCluster(ctx, binDir)
	if err != nil {
		return nil, fmt.Errorf("making the template cluster: %w", err)
	}
	c, err := pgcluster.Start(ctx, pgcluster.Options{BinDir: binDir, Template: template, FSync: durable})
	if err != nil {
		return nil, fmt.Errorf("starting the test cluster: %w", err)
	}
	return c, nil
}

// cachedCluster returns the home of a stopped cluster for these binaries and
// migrations. Processes that make it at the same time each make one; the
// first to rename it wins.
func cachedCluster(ctx context.Context, binDir string) (string, error) {
	version, err := pgcluster.ServerVersion(ctx, binDir)
	if err != nil {
		return "", err //nolint:wrapcheck // says it all
	}
	sum, err := postgres.Fingerprint(migrations.FS)
	if err != nil {
		return "", fmt.Errorf("naming the template: %w", err)
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache directory: %w", err)
	}
	base = filepath.Join(base, "rotator", "pgtest")
	key := sha256.Sum256([]byte(binDir + "\n" + version + "\n" + sum))
	home := filepath.Join(base, hex.EncodeToString(key[:8]))
	now := time.Now()
	if os.Chtimes(home, now, now) == nil { // it exists, and is in use
		return home, nil
	}
	if err := os.MkdirAll(base, 0o700); err != nil {
		return "", fmt.Errorf("making the cache directory: %w", err)
	}
	prune(base, now.Add(-unusedFor))
	return home, buildCluster(ctx, binDir, base, home)
}

func buildCluster(ctx context.Context, binDir, base, home string) error {
	c, err := pgcluster.Start(ctx, pgcluster.Options{BinDir: binDir})
	if err != nil {
		return err //nolint:wrapcheck // says it all
	}
	_, err = ensureTemplate(ctx, c.AdminURL())
	if err = errors.Join(err, c.Stop("fast")); err != nil {
		return errors.Join(err, c.Close())
	}
	building, err := os.MkdirTemp(base, "building-")
	if err == nil {
		err = os.CopyFS(building, os.DirFS(c.Dir()))
	}
	if err = errors.Join(err, c.Close()); err != nil {
		return fmt.Errorf("copying into the cache: %w", err)
	}
	if err := os.Rename(building, home); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("moving into the cache: %w", err)
	}
	return os.RemoveAll(building) //nolint:wrapcheck // names the path itself
}

// prune removes what lies unused, best effort.
func prune(base string, before time.Time) {
	entries, _ := os.ReadDir(base)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.ModTime().Before(before) {
			_ = os.RemoveAll(filepath.Join(base, e.Name()))
		}
	}
}

// ensureTemplate makes the roles and the migrated template database, unless
// they are there. Processes that share a server wait for one another.
func ensureTemplate(ctx context.Context, admin string) (string, error) {
	sum, err := postgres.Fingerprint(migrations.FS)
	if err != nil {
		return "", fmt.Errorf("naming the template: %w", err)
	}
	name := "rotator_template_" + sum[:16]
	conn, err := pgx.Connect(ctx, admin)
	if err != nil {
		return "", fmt.Errorf("connecting as admin: %w", err)
	}
	defer conn.Close(ctx) //nolint:errcheck // releases the lock, whatever it returns
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock(hashtext($1))", name); err != nil {
		return "", fmt.Errorf("locking the template: %w", err)
	}
	if err := ensureRoles(ctx, conn, admin); err != nil {
		return "", err
	}
	var ready bool
	const query = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1 AND datistemplate)"
	if err := conn.QueryRow(ctx, query, name).Scan(&ready); err != nil || ready {
		return name, err //nolint:wrapcheck // of a query that cannot fail by itself
	}
	for _, statement := range []string{"DROP DATABASE IF EXISTS " + name + " WITH (FORCE)", "CREATE DATABASE " + name + " OWNER " + installer} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return "", fmt.Errorf("creating the template: %w", err)
		}
	}
	opts := postgres.MigrateOptions{Writer: writer, Auditor: auditor, Owner: owner}
	if _, err := postgres.Migrate(ctx, secret.New(login(admin, installer, name)), migrations.FS, opts); err != nil {
		return "", fmt.Errorf("migrating the template: %w", err)
	}
	if _, err := conn.Exec(ctx, "ALTER DATABASE "+name+" WITH IS_TEMPLATE true ALLOW_CONNECTIONS false"); err != nil {
		return "", fmt.Errorf("closing the template: %w", err)
	}
	return name, nil
}
