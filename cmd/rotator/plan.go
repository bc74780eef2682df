package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"rotator/internal/jobs"
	"rotator/internal/rotation"
)

// planReport is what `plan -o json` prints: the shape of run-now's report with
// actions instead of results; the counters say what a run would do.
type planReport struct {
	RunID          *string      `json:"run_id"` // always null: nothing was run
	Trigger        string       `json:"trigger"`
	StartedAt      time.Time    `json:"started_at"`
	FinishedAt     time.Time    `json:"finished_at"`
	Projects       int          `json:"projects"`
	Keys           int          `json:"keys"`
	Rotated        int          `json:"rotated"`
	Retired        int          `json:"retired"`
	OrphansDeleted int          `json:"orphans_deleted"`
	Skipped        int          `json:"skipped"`
	Failed         int          `json:"failed"`
	Refused        int          `json:"refused"`
	Actions        []planAction `json:"actions"`
	Warnings       []string     `json:"warnings"`
	// EstimatedSeconds is how long a run would take at the present limits.
	EstimatedSeconds int64 `json:"estimated_seconds"`
	// Policies are those of projects where labels have a say.
	Policies []projectPolicy `json:"policies"`

	adopted []adopted
	matched bool
}

// planAction is one thing that a run would do, or not.
type planAction struct {
	ProjectID  string          `json:"project_id"`
	Credential string          `json:"credential"`
	Action     rotation.Action `json:"action"`
	RotationID jobs.Text       `json:"rotation_id"`
	OldKeyID   jobs.Text       `json:"old_key_id"`
	NewKeyID   jobs.Text       `json:"new_key_id"`
	VaultPath  jobs.Text       `json:"vault_path"`
	Reason     string          `json:"reason"`
	DueAt      *time.Time      `json:"due_at"`
	Deadline   *time.Time      `json:"deadline"`
	Error      jobs.Text       `json:"error"`
}

// projectPolicy is what is in force in a project, and why.
type projectPolicy struct {
	ProjectID string `json:"project_id"`
	keyPolicy

	effective rotation.Effective
}

// adopted is a key made by a person that a rotation will replace.
type adopted struct {
	project, credential, key string
	goes                     time.Time // earliest deletion
}

