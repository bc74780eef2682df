package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rotator/internal/audit"
)

func (c *cli) auditExportCommand() *cobra.Command {
	var flags eventFlags
	var format, file string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Exports the audit log as JSON Lines, as a credential report or as OCSF",
		Long: `Writes what the filters choose, oldest first, in one of these forms:

  jsonl  the events, byte for byte, one a line. Of the whole log, without a
         filter, 'rotator audit verify --jsonl FILE' checks it offline.
  csv    a credential report: a row for each key that existed in the period,
         with its age, its limit, who rotated it and where its secret is.
         Takes --since, --until, --project, --credential, --key, --rotation
         and --actor.
  ocsf   OCSF ` + audit.OCSFVersion + ` as JSON Lines, for a SIEM.

docs/export.md describes columns and fields. A file appears under its name
when it is complete. The export is logged (audit.exported: who, what, rows and
SHA-256) where the database role may append to the log; where it may not, a
warning says so, and so does the file unless it is jsonl.

Exit codes: 0 exported; 1 usage, configuration or schema; 2 the database is
unreachable, or the output could not be written.`,
		Example: `  rotator audit export -o audit.jsonl
  rotator audit export --format csv --since 2026-01-01 --until 2026-04-01 -o keys-q1.csv
  rotator audit export --format ocsf --since 1d -o - | gzip > events.json.gz`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("--format", format, string(audit.JSONL), string(audit.CSV), string(audit.OCSF)); err != nil {
				return err
			}
			f, err := flags.filter(time.Now())
			if err != nil {
				return err
			}
			if unfit := audit.Format(format).Unfit(f); len(unfit) > 0 {
				return fmt.Errorf("--%s: --format %s lists keys, not events; leave it out, or take --format jsonl or ocsf", strings.Join(unfit, ", --"), format)
			}
			return c.auditExport(cmd.Context(), audit.Exporter{Format: audit.Format(format), Filter: f, Build: buildName()}, file)
		},
	}
	flags.add(cmd.Flags())
	cmd.Flags().StringVar(&format, "format", string(audit.JSONL), "jsonl, csv or ocsf")
	cmd.Flags().StringVarP(&file, "output", "o", "-", "`file` to write; - is standard output")
	return cmd
}

func (c *cli) auditExport(ctx context.Context, x audit.Exporter, file string) error {
	out, err := c.openDisclosure(ctx, needDatabase, file)
	if err != nil {
		return err
	}
	defer out.close(ctx)
	log, err := audit.Look(ctx, out.pool)
	if err != nil {
		return unreadable(ctx, out.pool, err)
	}
	defer log.Close(ctx)
	x.Snapshot, x.Disclosure = log, out.id
	bar := newProgress(c.progressOf(file), out.logger, "exporting")
	defer bar.done()
	if x.Format != audit.CSV { // of keys nobody knows how many will come
		x.Progress = func(done, total int64) { bar.show(int(done), int(total)) }
	}
	return out.deliver(ctx, func(w io.Writer) (audit.Disclosure, error) { return x.Write(ctx, w) })
}

// progressOf is where progress is shown: not on a terminal that gets the data.
func (c *cli) progressOf(file string) io.Writer {
	if file == "-" && isTerminal(c.out) {
		return io.Discard
	}
	return c.err
}
