package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"rotator/internal/call"
	"rotator/internal/jobs"
	"rotator/internal/rotation"
	"rotator/internal/trace"
)

// selection is the flags that say which credentials, and how.
type selection struct {
	projects, credentials []string
	key                   string
	due, all, yes         bool
	force, compromised    bool
	ignorePause           bool
	overlap, reason       string
}

func (s *selection) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&s.projects, "project", nil, "only this project `id` (repeatable)")
	f.StringArrayVar(&s.credentials, "credential", nil, "only credentials of this `name` (repeatable)")
	f.StringVar(&s.key, "key", "", "only the credential of this access key `id`")
	f.BoolVar(&s.due, "due", false, "only projects whose next check is due, as the daemon would")
	f.BoolVar(&s.force, "force", false, "rotate what is not due, too")
	f.BoolVar(&s.compromised, "compromised", false, "rotate now and delete older keys after --overlap (default 0); with --key of a superseded key: only delete that one, now")
	f.BoolVar(&s.all, "all", false, "with --force or --compromised: everything in scope; needs --yes")
	f.BoolVar(&s.yes, "yes", false, "confirms --all")
	f.BoolVar(&s.ignorePause, "ignore-pause", false, "with --compromised: work although rotator is paused")
	f.StringVar(&s.overlap, "overlap", "", "how long the old key still works, such as 2h or 7d, instead of the policy's `duration`")
	f.StringVar(&s.reason, "reason", "", "why, for the audit log; required with --force and --compromised")
}

// order turns the flags into what a run is asked to do. All that is wrong
// with them is one error.
func (s *selection) order() (jobs.Order, error) {
	o := jobs.Order{
		Trigger: rotation.Manual, Reason: s.reason, Projects: s.projects, Due: s.due, IgnorePause: s.ignorePause,
		Request: rotation.Request{Credentials: s.credentials, Key: s.key, Force: s.force, Compromised: s.compromised},
	}
	var wrong []string
	strong := s.force || s.compromised
	named := len(s.projects)+len(s.credentials) > 0 || s.key != ""
	if strong && !named && (!s.all || !s.yes) {
		wrong = append(wrong, "--force and --compromised need --key, --credential or --project, or --all --yes for everything in scope")
	}
	if s.all && named {
		wrong = append(wrong, "--all contradicts --key, --credential and --project; give one or the other")
	}
	if strong && strings.TrimSpace(s.reason) == "" {
		wrong = append(wrong, "--force and --compromised need --reason TEXT, which goes into the audit log")
	}
	if s.overlap != "" {
		d, err := rotation.ParseDuration(s.overlap)
		if err != nil {
			wrong = append(wrong, "--overlap: "+err.Error())
		}
		o.Request.Overlap = &d
		if !strong {
			wrong = append(wrong, "--overlap goes with --force or --compromised")
		}
	}
	if s.ignorePause && !s.compromised {
		wrong = append(wrong, "--ignore-pause goes with --compromised; `rotator resume` ends a pause")
	}
	if s.compromised {
		o.Trigger = rotation.Compromised
	}
	if len(wrong) > 0 {
		return o, errors.New(strings.Join(wrong, "; "))
	}
	return o, nil
}

func (c *cli) runNowCommand() *cobra.Command {
	var s selection
	var output string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "run-now",
		Short: "One run over all projects now",
		Long: `Looks at every project in scope, rotates what is due, deletes superseded keys
whose overlap has passed and orphans of failed attempts, and prints what it
did. It may run beside the daemon: a project that another process works on is
left to it.

Exit codes: 0 converged; 1 usage, configuration or schema; 2 a dependency is
unreachable or refuses us; 3 some credentials failed, the rest is done; 4 a
guard refused something, or a pause, a limit or a full project left due work
undone; 5 everything due is being worked on by another process.`,
		Example: `  rotator run-now
  rotator run-now --project 01HXAMPLE --credential billing-api --force --reason "new consumer"
  rotator run-now --compromised --key 3fa85f64 --reason "found in a build log"
  rotator run-now --dry-run -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("-o", output, "table", "json"); err != nil {
				return err
			}
			o, err := s.order()
			if err != nil {
				return err
			}
			if dryRun {
				return c.plan(cmd.Context(), o, output, false)
			}
			return c.runNow(cmd.Context(), o, output)
		},
	}
	s.register(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show what would be done, as `rotator plan` does")
	return cmd
}

func (c *cli) runNow(ctx context.Context, o jobs.Order, output string) error {
	ctx = trace.Within(ctx, traceparent(c.env))
	a, err := c.open(ctx, false, nil)
	if err != nil {
		return err
	}
	defer a.close(ctx)
	bar := newProgress(c.err, a.logger, "projects")
	a.runner.Progress = bar.show
	report, err := a.runner.Run(ctx, o)
	bar.done()
	if report == nil || err != nil && len(report.Results) == 0 {
		return down(err)
	}
	printReport := reportTable
	if output == "json" {
		printReport = printJSON[*jobs.Report]
	}
	if printErr := printReport(c.out, report); printErr != nil {
		return fmt.Errorf("writing the report: %w", printErr)
	}
	for _, w := range report.Warnings {
		a.logger.WarnContext(ctx, "run", "warning", w)
	}
	if err != nil {
		return down(err)
	}
	if report.Missing {
		return fmt.Errorf("nothing in scope matches %s; `rotator keys` lists what there is", selected(o))
	}
	return exitWith(report.ExitCode())
}

// selected names what an order asked for.
func selected(o jobs.Order) string {
	var parts []string
	for _, p := range o.Projects {
		parts = append(parts, "--project "+p)
	}
	for _, n := range o.Request.Credentials {
		parts = append(parts, "--credential "+n)
	}
	if o.Request.Key != "" {
		parts = append(parts, "--key "+o.Request.Key)
	}
	if len(parts) == 0 {
		return "ROTATOR_INCLUDE"
	}
	return strings.Join(parts, " ")
}

// reportTable prints a report for people.
func reportTable(w io.Writer, r *jobs.Report) error {
	if len(r.Results) > 0 {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "PROJECT\tCREDENTIAL\tACTION\tOLD KEY\tNEW KEY\tERROR")
		for _, res := range r.Results {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", plain(res.ProjectID), plain(res.Credential), res.Action,
				plain(string(res.OldKeyID)), plain(string(res.NewKeyID)), plain(string(res.Error)))
		}
		if err := t.Flush(); err != nil {
			return err //nolint:wrapcheck // wrapped by the caller
		}
	}
	_, err := fmt.Fprintf(w, "%d projects, %d keys: %d rotated, %d retired, %d orphans deleted, %d skipped, %d failed, %d refused (%s)\n",
		r.Projects, r.Keys, r.Rotated, r.Retired, r.OrphansDeleted, r.Skipped, r.Failed, r.Refused,
		r.FinishedAt.Sub(r.StartedAt).Round(10*time.Millisecond))
	return err //nolint:wrapcheck // wrapped by the caller
}

// plain makes text from outside fit for a cell of a table.
func plain(text string) string {
	if text == "" {
		return "-"
	}
	return call.Clean(text, 200)
}

func printJSON[T any](w io.Writer, v T) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v) //nolint:wrapcheck // wrapped by the caller
}

func oneOf(flag, value string, allowed ...string) error {
	for _, a := range allowed {
		if value == a {
			return nil
		}
	}
	return fmt.Errorf("%s %s: want %s", flag, value, strings.Join(allowed, " or "))
}