func (c *cli) planCommand() *cobra.Command {
	var s selection
	var output string
	var detailed bool
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "What a run would do, and why, without changing anything",
		Long: `Looks at every project as a run would and prints the steps that are due, each
with its reason. Keys made by people that rotator would adopt are listed
apart, with the time at which they would be deleted: their consumers must read
from Vault before then. The last line says how long the run would take at the
present rate limits.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("-o", output, "table", "json"); err != nil {
				return err
			}
			o, err := s.order()
			if err != nil {
				return err
			}
			err = c.plan(cmd.Context(), o, output, detailed)
			if detailed && err != nil && !errors.Is(err, errChanges) {
				return &exitError{code: jobs.ExitUsage, err: silent(err)}
			}
			return err
		},
	}
	s.register(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	cmd.Flags().BoolVar(&detailed, "detailed-exitcode", false, "exit 0 when there is nothing to do, 2 when there is, 1 on every error")
	return cmd
}

// errChanges ends `plan --detailed-exitcode` when a run would change something.
var errChanges = &exitError{code: 2}

// silent is nil for an exit code that the output has explained already.
func silent(err error) error {
	var exit *exitError
	if errors.As(err, &exit) && exit.err == nil {
		return nil
	}
	return err
}

func (c *cli) plan(ctx context.Context, o jobs.Order, output string, detailed bool) error {
	a, err := c.open(ctx, true, nil)
	if err != nil {
		return err
	}
	defer a.close(ctx)
	report := &planReport{Trigger: string(o.Trigger), StartedAt: time.Now().UTC(), Actions: []planAction{}, Warnings: []string{}, Policies: []projectPolicy{}}
	err = a.runner.Survey(ctx, o, func(s jobs.Surveyed) { report.add(a.runner, o, s) })
	report.FinishedAt = time.Now().UTC()
	if err != nil && report.Projects == 0 {
		return down(err)
	}
	if err != nil {
		report.Warnings = append(report.Warnings, jobs.Message(err))
		report.Failed++
	}
	report.EstimatedSeconds = int64(math.Ceil(report.forecast().estimate(a.cfg.Sinch, report.FinishedAt.Sub(report.StartedAt)).Seconds()))
	report.sort()
	show := planTable
	if output == "json" {
		show = printJSON[*planReport]
	}
	if err := show(c.out, report); err != nil {
		return fmt.Errorf("writing the plan: %w", err)
	}
	return report.verdict(o, detailed)
}

func (r *planReport) verdict(o jobs.Order, detailed bool) error {
	switch {
	case r.Failed > 0:
		return exitWith(jobs.ExitFailed)
	case o.Named() && !r.matched:
		return fmt.Errorf("nothing in scope matches %s; `rotator keys` lists what there is", selected(o))
	case detailed && r.Rotated+r.Retired+r.OrphansDeleted > 0:
		return errChanges
	case detailed:
		return nil
	case r.Refused+r.Skipped > 0:
		return exitWith(jobs.ExitRefused)
	}
	return nil
}

func (r *planReport) add(runner *jobs.Runner, o jobs.Order, s jobs.Surveyed) {
	if s.Err != nil {
		r.Failed++
		r.Actions = append(r.Actions, planAction{
			ProjectID: s.Project.ID, Action: rotation.Skip, Reason: "the project cannot be looked at", Error: jobs.Text(jobs.Message(s.Err)),
		})
		return
	}
	r.Projects++
	r.Keys += len(s.Plan.Keys)
	r.matched = r.matched || jobs.Matches(o, s.Plan)
	for _, w := range append(s.Policy.Problems, s.Plan.Warnings...) {
		r.Warnings = append(r.Warnings, s.Project.ID+": "+w)
	}
	if s.Policy.ByLabel() {
		r.Policies = append(r.Policies, projectPolicy{s.Project.ID, newKeyPolicy(s.Policy), s.Policy})
	}
	for _, step := range s.Plan.Steps {
		*r.counter(step.Action)++
		r.Actions = append(r.Actions, planAction{
			ProjectID: s.Project.ID, Credential: step.Credential, Action: step.Action,
			RotationID: jobs.Text(step.RotationID), OldKeyID: jobs.Text(step.Key.ID),
			VaultPath: jobs.Text(runner.VaultPath(s.Project.ID, step.Credential)),
			Reason:    step.Reason, DueAt: optional(step.DueAt), Deadline: optional(step.Deadline),
		})
	}
	for _, k := range s.Plan.Keys {
		if k.State == rotation.AdoptableKey && s.Policy.Adopt != rotation.AdoptKeep {
			rotates := k.DueAt
			if rotates.Before(s.Now) {
				rotates = s.Now
			}
			r.adopted = append(r.adopted, adopted{s.Project.ID, k.Credential, k.ID, rotates.Add(s.Policy.Overlap)})
		}
	}
}

func (r *planReport) counter(a rotation.Action) *int {
	switch a {
	case rotation.Rotate:
		return &r.Rotated
	case rotation.Retire:
		return &r.Retired
	case rotation.DeleteOrphan:
		return &r.OrphansDeleted
	case rotation.Refuse:
		return &r.Refused
	case rotation.Skip:
		return &r.Skipped
	}
	return &r.Skipped
}

func (r *planReport) sort() {
	slices.SortStableFunc(r.Actions, func(a, b planAction) int { return strings.Compare(a.ProjectID, b.ProjectID) })
	slices.SortFunc(r.adopted, func(a, b adopted) int {
		return strings.Compare(a.project+"\x00"+a.credential, b.project+"\x00"+b.credential)
	})
	slices.SortFunc(r.Policies, func(a, b projectPolicy) int { return strings.Compare(a.ProjectID, b.ProjectID) })
	slices.Sort(r.Warnings)
}

func planTable(w io.Writer, r *planReport) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(r.Actions) > 0 {
		fmt.Fprintln(t, "PROJECT\tCREDENTIAL\tACTION\tKEY\tDUE\tDEADLINE\tREASON")
	}
	for _, a := range r.Actions {
		reason := a.Reason
		if a.Error != "" {
			reason += ": " + string(a.Error)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", plain(a.ProjectID), plain(a.Credential), a.Action,
			plain(string(a.OldKeyID)), day(a.DueAt), day(a.Deadline), plain(reason))
	}
	if err := t.Flush(); err != nil {
		return err //nolint:wrapcheck // wrapped by the caller
	}
	if len(r.adopted) > 0 {
		fmt.Fprintf(w, "\nKeys made by people, to be adopted; their consumers must read from Vault before the key goes:\n")
		for _, k := range r.adopted {
			fmt.Fprintf(t, "  %s\t%s\t%s\tdeleted not before %s\n", plain(k.project), plain(k.credential), plain(k.key), k.goes.UTC().Format(time.RFC3339))
		}
		if err := t.Flush(); err != nil {
			return err //nolint:wrapcheck // as above
		}
		fmt.Fprintln(w)
	}
	for _, p := range r.Policies {
		fmt.Fprintln(w, "policy of "+plain(p.ProjectID)+": "+p.effective.String())
	}
	for _, warning := range r.Warnings {
		fmt.Fprintln(w, "warning: "+plain(warning))
	}
	_, err := fmt.Fprintf(w, "%d projects, %d keys: %d to rotate, %d to retire, %d orphans to delete, %d skipped, %d refused, %d not looked at\n%s",
		r.Projects, r.Keys, r.Rotated, r.Retired, r.OrphansDeleted, r.Skipped, r.Refused, r.Failed, r.estimateLine())
	return err //nolint:wrapcheck // as above
}

// optional is a time for JSON: null where there is none.
func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func day(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04")
}
