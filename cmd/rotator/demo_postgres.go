package main

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/jackc/pgx/v5"

	"rotator/internal/postgres/pgcluster"
	"rotator/internal/secret"
)

// The demo's roles, as an installation should have them: nobody logs in as the
// owner, who migrates is a member of it, and the daemon owns nothing.
const (
	demoDatabase = "rotator"
	demoOwner    = "rotator_owner"
	demoMigrator = "rotator_migrator"
	demoWriter   = "rotator_writer"
	demoAuditor  = "rotator_auditor"
)

// startPostgres starts a server and does what an administrator would: roles,
// and a database for them. Passwords are new every time.
func (d *demo) startPostgres(ctx context.Context) error {
	bin, _ := d.cli.env.Lookup("POSTGRES_BIN")
	cluster, err := pgcluster.Start(ctx, pgcluster.Options{BinDir: bin, Superuser: "postgres"})
	if err != nil {
		return fmt.Errorf("starting Postgres: %w", err)
	}
	d.undo = append(d.undo, cluster.Close)
	admin, err := pgx.Connect(ctx, cluster.AdminURL())
	if err != nil {
		return fmt.Errorf("connecting as administrator: %w", err)
	}
	defer admin.Close(ctx) //nolint:errcheck // nothing is pending
	links := map[string]string{}
	run := func(statement string) {
		if err == nil {
			_, err = admin.Exec(ctx, statement)
		}
	}
	run("CREATE ROLE " + demoOwner + " NOLOGIN")
	for _, role := range []string{demoMigrator, demoWriter, demoAuditor} {
		password := secret.New(rand.Text()) // letters and digits
		run("CREATE ROLE " + role + " LOGIN PASSWORD '" + password.Reveal() + "'")
		links[role] = cluster.Login(role, password, demoDatabase)
	}
	run("GRANT " + demoOwner + " TO " + demoMigrator)
	run("CREATE DATABASE " + demoDatabase + " OWNER " + demoMigrator)
	if err != nil {
		return fmt.Errorf("making roles and a database: %w", err)
	}
	d.env["DATABASE_URL"], d.env["DATABASE_MIGRATE_URL"], d.psql = links[demoWriter], links[demoMigrator], links[demoAuditor]
	return nil
}
