package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pressly/goose/v3"

	"rotator/internal/secret"
)

// Status is one migration, known to this binary, applied, or both.
type Status struct {
	Version   int64
	Name      string    // file name; "" for one that only a newer binary knows
	AppliedAt time.Time // zero while pending
}

// Pending reports whether the database lacks the migration.
func (s Status) Pending() bool { return s.AppliedAt.IsZero() }

// MigrationStatus lists the migrations in fsys and in the database, in order
// of version. It changes nothing, not even on an empty database.
func MigrationStatus(ctx context.Context, url secret.Value, fsys fs.FS) ([]Status, error) {
	pool, err := Open(ctx, Config{URL: url, MaxConns: 1})
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	return status(ctx, pool, fsys)
}

// CheckSchema returns an error that matches ErrSchemaBehind when the
// database lacks a migration of fsys. A database that is ahead is fine: in a
// rolling upgrade the old binary works beside the new schema for a while.
func CheckSchema(ctx context.Context, pool *pgxpool.Pool, fsys fs.FS) error {
	all, err := status(ctx, pool, fsys)
	if err != nil {
		return err
	}
	var pending []string
	for _, s := range all {
		if s.Pending() {
			pending = append(pending, s.Name)
		}
	}
	if len(pending) > 0 {
		return fmt.Errorf("%w (pending: %s)", ErrSchemaBehind, strings.Join(pending, ", "))
	}
	return nil
}

// Fingerprint tells apart what Migrate makes of an empty database: it changes
// with the migrations and with the rights that roles get. It is for who keeps
// a migrated database to copy.
func Fingerprint(fsys fs.FS) (string, error) {
	h := sha256.New()
	names, err := fs.Glob(fsys, "*.sql")
	if err != nil {
		return "", fmt.Errorf("listing migrations: %w", err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return "", fmt.Errorf("reading migrations: %w", err)
		}
		fmt.Fprintf(h, "%s %d\n%s", name, len(text), text)
	}
	fmt.Fprint(h, rights)
	return hex.EncodeToString(h.Sum(nil)), nil
}

func status(ctx context.Context, pool *pgxpool.Pool, fsys fs.FS) ([]Status, error) {
	names, err := fs.Glob(fsys, "*.sql")
	if err != nil {
		return nil, fmt.Errorf("listing migrations: %w", err)
	}
	applied, err := appliedVersions(ctx, pool)
	if err != nil {
		return nil, err
	}
	var all []Status
	for _, name := range names {
		version, err := goose.NumericComponent(name)
		if err != nil {
			return nil, fmt.Errorf("reading the number of migration %s: %w", name, err)
		}
		all = append(all, Status{Version: version, Name: name, AppliedAt: applied[version]})
		delete(applied, version)
	}
	for version, at := range applied {
		all = append(all, Status{Version: version, AppliedAt: at})
	}
	slices.SortFunc(all, func(a, b Status) int { return int(a.Version - b.Version) })
	return all, nil
}

// appliedVersions reads goose's table. Version 0 is its own mark that the
// table exists.
func appliedVersions(ctx context.Context, pool *pgxpool.Pool) (map[int64]time.Time, error) {
	const query = `SELECT version_id, max(tstamp) FROM ` + migrationsTable + `
		WHERE is_applied AND version_id > 0 GROUP BY version_id`
	applied := map[int64]time.Time{}
	var (
		version int64
		at      time.Time
	)
	rows, err := pool.Query(ctx, query)
	if err == nil {
		_, err = pgx.ForEachRow(rows, []any{&version, &at}, func() error {
			applied[version] = at.UTC()
			return nil
		})
	}
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && pgErr.Code == "42P01" { // undefined_table: never migrated
		return applied, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading applied migrations: %w", err)
	}
	return applied, nil
}
