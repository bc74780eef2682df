package rig

import (
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"rotator/internal/postgres/pgtest"
)

// ApplicationName tells the rig's own connections from those of processes.
const ApplicationName = "rig"

// openDatabase makes a database on the shared server, or on one of the world's
// own. Rotator logs in to it as the daemon does, with a role that owns nothing.
func (w *World) openDatabase(own bool) {
	w.T.Helper()
	if own {
		w.cluster, w.Link = pgtest.Private(w.T)
	} else {
		w.Link = pgtest.Database(w.T)
	}
	w.connect()
}

// connect gives the world connections of its own to the database that Link is
// for, as the superuser.
func (w *World) connect() {
	w.T.Helper()
	link, err := url.Parse(w.Link)
	if err != nil {
		w.T.Fatal("the database's URL cannot be read")
	}
	if w.cluster == nil {
		w.Admin = pgtest.Superuser(w.T, w.Link)
	} else {
		w.Admin = w.cluster.URL(strings.TrimPrefix(link.Path, "/"))
	}
	cfg, err := pgxpool.ParseConfig(w.Admin)
	if err != nil {
		w.T.Fatal(err)
	}
	cfg.ConnConfig.RuntimeParams["application_name"] = ApplicationName
	if w.DB, err = pgxpool.NewWithConfig(w.T.Context(), cfg); err != nil {
		w.T.Fatal(err)
	}
	w.T.Cleanup(w.DB.Close)
}

// Crash stops the world's own Postgres as a power failure would.
func (w *World) Crash() {
	w.T.Helper()
	if err := w.cluster.Stop("immediate"); err != nil {
		w.T.Fatal(err)
	}
}

// Recover starts it again.
func (w *World) Recover() {
	w.T.Helper()
	if err := w.cluster.Restart(w.T.Context()); err != nil {
		w.T.Fatal(err)
	}
	w.DB.Reset()
}

// ClusterDir is the directory of the world's own Postgres.
func (w *World) ClusterDir() string { return w.cluster.Dir() }

// Exec executes a statement.
func (w *World) Exec(statement string, args ...any) {
	w.T.Helper()
	if _, err := w.DB.Exec(w.T.Context(), statement, args...); err != nil {
		w.T.Fatalf("%s: %v", statement, err)
	}
}

// One is a query's number.
func (w *World) One(query string, args ...any) (n int) {
	w.T.Helper()
	if err := w.DB.QueryRow(w.T.Context(), query, args...).Scan(&n); err != nil {
		w.T.Fatalf("%s: %v", query, err)
	}
	return n
}

// Strings is a query's column.
func (w *World) Strings(query string, args ...any) []string {
	w.T.Helper()
	return rows(w, pgx.RowTo[string], query, args...)
}

// rows is a query's rows.
func rows[T any](w *World, to pgx.RowToFunc[T], query string, args ...any) []T {
	w.T.Helper()
	found, err := w.DB.Query(w.T.Context(), query, args...)
	if err != nil {
		w.T.Fatalf("%s: %v", query, err)
	}
	all, err := pgx.CollectRows(found, to)
	if err != nil {
		w.T.Fatalf("%s: %v", query, err)
	}
	return all
}

// Events counts the log's events of a type.
func (w *World) Events(kind string) int {
	w.T.Helper()
	return w.One(`select count(*) from audit.event where type = $1`, kind)
}

// Expire makes the leases of dead processes run out now: the processes are
// gone, and waiting for the clock would prove nothing more.
func (w *World) Expire() {
	w.T.Helper()
	w.Exec(`update rotator.project set lease_expires_at = now() - interval '1 second' where lease_expires_at >= now()`)
}

// Leases counts the leases that have not run out.
func (w *World) Leases() int {
	w.T.Helper()
	return w.One(`select count(*) from rotator.project where lease_expires_at >= now()`)
}

// Outlast waits until the leases of processes that are gone have run out.
func (w *World) Outlast() {
	w.T.Helper()
	w.Until("the leases to run out", func() bool { return w.Leases() == 0 })
}
