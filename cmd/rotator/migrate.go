package main

import (
	"context"
	"fmt"
	"strings"
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
		Short: "Applies what is missing, and gives roles their rights",
		Long: `Applies the migrations that the database lacks, then gives roles their rights;
safe to run again at any time, and from several places at once. It logs in with
DATABASE_MIGRATE_URL, or else with DATABASE_URL.

Roles that do not exist are created, without login, where this login may; else
the SQL that an administrator must run is in the message. A role that was named
once is kept up to date by every later "migrate up".`,
		Example: `  rotator migrate up --owner-role rotator_owner --writer-role rotator_writer --auditor-role rotator_auditor`,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.migrateUp(cmd.Context(), opts) },
	}
	up.Flags().StringVar(&opts.Writer, "writer-role", "", "the daemon's `role`: appends to the log and reads it, works with schema rotator")
	up.Flags().StringVar(&opts.Auditor, "auditor-role", "", "the auditor's `role`: reads the log and nothing else")
	up.Flags().StringVar(&opts.Owner, "owner-role", "", "the `role` that owns both schemas, best one that nobody logs in as")
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
	done, err := postgres.Migrate(ctx, url, migrations.FS, opts)
	for _, m := range done.Applied {
		fmt.Fprintf(c.out, "applied %d %s (%s)\n", m.Version, m.Name, m.Duration.Round(time.Millisecond))
	}
	for _, line := range folded(done.Rights) {
		fmt.Fprintf(c.out, "rights: %s\n", line)
	}
	if err != nil {
		return fmt.Errorf("migrating the database: %w", err)
	}
	if len(done.Applied)+len(done.Rights) == 0 {
		fmt.Fprintln(c.out, "nothing to do: the schema is up to date, and every role has its rights")
	}
	return nil
}

// folded is a list of statements in which those that hand over one table or
// function each are one line.
func folded(statements []string) (lines []string) {
	objects, at := 0, 0
	for _, s := range statements {
		if strings.HasPrefix(s, "ALTER TABLE ") || strings.HasPrefix(s, "ALTER ROUTINE ") {
			if objects++; objects == 1 {
				at, lines = len(lines), append(lines, s)
			}
			continue
		}
		lines = append(lines, s)
	}
	if objects > 1 {
		_, owner, _ := strings.Cut(lines[at], " OWNER TO ")
		lines[at] = fmt.Sprintf("ALTER … OWNER TO %s of %d tables and functions", owner, objects)
	}
	return lines
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
