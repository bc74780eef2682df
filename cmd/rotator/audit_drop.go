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

	"rotator/internal/audit"
	"rotator/internal/jobs"
	"rotator/internal/postgres"
)

// dropping is what `audit drop-partition` was told.
type dropping struct {
	file, reason string
	yes          bool
}

func (c *cli) auditDropPartitionCommand() *cobra.Command {
	var d dropping
	cmd := &cobra.Command{
		Use:   "drop-partition [NAME -o FILE --yes --reason TEXT]",
		Short: "Exports the oldest stretch of the log, then drops it; without a name, lists what there is",
		Long: `Everything is kept unless a person drops it. Without arguments, the partitions
of the log are listed.

With a name, which must be that of the oldest partition, it is exported to FILE
as JSON Lines, checked event by event against the checkpoints outside the
database, and then dropped. That needs both --yes and --reason, and the name
spelt out. The drop is logged (audit.partition_dropped) in the transaction that
does it. A checkpoint where the partition ends is signed before, so that the
rest can still be verified, and so can FILE.

DATABASE_MIGRATE_URL must be the login of the log's owner, or of a role that
may become it; DATABASE_URL and Vault are the daemon's.

Exit codes: 0 dropped or listed; 1 usage, or the partition has to stay; 2 a
dependency is unreachable or refuses us; 4 the log contradicts its checkpoints.`,
		Example: `  rotator audit drop-partition
  rotator audit drop-partition event_000000000000000 -o 2025.jsonl --yes --reason "kept for 13 months, policy 7.2"`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				if d != (dropping{}) {
					return errors.New("audit drop-partition: name the partition to drop; without any flag, the partitions are listed")
				}
				return c.auditPartitions(cmd.Context())
			}
			if !d.yes || strings.TrimSpace(d.reason) == "" || d.file == "" || d.file == "-" {
				return errors.New("audit drop-partition removes events for good: give -o FILE for the export, confirm with --yes, and say why with --reason TEXT")
			}
			return c.auditDropPartition(cmd.Context(), args[0], d)
		},
	}
	cmd.Flags().StringVarP(&d.file, "output", "o", "", "the `file` that the events are exported to first")
	cmd.Flags().BoolVar(&d.yes, "yes", false, "confirms it")
	cmd.Flags().StringVar(&d.reason, "reason", "", "why, for the audit log")
	return cmd
}

func (c *cli) auditPartitions(ctx context.Context) error {
	cfg, err := c.config(ctx, needDatabase)
	if err != nil {
		return err
	}
	pool, err := openPool(ctx, cfg)
	if err != nil {
		return err
	}
	defer pool.Close()
	list, err := audit.Partitions(ctx, pool)
	if err != nil {
		return unreadable(ctx, pool, err)
	}
	t := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PARTITION\tFIRST\tEND\tEVENTS\tFROM\tUNTIL\tMIB")
	for _, p := range list {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%s\t%s\t%d\n", p.Name, p.First, p.End, p.Events, dayOf(p.From), dayOf(p.Until), p.Bytes>>20)
	}
	return t.Flush() //nolint:wrapcheck // standard output's own error
}

func dayOf(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.DateOnly)
}

func (c *cli) auditDropPartition(ctx context.Context, name string, d dropping) error {
	if err := writable(d.file); err != nil {
		return err
	}
	a, err := c.openKeeper(ctx)
	if err != nil {
		return err
	}
	defer a.close(ctx)
	owner, done, err := c.openOwner(ctx, a)
	if err != nil {
		return err
	}
	defer done()
	var cut *audit.Cut
	export := disclosing{pool: a.pool, logger: a.logger, file: d.file, out: c.out} // logged with the drop, not by itself
	err = export.deliver(ctx, func(w io.Writer) (audit.Disclosure, error) {
		cut, err = a.anchors.ExportPartition(ctx, name, w)
		return audit.Disclosure{}, err //nolint:wrapcheck // it says what it was doing
	})
	if err == nil {
		err = cut.Drop(ctx, owner, d.reason)
	}
	switch {
	case errors.Is(err, audit.ErrNotDroppable):
		return &exitError{code: jobs.ExitUsage, err: err}
	case err != nil:
		return refusedOr(down(err), audit.ErrBehind, audit.ErrForged)
	}
	if err := a.anchors.Anchor(ctx, true); err != nil {
		a.logger.WarnContext(ctx, "audit checkpoint not made after the drop, the next run makes it", "err", jobs.Message(err))
	}
	fmt.Fprintf(c.out, "Dropped %s: events %d to %d, exported to %s (%d bytes, sha256 %s).\nThe log now begins with event %d, at a signed checkpoint.\n",
		name, cut.First, cut.End-1, d.file, cut.Written.Bytes, cut.Written.SHA256, cut.End)
	return nil
}

// openOwner opens the log with the owner's login.
func (c *cli) openOwner(ctx context.Context, a *app) (*audit.Log, func(), error) {
	if a.cfg.Database.MigrateURL.IsZero() {
		return nil, nil, errors.New("DATABASE_MIGRATE_URL is not set: dropping needs the login of the log's owner, which rotator otherwise never uses")
	}
	pool, err := postgres.Open(ctx, postgres.Config{URL: a.cfg.Database.MigrateURL, ApplicationName: "rotator audit", MaxConns: 2})
	if err != nil {
		return nil, nil, fmt.Errorf("DATABASE_MIGRATE_URL: %w", err)
	}
	log, err := audit.Open(ctx, audit.Config{
		Pool: pool, Logger: a.logger,
		Common: audit.Event{Actor: a.cfg.Process.Actor, Host: a.host, Build: buildName(), ConfigSHA256: a.cfg.sha256()},
	})
	if err != nil {
		pool.Close()
		return nil, nil, down(fmt.Errorf("opening the audit log as its owner: %w", err))
	}
	return log, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
		defer cancel()
		if err := log.Close(ctx); err != nil {
			a.logger.ErrorContext(ctx, "audit log not closed cleanly", "err", jobs.Message(err))
		}
		pool.Close()
	}, nil
}
