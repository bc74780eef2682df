package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"rotator/internal/audit"
	"rotator/internal/rotation"
)

func (c *cli) auditListCommand() *cobra.Command {
	var flags eventFlags
	var output string
	var limit int
	var newest bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Lists events, oldest first",
		Long: `Lists the events of the audit log, oldest first, one a line. Filters narrow it;
an event is listed if it passes all of them. Listing writes nothing to the log.`,
		Example: `  rotator audit list --since 1d --type key.retired
  rotator audit list --project 01HXAMPLE --op access_keys.create -o json
  rotator audit list --status 5xx --limit 20 --newest`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("-o", output, "table", "json"); err != nil {
				return err
			}
			f, err := flags.filter(time.Now())
			if err != nil {
				return err
			}
			if limit < 0 || newest && limit == 0 {
				return fmt.Errorf("--limit %d: want a number above 0, which --newest needs too", limit)
			}
			f.Limit, f.Newest = limit, newest
			return c.auditList(cmd.Context(), f, output)
		},
	}
	flags.add(cmd.Flags())
	cmd.Flags().IntVar(&limit, "limit", 0, "at most so many (0: all)")
	cmd.Flags().BoolVar(&newest, "newest", false, "with --limit: the last ones instead of the first")
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table, or json (one event a line, exact bytes)")
	return cmd
}

// eventFlags are the flags that choose events, the same for every command.
type eventFlags struct {
	chosen       audit.Filter
	since, until string
}

func (e *eventFlags) add(fl *pflag.FlagSet) {
	f := &e.chosen
	fl.StringVar(&e.since, "since", "", "from this `time` on: RFC 3339, a date, or a duration back (30d)")
	fl.StringVar(&e.until, "until", "", "before this `time`")
	fl.StringVar(&f.Project, "project", "", "project `id`")
	fl.StringVar(&f.Credential, "credential", "", "credential `name`")
	fl.StringVar(&f.Key, "key", "", "access key `id`")
	fl.StringVar(&f.Run, "run", "", "run `id`")
	fl.StringVar(&f.Rotation, "rotation", "", "rotation `id`")
	fl.StringVar(&f.Type, "type", "", "event `type`, such as api.call or key.retired")
	fl.StringVar(&f.Operation, "op", "", "`operation`, such as access_keys.create")
	fl.StringVar(&f.Status, "status", "", "HTTP status `code` such as 429, or a class such as 5xx")
	fl.StringVar(&f.Outcome, "outcome", "", "ok, error or unknown")
	fl.StringVar(&f.Actor, "actor", "", "who caused it")
}

// filter is what the flags say. Its error names every flag that cannot be
// understood, and what would be right.
func (e *eventFlags) filter(now time.Time) (f audit.Filter, err error) {
	f = e.chosen
	var wrong []string
	for _, t := range []struct {
		flag, value string
		to          *time.Time
	}{{"--since", e.since, &f.Since}, {"--until", e.until, &f.Until}} {
		if *t.to, err = moment(t.flag, t.value, now); err != nil {
			wrong = append(wrong, err.Error())
		}
	}
	for _, w := range f.Check() {
		wrong = append(wrong, fmt.Sprintf("--%s %s: want %s", w.Field, w.Value, w.Want))
	}
	if len(wrong) > 0 {
		return f, errors.New(strings.Join(wrong, "; "))
	}
	return f, nil
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
	log, err := audit.Look(ctx, pool)
	if err != nil {
		return unreadable(ctx, pool, err)
	}
	defer log.Close(ctx)
	show := newEventTable(c.out)
	if output == "json" {
		show = newEventLines(c.out)
	}
	for r, err := range log.Events(ctx, f) {
		if err != nil {
			return unreadable(ctx, pool, err)
		}
		if err := show.event(r); err != nil {
			return fmt.Errorf("writing the events: %w", err)
		}
	}
	return show.close()
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
