package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"rotator/internal/jobs"
	"rotator/internal/state"
)

// statusLines is how many lines each list has at the most.
const statusLines = 20

// statusReport is what `rotator status -o json` prints.
type statusReport struct {
	Schedule string     `json:"schedule"`
	Timezone string     `json:"timezone"`
	NextTick *time.Time `json:"next_tick"`
	*state.Status
}

func (c *cli) statusCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "What is scheduled, under way, paused and failing",
		Long: `Reads the database alone: the pause, if one is on, the processes that are alive,
the projects under way, the latest runs, and what is failing. The next tick is
that of this environment's ROTATOR_SCHEDULE.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("-o", output, "table", "json"); err != nil {
				return err
			}
			return c.status(cmd.Context(), output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

func (c *cli) status(ctx context.Context, output string) error {
	cfg, err := c.config(ctx, needDatabase)
	if err != nil {
		return err
	}
	a := &app{cfg: cfg, logger: newLogger(c.err, cfg)}
	defer a.close(ctx)
	if err := a.openDatabase(ctx); err != nil {
		return err
	}
	st, err := a.store.Status(ctx, statusLines)
	if err != nil {
		return down(err)
	}
	r := statusReport{Schedule: cfg.Rotation.Schedule, Timezone: cfg.Rotation.Timezone, NextTick: nextTick(cfg, st.Now), Status: st}
	printStatus := statusTable
	if output == "json" {
		printStatus = printJSON[statusReport]
	}
	if err := printStatus(c.out, r); err != nil {
		return fmt.Errorf("writing the status: %w", err)
	}
	return nil
}

// nextTick is the tick after now, if the schedule of this environment can be
// read.
func nextTick(cfg *config, now time.Time) *time.Time {
	zone, err := time.LoadLocation(cfg.Rotation.Timezone)
	if err != nil {
		return nil
	}
	schedule, err := jobs.ParseSchedule(cfg.Rotation.Schedule, zone)
	if err != nil {
		return nil
	}
	next := schedule.Next(now).UTC()
	return &next
}

// statusTable prints a status for people.
func statusTable(w io.Writer, r statusReport) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if p := r.Pause; p != nil {
		fmt.Fprintf(t, "PAUSED\tby %s since %s: %s\n", plain(p.Actor), stamp(&p.Since), plain(p.Reason))
	}
	fmt.Fprintf(t, "SCHEDULE\t%s (%s), next %s\n", r.Schedule, r.Timezone, stamp(r.NextTick))
	p := r.Projects
	fmt.Fprintf(t, "PROJECTS\t%d known, %d due, %d under way, %d failing; the next is due %s\n", p.Known, p.Due, p.Leased, p.Failing, stamp(p.Next))
	if err := t.Flush(); err != nil {
		return err //nolint:wrapcheck // wrapped by the caller
	}
	table(t, len(r.Processes), "\nPROCESS\tHOST\tSINCE\tUSES KEY", func(i int) string {
		p := r.Processes[i]
		return fmt.Sprintf("%s\t%s\t%s\t%s", p.ID, plain(p.Host), stamp(&p.StartedAt), plain(p.AuthKeyID))
	})
	table(t, len(r.Leases), "\nUNDER WAY\tPROCESS\tUNTIL", func(i int) string {
		l := r.Leases[i]
		return fmt.Sprintf("%s\t%s\t%s", plain(l.Project), l.Owner, stamp(&l.Until))
	})
	table(t, len(r.Runs), "\nRUN\tTRIGGER\tACTOR\tSTARTED\tFINISHED\tROTATED\tRETIRED\tFAILED\tREFUSED", func(i int) string {
		n := r.Runs[i]
		return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d", n.ID, plain(n.Trigger), plain(n.Actor), stamp(&n.StartedAt), stamp(n.FinishedAt),
			n.Counters["rotated"], n.Counters["retired"], n.Counters["failed"], n.Counters["refused"])
	})
	table(t, len(r.Failing), "\nFAILING\tCREDENTIAL\tTIMES\tSTEP\tNOT BEFORE\tERROR", func(i int) string {
		f := r.Failing[i]
		return fmt.Sprintf("%s\t%s\t%d\t%s\t%s\t%s", plain(f.Project), plain(f.Credential), f.Failures, plain(f.Step), stamp(f.NotBefore), plain(f.Error))
	})
	return t.Flush() //nolint:wrapcheck // as above
}

// table writes a heading and n rows, or nothing.
func table(w io.Writer, n int, heading string, row func(int) string) {
	if n == 0 {
		return
	}
	fmt.Fprintln(w, heading)
	for i := range n {
		fmt.Fprintln(w, row(i))
	}
}
