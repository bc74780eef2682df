package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"rotator/internal/jobs"
	"rotator/internal/postgres"
	"rotator/internal/secret"
	"rotator/migrations"
)

func (c *cli) migrateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Brings the database's schema up to date",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var opts postgres.MigrateOptions
	up := &cobra.Command{
		Use:   "up",
		Short: "Applies what is missing; safe to run from several places at once",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return c.migrateUp(cmd.Context(), opts) },
	}
	up.Flags().StringVar(&opts.Writer, "writer-role", "", "grant what the daemon needs to this `role` (made if it is missing and the login may)")
	up.Flags().StringVar(&opts.Auditor, "auditor-role", "", "grant reading the audit log to this `role`")
	up.Flags().StringVar(&opts.Owner, "owner-role", "", "the `role` that shall own the schemas")
	var output string
	status := &cobra.Command{
		Use:   "status",
		Short: "Lists migrations, applied and pending; exits 1 when one is pending",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("-o", output, "table", "json"); err != nil {
				return err
			}
			return c.migrateStatus(cmd.Context(), output)
		},
	}
	status.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	cmd.AddCommand(up, status)
	return cmd
}

// ownerURL is the database login that may change the schema.
func (c *cli) ownerURL(ctx context.Context) (secret.Value, error) {
	cfg, err := c.config(ctx, needMigrate)
	if err != nil {
		return secret.Value{}, err
	}
	if !cfg.Database.MigrateURL.IsZero() {
		return cfg.Database.MigrateURL, nil
	}
	return cfg.Database.URL, nil
}

func (c *cli) migrateUp(ctx context.Context, opts postgres.MigrateOptions) error {
	url, err := c.ownerURL(ctx)
	if err != nil {
		return err
	}
	applied, err := postgres.Migrate(ctx, url, migrations.FS, opts)
	if err != nil {
		return fmt.Errorf("migrating the database: %w", err)
	}
	for _, m := range applied {
		fmt.Fprintf(c.out, "applied %d %s (%s)\n", m.Version, m.Name, m.Duration.Round(time.Millisecond))
	}
	if len(applied) == 0 {
		fmt.Fprintln(c.out, "nothing to do: the schema is up to date")
	}
	return nil
}

// migrationRow is one migration for `migrate status -o json`.
type migrationRow struct {
	Version   int64      `json:"version"`
	Name      string     `json:"name"`
	AppliedAt *time.Time `json:"applied_at"` // null while pending
}

func (c *cli) migrateStatus(ctx context.Context, output string) error {
	url, err := c.ownerURL(ctx)
	if err != nil {
		return err
	}
	list, err := postgres.MigrationStatus(ctx, url, migrations.FS)
	if err != nil {
		return fmt.Errorf("asking for the schema's state: %w", err)
	}
	rows, pending := []migrationRow{}, false
	t := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	for _, m := range list {
		rows = append(rows, migrationRow{m.Version, m.Name, optional(m.AppliedAt)})
		when := "pending: run `rotator migrate up`"
		if !m.Pending() {
			when = m.AppliedAt.UTC().Format(time.RFC3339)
		}
		pending = pending || m.Pending()
		fmt.Fprintf(t, "%d\t%s\t%s\n", m.Version, m.Name, when)
	}
	if output == "json" {
		err = printJSON(c.out, rows)
	} else {
		err = t.Flush()
	}
	if err != nil {
		return fmt.Errorf("writing the list: %w", err)
	}
	if pending {
		return exitWith(jobs.ExitUsage)
	}
	return nil
}
