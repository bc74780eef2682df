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

// MigrateOptions names the roles that migrations give rights to. They are
// read there with current_setting('rotator.writer_role', true) and so on; an
// empty name gives that role nothing.
type MigrateOptions struct {
	Writer  string // appends and reads: the daemon's
	Auditor string // reads the audit log only
	Owner   string // owns the audit log; default is who migrates
}

// Applied is a migration that Migrate has applied.
type Applied struct {
	Version  int64
	Name     string // file name
	Duration time.Duration
}

// Migrate applies the migrations in fsys that the database lacks, each in a
// transaction of its own, and returns those. Any number of processes may do
// so at once: one applies, the others wait for it and find nothing to do.
// The applied part is returned also beside an error.
func Migrate(ctx context.Context, url secret.Value, fsys fs.FS, opts MigrateOptions) ([]Applied, error) {
	db, err := openMigrating(ctx, url, opts)
	if err != nil {
		return nil, err
	}
	defer db.Close() //nolint:errcheck // nothing is pending on it
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, migrateWait))
	if err != nil {
		return nil, fmt.Errorf("preparing the migration lock: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, fsys,
		goose.WithTableName(migrationsTable), goose.WithSessionLocker(publishing{locker}), goose.WithDisableGlobalRegistry(true))
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

// openMigrating opens a database/sql handle, which goose wants, whose
// connections know the roles.
func openMigrating(ctx context.Context, url secret.Value, opts MigrateOptions) (*sql.DB, error) {
	cc, err := pgx.ParseConfig(url.Reveal())
	if err != nil || url.IsZero() {
		return nil, urlError(url, err)
	}
	prepare(cc, "rotator migrate")
	s := settings{
		"lock_timeout":         millis(migrateLockTimeout, 0),
		"statement_timeout":    "0",
		"rotator.writer_role":  opts.Writer,
		"rotator.auditor_role": opts.Auditor,
		"rotator.owner_role":   opts.Owner,
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

// publishing lets every role read the table of applied migrations, so that
// CheckSchema works for a role that owns nothing. It does so at the end of
// each pass, under goose's lock: two processes granting at once would fail
// on the table's catalogue row.
type publishing struct{ lock.SessionLocker }

// SessionUnlock grants what is missing and releases the lock.
func (p publishing) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	const grant = `DO $$ BEGIN
		IF to_regclass('` + migrationsTable + `') IS NOT NULL
			AND NOT has_table_privilege('public', '` + migrationsTable + `', 'SELECT') THEN
			GRANT SELECT ON ` + migrationsTable + ` TO PUBLIC;
		END IF;
	END $$`
	_, grantErr := conn.ExecContext(ctx, grant)
	if grantErr != nil {
		grantErr = fmt.Errorf("granting rights on the table of migrations: %w", grantErr)
	}
	return errors.Join(grantErr, p.SessionLocker.SessionUnlock(ctx, conn))
}
