package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"rotator/internal/secret"
)

// Limits of a migrating connection. There is no statement timeout, because
// an index on a large log takes its time; waiting for another process's lock
// is limited all the same, because everybody else queues up behind.
const (
	migrateLockTimeout = 10 * time.Second
	migrateWait        = 300 // seconds to wait for another process that migrates
)

// migrationsTable is goose's own, named with its schema: a login called
// rotator would look into the schema rotator first, as soon as there is one.
const migrationsTable = "public.goose_db_version"

// MigrateOptions names who may do what with the schemas audit and rotator.
// Rights are given to existing roles; a missing one is created, without login,
// where the migrating login may. An empty name names nobody.
//
// Rights are not given by the migrations but after them, by every Migrate, so
// that roles may be named at any time and get what later migrations bring. A
// role that was named once need not be named again.
type MigrateOptions struct {
	Writer  string // reads and appends to the log, works with schema rotator: the daemon's
	Auditor string // reads the log and nothing else
	Owner   string // owns both schemas; default is who migrated first
}

// Migrated is what Migrate has done.
type Migrated struct {
	Applied []Applied
	Rights  []string // the statements that made roles and gave or took rights
}

// Applied is a migration that Migrate has applied.
type Applied struct {
	Version  int64
	Name     string // file name
	Duration time.Duration
}

// Migrate applies the migrations in fsys that the database lacks, each in a
// transaction of its own, then gives roles their rights. Any number of
// processes may do so at once: one applies, the others wait for it and find
// nothing to do. What was done is returned also beside an error; one that
// matches ErrRoles is about the rights alone.
func Migrate(ctx context.Context, url secret.Value, fsys fs.FS, opts MigrateOptions) (done Migrated, err error) {
	db, err := openMigrating(ctx, url)
	if err != nil {
		return done, err
	}
	defer db.Close() //nolint:errcheck // nothing is pending on it
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, migrateWait))
	if err != nil {
		return done, fmt.Errorf("preparing the migration lock: %w", err)
	}
	if done.Applied, err = apply(ctx, db, fsys, locker); err != nil {
		return done, err
	}
	done.Rights, err = giveRights(ctx, db, locker, opts)
	return done, err
}

// apply applies what is pending.
func apply(ctx context.Context, db *sql.DB, fsys fs.FS, locker lock.SessionLocker) ([]Applied, error) {
	provider, err := goose.NewProvider(goose.DialectPostgres, db, fsys,
		goose.WithTableName(migrationsTable), goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, fmt.Errorf("reading migrations: %w", err)
	}
	results, err := provider.Up(ctx)
	var partial *goose.PartialError
	if errors.As(err, &partial) {
		results = partial.Applied
	}
	applied := make([]Applied, 0, len(results))
	for _, r := range results {
		applied = append(applied, Applied{Version: r.Source.Version, Name: r.Source.Path, Duration: r.Duration})
	}
	if err != nil {
		return applied, fmt.Errorf("migrating: %w", err)
	}
	return applied, nil
}

// giveRights does so under goose's lock: two processes that grant at once
// would fail on the catalogue's rows.
func giveRights(ctx context.Context, db *sql.DB, locker lock.SessionLocker, roles MigrateOptions) (ran []string, err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, unreachable(err)
	}
	defer conn.Close() //nolint:errcheck // nothing is pending on it
	if err := locker.SessionLock(ctx, conn); err != nil {
		return nil, fmt.Errorf("waiting for the migration lock: %w", err)
	}
	defer func() { err = errors.Join(err, locker.SessionUnlock(context.WithoutCancel(ctx), conn)) }()
	if err := publish(ctx, conn); err != nil {
		return nil, err
	}
	return arrange(ctx, conn, roles)
}

// openMigrating opens a database/sql handle, which goose wants. The settings
// from which the first two migrations could give rights themselves stay unset.
func openMigrating(ctx context.Context, url secret.Value) (*sql.DB, error) {
	cc, err := pgx.ParseConfig(url.Reveal())
	if err != nil || url.IsZero() {
		return nil, urlError(url, err)
	}
	prepare(cc, "rotator migrate")
	s := settings{
		"lock_timeout":      millis(migrateLockTimeout, 0),
		"statement_timeout": "0",
	}
	db := stdlib.OpenDB(*cc, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		return greet(ctx, conn, s)
	}))
	if err := db.PingContext(ctx); err != nil {
		_ = db.Close() // it never opened
		return nil, unreachable(err)
	}
	return db, nil
}

// publish lets every role read the table of applied migrations, so that
// CheckSchema works for a role that owns nothing.
func publish(ctx context.Context, conn *sql.Conn) error {
	const grant = `DO $$ BEGIN
		IF to_regclass('` + migrationsTable + `') IS NOT NULL
			AND NOT has_table_privilege('public', '` + migrationsTable + `', 'SELECT') THEN
			GRANT SELECT ON ` + migrationsTable + ` TO PUBLIC;
		END IF;
	END $$`
	if _, err := conn.ExecContext(ctx, grant); err != nil {
		return fmt.Errorf("granting rights on the table of migrations: %w", err)
	}
	return nil
}
