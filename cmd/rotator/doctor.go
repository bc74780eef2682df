package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"rotator/internal/call"
	"rotator/internal/jobs"
)

// Levels of findings.
const (
	fine    = "ok"
	warning = "warning"
	trouble = "problem" // would stop a run, or do harm
)

// finding is what one check of `rotator doctor` says.
type finding struct {
	Check   string `json:"check"`
	Level   string `json:"level"`
	Finding string `json:"finding"`
	Fix     string `json:"fix"` // "" where nothing is to be done
}

func (c *cli) doctorCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Looks for what would stop a run, and says how to fix it",
		Long: `Checks the configuration, the database and its rights, the clocks, the spill
directory, the Vault login and what it may do, the Sinch key and what it may
do, and whether the scope matches anything. It changes nothing; what it asks
Sinch and Vault is in the audit log like any other read.

Exit codes: 0 nothing that would stop a run (there may be warnings); 1 the
configuration is wrong; 2 something would stop a run.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("-o", output, "table", "json"); err != nil {
				return err
			}
			return c.doctor(cmd.Context(), output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

func (c *cli) doctor(ctx context.Context, output string) error {
	d := &doctor{findings: []finding{}}
	code := jobs.ExitConverged
	cfg, err := c.config(ctx, needsOfRun|needServe)
	if err != nil {
		if !d.configuration(err) {
			return err
		}
		code = jobs.ExitUsage
	} else {
		d.app = &app{cfg: cfg, logger: newLogger(io.Discard, cfg)}
		defer d.app.close(ctx)
		d.examine(ctx)
		for _, f := range d.findings {
			if f.Level == trouble {
				code = jobs.ExitDown
			}
		}
	}
	show := findingsTable
	if output == "json" {
		show = printJSON[[]finding]
	}
	if err := show(c.out, d.findings); err != nil {
		return fmt.Errorf("writing the findings: %w", err)
	}
	return exitWith(code)
}

// doctor collects findings. A check that needs what another one has found to be
// broken is left out: its answer would be the same.
type doctor struct {
	app      *app
	findings []finding
}

func (d *doctor) found(level, check, what, fix string) {
	d.findings = append(d.findings, finding{check, level, call.Clean(what, 1000), call.Clean(fix, 1000)})
}

// bad adds a problem from an error, whose text may hold the remedy already.
func (d *doctor) bad(check string, err error, fix string) { d.found(trouble, check, err.Error(), fix) }

// configuration adds everything that is wrong with the configuration, and
// reports false for an error of another kind.
func (d *doctor) configuration(err error) bool {
	var problems configError
	if !errors.As(err, &problems) {
		return false
	}
	for _, p := range problems {
		d.found(trouble, "configuration", p.variable+": "+p.wrong, p.right)
	}
	return true
}

func (d *doctor) examine(ctx context.Context) {
	for _, w := range d.app.cfg.Warnings {
		d.found(warning, "configuration", w, "")
	}
	if len(d.app.cfg.Warnings) == 0 {
		d.found(fine, "configuration", "nothing to remark", "")
	}
	d.spill()
	database := d.database(ctx)
	secrets := d.vault(ctx, database)
	if secrets != nil {
		d.sinch(ctx, database, secrets)
	}
}

// findingsTable prints findings for people: problems with their fix below.
func findingsTable(w io.Writer, findings []finding) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range findings {
		fmt.Fprintf(t, "%s\t%s\t%s\n", strings.ToUpper(f.Level), f.Check, f.Finding)
		if f.Fix != "" {
			fmt.Fprintf(t, "\t\tfix: %s\n", f.Fix)
		}
	}
	return t.Flush() //nolint:wrapcheck // wrapped by the caller
}
