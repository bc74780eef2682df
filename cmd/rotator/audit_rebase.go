package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rotator/internal/audit"
)

func (c *cli) auditRebaseCommand() *cobra.Command {
	var yes bool
	var reason, output string
	cmd := &cobra.Command{
		Use:   "rebase --yes --reason TEXT",
		Short: "Lets the log go on after the database was restored or failed over",
		Long: `A restored backup, or a promoted standby that had not caught up, ends before
the newest checkpoint outside the database. rotator then changes nothing any
more, until a person has decided that what is missing is lost.

This command appends a signed statement (audit.rebased) to the log: what was
anchored, what is there, which database it is, who decides and why. It opens
the next epoch with a checkpoint. From then on 'rotator audit verify' names the
lost range, and exits 3 unless it is told --accept-epoch N.

Stop the other rotator processes first, or let them notice by themselves at
their next run. Run 'rotator audit verify' before, to see what is missing.

Exit codes: 0 rebased; 1 usage, or there is nothing to rebase; 2 a dependency
is unreachable; 4 the log contradicts itself, which no restored backup does.`,
		Example: `  rotator audit rebase --yes --reason "db-2 promoted after db-1's disk failed, INC-4711"`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("-o", output, "table", "json"); err != nil {
				return err
			}
			if !yes || strings.TrimSpace(reason) == "" {
				return errors.New("audit rebase accepts that events are lost: confirm with --yes and say why with --reason TEXT")
			}
			return c.auditRebase(cmd.Context(), reason, output)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "confirms it")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

func (c *cli) auditRebase(ctx context.Context, reason, output string) error {
	a, err := c.openKeeper(ctx)
	if err != nil {
		return err
	}
	defer a.close(ctx)
	r, err := a.anchors.Rebase(ctx, a.cfg.Process.Actor, reason)
	switch {
	case errors.Is(err, audit.ErrNotBehind):
		return err //nolint:wrapcheck // it says all there is to say
	case err != nil:
		return refusedOr(down(fmt.Errorf("rebasing the audit log: %w", err)), audit.ErrBehind, audit.ErrForged)
	}
	if output == "json" {
		err = printJSON(c.out, newRebaseReport(r))
	} else {
		err = rebaseText(c.out, r)
	}
	if err != nil {
		return fmt.Errorf("writing what was done: %w", err)
	}
	return nil
}

// rebaseReport is what was stated, for `audit rebase -o json`.
type rebaseReport struct {
	Epoch        int        `json:"epoch"`
	AnchoredSize int64      `json:"anchored_size"`
	ActualSize   int64      `json:"actual_size"`
	CommonSize   int64      `json:"common_size"`
	CommonAt     *time.Time `json:"common_at"`
	LostUntil    *time.Time `json:"lost_until"`
	Note         string     `json:"note"`
}

func newRebaseReport(r audit.Rebased) rebaseReport {
	return rebaseReport{
		Epoch: r.Epoch, AnchoredSize: r.Anchored.Size, ActualSize: r.Actual.Size, CommonSize: r.Common,
		CommonAt: optional(r.CommonAt), LostUntil: optional(r.LostAt), Note: r.Note,
	}
}

func rebaseText(w io.Writer, r audit.Rebased) error {
	since := "the beginning"
	if !r.CommonAt.IsZero() {
		since = r.CommonAt.UTC().Format(time.RFC3339)
	}
	_, err := fmt.Fprintf(w, `The log goes on in epoch %d.
Anchored were %d events, %d are there; up to event %d they are the same.
What is missing was logged between %s and %s.
`, r.Epoch, r.Anchored.Size, r.Actual.Size, r.Common, since, r.LostAt.UTC().Format(time.RFC3339))
	return err //nolint:wrapcheck // wrapped by the caller
}
