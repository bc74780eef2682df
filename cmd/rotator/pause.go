package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"rotator/internal/jobs"
)

func (c *cli) pauseCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "pause",
		Short: "Keeps all replicas from working until `rotator resume`",
		Long: `Stops the work of every replica and of run-now, also of runs under way: what
is in hand is finished, nothing more is begun. The audit log keeps who paused,
and why. Keys go on ageing meanwhile.

run-now --compromised --ignore-pause works nevertheless.`,
		Example: `  rotator pause --reason "incident 4711: Sinch asks for silence"`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if strings.TrimSpace(reason) == "" {
				return errors.New("pause needs --reason TEXT, which goes into the audit log")
			}
			return c.toggle(cmd.Context(), "paused", func(ctx context.Context, r *jobs.Runner) error { return r.Pause(ctx, reason) })
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit log; required")
	return cmd
}

func (c *cli) resumeCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "resume",
		Short: "Ends a pause",
		Long:  "Ends a pause. Replicas begin the run that they missed within seconds.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.toggle(cmd.Context(), "resumed", func(ctx context.Context, r *jobs.Runner) error { return r.Resume(ctx, reason) })
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	return cmd
}

// toggle throws the stop switch. It needs nothing but the database: Vault and
// Sinch may be what is in trouble.
func (c *cli) toggle(ctx context.Context, done string, do func(context.Context, *jobs.Runner) error) error {
	a, err := c.openWith(ctx, needDatabase, nil)
	if err != nil {
		return err
	}
	defer a.close(ctx)
	runner := jobs.New(jobs.Config{State: a.store, Log: a.log, Logger: a.logger, Actor: a.cfg.Process.Actor})
	switch err := do(ctx, runner); {
	case errors.Is(err, jobs.ErrPaused), errors.Is(err, jobs.ErrNotPaused):
		return err
	case err != nil:
		return down(err)
	}
	_, err = fmt.Fprintln(c.out, done)
	return err //nolint:wrapcheck // stdout is gone
}
