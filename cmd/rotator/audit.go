package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"rotator/internal/audit"
	"rotator/internal/postgres"
	"rotator/migrations"
)

func (c *cli) auditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "The audit log: every change and every API status code",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(c.auditListCommand(), c.auditShowCommand(), c.auditExportCommand(), c.auditRebaseCommand(),
		c.auditDropPartitionCommand(), c.auditReportCommand(), c.auditProveCommand(), c.auditPubkeyCommand(),
		c.auditVerifyCommand())
	return cmd
}

func (c *cli) auditShowCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Shows an event, by its id, its sequence number or its call's id, with the other rows of the same call",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf("-o", output, "table", "json"); err != nil {
				return err
			}
			return c.auditShow(cmd.Context(), args[0], output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

func (c *cli) auditShow(ctx context.Context, id, output string) error {
	cfg, err := c.config(ctx, needDatabase)
	if err != nil {
		return err
	}
	pool, err := openPool(ctx, cfg)
	if err != nil {
		return err
	}
	defer pool.Close()
	records, err := audit.Show(ctx, pool, id)
	if err != nil {
		return unreadable(ctx, pool, err)
	}
	for _, r := range records {
		if output == "json" {
			_, err = fmt.Fprintln(c.out, string(r.Body))
		} else {
			err = eventDetails(c.out, r)
		}
		if err != nil {
			return fmt.Errorf("writing the event: %w", err)
		}
	}
	return nil
}

// unreadable explains why the log could not be read: most often the schema is
// behind, and the error says what to run.
func unreadable(ctx context.Context, pool *pgxpool.Pool, err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		if behind := postgres.CheckSchema(ctx, pool, migrations.FS); behind != nil {
			err = behind
		}
	}
	return fmt.Errorf("reading the audit log: %w", err)
}

// eventDetails prints an event for people: its place in the log, and its body
// indented.
func eventDetails(w io.Writer, r audit.Record) error {
	var body bytes.Buffer
	if err := json.Indent(&body, r.Body, "", "  "); err != nil {
		return fmt.Errorf("reading event %d: %w", r.Seq, err)
	}
	_, err := fmt.Fprintf(w, "seq %d, %s\n%s\n", r.Seq, eventTime(r.Event), body.String())
	return err //nolint:wrapcheck // wrapped by the caller
}

func eventTime(e audit.Event) string {
	return time.UnixMicro(e.TimeUS).UTC().Format("2006-01-02T15:04:05.000000Z")
}

func status(code int) string {
	if code == 0 {
		return "-"
	}
	return strconv.Itoa(code)
}
