package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"rotator/internal/jobs"
	"rotator/internal/rotation"
)

// keyRow is one access key of the inventory.
type keyRow struct {
	ProjectID   string            `json:"project_id"`
	ProjectName string            `json:"project_name"`
	Credential  string            `json:"credential"`
	KeyID       string            `json:"key_id"`
	DisplayName string            `json:"display_name"`
	State       rotation.KeyState `json:"state"`
	CreatedAt   time.Time         `json:"created_at"`
	AgeSeconds  int64             `json:"age_seconds"`
	DueAt       *time.Time        `json:"due_at"`
	Deadline    *time.Time        `json:"deadline"`
	RetireAt    *time.Time        `json:"retire_at"`
	VaultPath   jobs.Text         `json:"vault_path"`
	Policy      keyPolicy         `json:"policy"`
}

// keyPolicy is the policy that holds for a key, in whole seconds.
type keyPolicy struct {
	MaxAgeSeconds  int64 `json:"max_age_seconds"`
	OverlapSeconds int64 `json:"overlap_seconds"`
	MarginSeconds  int64 `json:"margin_seconds"`
	// Source says where each of them comes from.
	Source policySource `json:"source"`
}

// policySource is rotation.Source, with null for what is not.
type policySource struct {
	MaxAge  string    `json:"max_age"`
	Overlap string    `json:"overlap"`
	Margin  string    `json:"margin"`
	Exclude jobs.Text `json:"exclude"` // the label that excludes the project
}

func newKeyPolicy(e rotation.Effective) keyPolicy {
	return keyPolicy{
		int64(e.MaxAge.Seconds()), int64(e.Overlap.Seconds()), int64(e.Margin.Seconds()),
		policySource{e.Source.MaxAge, e.Source.Overlap, e.Source.Margin, jobs.Text(e.Source.Exclude)},
	}
}

func (c *cli) keysCommand() *cobra.Command {
	var output string
	var projects []string
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "The inventory: every access key, its credential, age, state and deadline",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("-o", output, "table", "json", "csv"); err != nil {
				return err
			}
			return c.keys(cmd.Context(), jobs.Order{Trigger: rotation.Manual, Projects: projects}, output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table, json or csv")
	cmd.Flags().StringArrayVar(&projects, "project", nil, "only this project `id` (repeatable)")
	return cmd
}

func (c *cli) keys(ctx context.Context, o jobs.Order, output string) error {
	a, err := c.open(ctx, true, nil)
	if err != nil {
		return err
	}
	defer a.close(ctx)
	rows, failed, looked := []keyRow{}, 0, 0
	err = a.runner.Survey(ctx, o, func(s jobs.Surveyed) {
		if s.Err != nil {
			failed++
			a.logger.ErrorContext(ctx, "project not looked at", "project", s.Project.ID, "err", jobs.Message(s.Err))
			return
		}
		looked++
		for _, k := range s.Plan.Keys {
			rows = append(rows, newKeyRow(a.runner, s, k))
		}
	})
	if err != nil && looked == 0 {
		return down(err)
	}
	slices.SortFunc(rows, func(a, b keyRow) int {
		return strings.Compare(a.ProjectID+"\x00"+a.Credential+"\x00"+a.KeyID, b.ProjectID+"\x00"+b.Credential+"\x00"+b.KeyID)
	})
	show := map[string]func(io.Writer, []keyRow) error{"table": keysTable, "json": printJSON[[]keyRow], "csv": keysCSV}[output]
	if err := show(c.out, rows); err != nil {
		return fmt.Errorf("writing the inventory: %w", err)
	}
	if err != nil {
		a.logger.ErrorContext(ctx, "not all projects are listed", "err", jobs.Message(err))
		return exitWith(jobs.ExitFailed)
	}
	if failed > 0 {
		return exitWith(jobs.ExitFailed)
	}
	return nil
}

func newKeyRow(r *jobs.Runner, s jobs.Surveyed, k rotation.KeyView) keyRow {
	row := keyRow{
		ProjectID: s.Project.ID, ProjectName: s.Project.Name, Credential: k.Credential,
		KeyID: k.ID, DisplayName: k.DisplayName, State: k.State,
		CreatedAt: k.CreatedAt.UTC(), AgeSeconds: int64(s.Now.Sub(k.CreatedAt).Seconds()),
		DueAt: optional(k.DueAt), Deadline: optional(k.Deadline), RetireAt: optional(k.RetireAt),
		Policy: newKeyPolicy(s.Policy),
	}
	if k.InScope {
		row.VaultPath = jobs.Text(r.VaultPath(s.Project.ID, k.Credential))
	}
	return row
}

func keysTable(w io.Writer, rows []keyRow) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PROJECT\tCREDENTIAL\tKEY\tSTATE\tAGE\tDEADLINE\tRETIRE AT\tVAULT PATH")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%dd\t%s\t%s\t%s\n", plain(r.ProjectID), plain(r.Credential), plain(r.KeyID), r.State,
			r.AgeSeconds/86400, day(r.Deadline), day(r.RetireAt), plain(string(r.VaultPath)))
	}
	return t.Flush() //nolint:wrapcheck // wrapped by the caller
}

func keysCSV(w io.Writer, rows []keyRow) error {
	out := csv.NewWriter(w)
	_ = out.Write([]string{ // errors are kept for Error
		"project_id", "project_name", "credential", "key_id", "display_name", "state",
		"created_at", "age_seconds", "due_at", "deadline", "retire_at", "vault_path", "max_age_seconds", "overlap_seconds", "margin_seconds",
		"max_age_source", "overlap_source", "margin_source", "exclude_source",
	})
	for _, r := range rows {
		_ = out.Write([]string{
			cell(r.ProjectID), cell(r.ProjectName), cell(r.Credential), cell(r.KeyID), cell(r.DisplayName), string(r.State),
			r.CreatedAt.Format(time.RFC3339), strconv.FormatInt(r.AgeSeconds, 10), stamp(r.DueAt), stamp(r.Deadline), stamp(r.RetireAt), cell(string(r.VaultPath)),
			strconv.FormatInt(r.Policy.MaxAgeSeconds, 10), strconv.FormatInt(r.Policy.OverlapSeconds, 10), strconv.FormatInt(r.Policy.MarginSeconds, 10),
			r.Policy.Source.MaxAge, r.Policy.Source.Overlap, r.Policy.Source.Margin, string(r.Policy.Source.Exclude),
		})
	}
	out.Flush()
	return out.Error() //nolint:wrapcheck // wrapped by the caller
}

// cell keeps spreadsheets from reading remote text as a formula.
func cell(text string) string {
	if text != "" && strings.ContainsAny(text[:1], "=+-@\t\r") {
		return "'" + text
	}
	return text
}

func stamp(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Format(time.RFC3339)
}
