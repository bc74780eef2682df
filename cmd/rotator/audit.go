package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"rotator/internal/audit"
	"rotator/internal/postgres"
	"rotator/internal/rotation"
	"rotator/migrations"
)

func (c *cli) auditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "The audit log: every change and every API status code",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(c.auditListCommand(), c.auditShowCommand())
	return cmd
}

func (c *cli) auditListCommand() *cobra.Command {
	var f audit.Filter
	var since, until, output string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Lists events, oldest first",
		Example: `  rotator audit list --since 1d --type key.retired
  rotator audit list --project 01HXAMPLE --op access_keys.create -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := oneOf("-o", output, "table", "json"); err != nil {
				return err
			}
			now := time.Now()
			var wrong []error
			f.Since, err = moment("--since", since, now)
			wrong = append(wrong, err)
			f.Until, err = moment("--until", until, now)
			wrong = append(wrong, err)
			if err := errors.Join(wrong...); err != nil {
				return err
			}
			return c.auditList(cmd.Context(), f, output)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&since, "since", "", "from this `time` on: RFC 3339, a date, or a duration back (30d)")
	fl.StringVar(&until, "until", "", "before this `time`")
	fl.StringVar(&f.Project, "project", "", "project `id`")
	fl.StringVar(&f.Credential, "credential", "", "credential `name`")
	fl.StringVar(&f.Key, "key", "", "access key `id`")
	fl.StringVar(&f.Run, "run", "", "run `id`")
	fl.StringVar(&f.Rotation, "rotation", "", "rotation `id`")
	fl.StringVar(&f.Type, "type", "", "event `type`, such as api.call or key.retired")
	fl.StringVar(&f.Operation, "op", "", "`operation`, such as access_keys.create")
	fl.StringVar(&f.Status, "status", "", "HTTP status `code`")
	fl.StringVar(&f.Outcome, "outcome", "", "ok, error or unknown")
	fl.StringVar(&f.Actor, "actor", "", "who caused it")
	fl.IntVar(&f.Limit, "limit", 0, "at most so many (0: all)")
	fl.BoolVar(&f.Newest, "newest", false, "with --limit: the last ones instead of the first")
	fl.StringVarP(&output, "output", "o", "table", "table, or json (one event a line, exact bytes)")
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

func (c *cli) auditList(ctx context.Context, f audit.Filter, output string) error {
	cfg, err := c.config(ctx, needDatabase)
	if err != nil {
		return err
	}
	pool, err := openPool(ctx, cfg)
	if err != nil {
		return err
	}
	defer pool.Close()
	show := newEventTable(c.out)
	if output == "json" {
		show = newEventLines(c.out)
	}
	for r, err := range audit.List(ctx, pool, f) {
		if err != nil {
			return unreadable(ctx, pool, err)
		}
		if err := show.event(r); err != nil {
			return fmt.Errorf("writing the events: %w", err)
		}
	}
	return show.close()
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

// events shows records one after the other.
type events struct {
	event func(audit.Record) error
	close func() error
}

func newEventLines(w io.Writer) events {
	return events{
		event: func(r audit.Record) error {
			_, err := fmt.Fprintln(w, string(r.Body))
			return err //nolint:wrapcheck // wrapped by the caller
		},
		close: func() error { return nil },
	}
}

func newEventTable(w io.Writer) events {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SEQ\tTIME\tTYPE\tPHASE\tOPERATION\tSTATUS\tOUTCOME\tPROJECT\tCREDENTIAL\tKEY")
	n := 0
	return events{
		event: func(r audit.Record) error {
			e := r.Event
			fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Seq, eventTime(e), plain(e.Type), plain(string(e.Phase)), plain(e.Op),
				status(e.Status), plain(string(e.Outcome)), plain(e.Project), plain(e.Credential), plain(e.Key))
			if n++; n%100 == 0 {
				return t.Flush()
			}
			return nil
		},
		close: t.Flush,
	}
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

// moment reads a time argument: RFC 3339, a date, or a duration back.
func moment(flag, value string, now time.Time) (time.Time, error) {
	if value == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, value); err == nil {
			return t, nil
		}
	}
	d, err := rotation.ParseDuration(strings.TrimPrefix(value, "-"))
	if err != nil {
		return time.Time{}, fmt.Errorf("%s %s: want RFC 3339, a date such as 2026-11-22, or a duration back such as 30d", flag, value)
	}
	return now.Add(-d), nil
}
