package rig

import (
	"net/url"

	"github.com/jackc/pgx/v5/pgxpool"

	"rotator/internal/postgres/pgcluster"
)

// Backup takes a base backup of the world's own Postgres: the home of a
// cluster to be, which with standby follows this one.
func (w *World) Backup(standby bool) (home string) {
	w.T.Helper()
	home, err := w.cluster.Backup(w.T.Context(), standby)
	if err != nil {
		w.T.Fatal(err)
	}
	return home
}

// Cluster starts another Postgres from a backup, beside the world's own.
func (w *World) Cluster(home string) *pgcluster.Cluster {
	w.T.Helper()
	c, err := pgcluster.Start(w.T.Context(), pgcluster.Options{Template: home})
	if err != nil {
		w.T.Fatal(err)
	}
	w.T.Cleanup(func() { _ = c.Close() })
	return c
}

// FailOver makes another Postgres the world's own, as a name that points
// elsewhere now does.
func (w *World) FailOver(c *pgcluster.Cluster) {
	w.T.Helper()
	there, err := url.Parse(c.AdminURL())
	if err != nil {
		w.T.Fatal(err)
	}
	link, err := url.Parse(w.Link)
	if err != nil {
		w.T.Fatal("the database's URL cannot be read")
	}
	link.Host, link.RawQuery = there.Host, there.RawQuery
	w.cluster, w.Link = c, link.String()
	w.connect()
	w.Set("DATABASE_URL", w.Link)
}

// Ask is a number that another Postgres answers with.
func (w *World) Ask(c *pgcluster.Cluster, query string) (n int) {
	w.T.Helper()
	pool, err := pgxpool.New(w.T.Context(), c.AdminURL())
	if err != nil {
		w.T.Fatal(err)
	}
	defer pool.Close()
	if err := pool.QueryRow(w.T.Context(), query).Scan(&n); err != nil {
		w.T.Fatalf("%s: %v", query, err)
	}
	return n
}

// Tell executes a statement on another Postgres.
func (w *World) Tell(c *pgcluster.Cluster, statement string) {
	w.T.Helper()
	pool, err := pgxpool.New(w.T.Context(), c.AdminURL())
	if err != nil {
		w.T.Fatal(err)
	}
	defer pool.Close()
	if _, err := pool.Exec(w.T.Context(), statement); err != nil {
		w.T.Fatalf("%s: %v", statement, err)
	}
}
