package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"rotator/internal/audit"
	"rotator/internal/audit/evidence"
	"rotator/internal/jobs"
	"rotator/internal/rotation"
)

// reporting is what `audit report` was told.
type reporting struct {
	from, to, framework, format, file string
	longestGap, longestUnlisted       string
	checkpoints                       string
	pins                              []string
	verify                            bool
}

func (c *cli) auditReportCommand() *cobra.Command {
	var r reporting
	cmd := &cobra.Command{
		Use:   "report --from TIME -o FILE",
		Short: "Makes the evidence pack of a period, for an auditor",
		Long: `Writes what an auditor needs to judge how access keys were kept in a period:
every key that existed, reconciled with the provider's own lists; rotations and
deletions with who asked for them and why; ages against the limit; exceptions;
the schedule's gaps; API status codes; the newest signed checkpoint. Each table
stands with the SQL that gives it. docs/report.md describes it all.

  html  one file that opens anywhere, without a network
  json  one object of a documented shape
  csv   a ZIP archive with one CSV file for each table

The period begins with --from and ends before --to; everything is told as it
was at its end. All tables show one state of the log. Checkpoints are read from
Vault where one is configured, or from --checkpoints DIR; without, the report
says that it rests on the database alone. Making a report is logged
(audit.exported) where the database role may append to the log; where it may
not, the report says so.

Exit codes: 0 written; 1 usage, configuration or schema; 2 the database or the
checkpoints are unreachable, or the output could not be written.`,
		Example: `  rotator audit report --from 2026-01-01 --to 2026-04-01 -o evidence-q1.html
  rotator audit report --from 90d --framework pci --verify --verifier-key "$KEY" -o pci.html
  rotator audit report --from 2026-01-01 --to 2026-04-01 --format csv -o evidence-q1.zip`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := errors.Join(oneOf("--format", r.format, "html", "json", "csv"),
				oneOf("--framework", cmp.Or(r.framework, "all"), "all", string(evidence.PCI), string(evidence.SOC2), string(evidence.ISO27001)))
			if err != nil {
				return err
			}
			return c.auditReport(cmd.Context(), r)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&r.from, "from", "", "the period's beginning: a `time` in RFC 3339, a date, or a duration back (90d)")
	fl.StringVar(&r.to, "to", "", "the `time` before which it ends (default now)")
	fl.StringVar(&r.framework, "framework", "", "name only the criteria of pci, soc2 or iso27001")
	fl.StringVar(&r.format, "format", "html", "html, json or csv")
	fl.StringVarP(&r.file, "output", "o", "", "`file` to write; - is standard output")
	fl.BoolVar(&r.verify, "verify", false, "verify the whole log, too, and put the verdict into the report")
	fl.StringVar(&r.checkpoints, "checkpoints", "", "read checkpoints from this `directory` instead of Vault")
	fl.StringArrayVar(&r.pins, "verifier-key", nil, "a `key` that checkpoints must be signed with (repeatable), besides AUDIT_VERIFIER_KEYS")
	fl.StringVar(&r.longestGap, "longest-gap", "", "`duration` between two scheduled runs that is no gap yet (default from ROTATOR_SCHEDULE and ROTATOR_JITTER)")
	fl.StringVar(&r.longestUnlisted, "longest-unlisted", "", "`duration` between two lists of a project's keys that is not too long yet (default a day, ROTATOR_RECHECK and the longest gap)")
	return cmd
}

func (c *cli) auditReport(ctx context.Context, r reporting) error {
	ask, err := r.question(time.Now())
	if err != nil {
		return err
	}
	cfg, err := c.config(ctx, needDatabase|needAudit)
	if err != nil {
		return err
	}
	if err := r.limits(&ask, cfg); err != nil {
		return err
	}
	out, err := c.openDisclosure(ctx, needDatabase|needAudit, r.file)
	if err != nil {
		return err
	}
	defer out.close(ctx)
	if err := c.reportArchive(ctx, cfg, r, &ask); err != nil {
		return err
	}
	bar := newProgress(c.progressOf(r.file), out.logger, "asking the log")
	ask.Pool, ask.Actor, ask.Build, ask.Progress = out.pool, cfg.Process.Actor, buildName(), bar.show
	if ask.Host, err = os.Hostname(); err != nil {
		return fmt.Errorf("finding out this host's name: %w", err)
	}
	pack, err := evidence.Collect(ctx, ask)
	bar.done()
	switch {
	case errors.Is(err, evidence.ErrPeriod):
		return fmt.Errorf("--from, --to: %w", err)
	case errors.Is(err, evidence.ErrArchive):
		return down(err)
	case err != nil:
		return out.failure(ctx, &outlet{}, r.file, err)
	}
	if r.verify {
		c.reportVerdict(ctx, cfg, out, ask.Archive, pack)
	}
	err = out.deliver(ctx, func(w io.Writer) (audit.Disclosure, error) { return r.write(pack, out.id, w) })
	return errors.Join(err, pack.Close())
}

// question is what is asked for.
func (r reporting) question(now time.Time) (evidence.Config, error) {
	if r.from == "" {
		return evidence.Config{}, errors.New("--from: say where the period begins, for example --from 2026-01-01 or --from 90d")
	}
	from, err1 := moment("--from", r.from, now)
	to, err2 := moment("--to", r.to, now)
	return evidence.Config{From: from, To: to, Framework: evidence.Framework(r.framework)}, errors.Join(err1, err2)
}

// startAllowance is how much later than its jitter allows a run may start.
const startAllowance = time.Minute

// limits sets what counts as a gap: what the flags say, or what follows from
// the schedule.
func (r reporting) limits(ask *evidence.Config, cfg *config) (err error) {
	if r.longestGap != "" {
		if ask.LongestGap, err = rotation.ParseDuration(r.longestGap); err != nil {
			return fmt.Errorf("--longest-gap: %w", err)
		}
	} else {
		zone, err := time.LoadLocation(cfg.Rotation.Timezone)
		if err != nil {
			return fmt.Errorf("ROTATOR_TIMEZONE: %w; or give --longest-gap", err)
		}
		schedule, err := jobs.ParseSchedule(cfg.Rotation.Schedule, zone)
		if err != nil {
			return fmt.Errorf("ROTATOR_SCHEDULE: %w; or give --longest-gap", err)
		}
		ask.LongestGap = jobs.LongestGap(schedule, ask.From, marginHorizon) + cfg.Rotation.Jitter + startAllowance
	}
	ask.LongestUnlisted = 24*time.Hour + cfg.Rotation.Recheck + ask.LongestGap
	if r.longestUnlisted != "" {
		if ask.LongestUnlisted, err = rotation.ParseDuration(r.longestUnlisted); err != nil {
			return fmt.Errorf("--longest-unlisted: %w", err)
		}
	}
	return nil
}

// reportArchive opens the checkpoints that the report is held against.
func (c *cli) reportArchive(ctx context.Context, cfg *config, r reporting, ask *evidence.Config) (err error) {
	switch {
	case r.checkpoints != "":
		ask.Source = "the directory " + r.checkpoints
	case vaultConfigured(cfg.Vault):
		if cfg, err = c.config(ctx, needDatabase|needAudit|needVault); err != nil {
			return err
		}
		ask.Source = "Vault, " + cfg.Vault.Address + ", " + cfg.Vault.KVMount + "/" + cfg.Audit.VaultPrefix
	default:
		ask.NoArchive = "no Vault is configured here, and no --checkpoints DIR was given"
		return nil
	}
	ask.Archive, _, err = c.openArchive(ctx, cfg, r.checkpoints, r.pins)
	return err
}

// vaultConfigured reports whether somebody has said where Vault is, or how to
// log in to it: an auditor's machine may know nothing of it.
func vaultConfigured(v vaultSettings) bool {
	return v.Address != defaultVaultAddress || v.AuthMethod != "token" || !v.Token.IsZero()
}

// defaultVaultAddress is that of VAULT_ADDR.
const defaultVaultAddress = "https://127.0.0.1:8200"

// reportVerdict verifies the log. Its verdict stands in the report; a bad one
// is said aloud, too.
func (c *cli) reportVerdict(ctx context.Context, cfg *config, out *disclosing, archive *audit.Archive, pack *evidence.Pack) {
	bar := newProgress(c.progressOf(out.file), out.logger, "verifying")
	defer bar.done()
	now := time.Now()
	v := audit.VerifyDatabase(ctx, out.pool, audit.VerifyConfig{
		Archive: archive, MaxAge: cfg.Audit.CheckpointMaxAge, Now: now,
		Progress: func(done, all int64) { bar.show(int(done), int(all)) },
	})
	pack.Verified(v, now)
	if v.ExitCode != audit.VerifiedIntact {
		out.logger.ErrorContext(ctx, "the log is not verified, see the report", "verdict", v.Word)
	}
}

// write writes the report and says what was written.
func (r reporting) write(pack *evidence.Pack, id string, w io.Writer) (audit.Disclosure, error) {
	h := &pack.Header
	h.Logged = "The making of this report is not in the log: the database role may not append to it, or the database is read-only."
	if id != "" {
		h.Logged = "The making of this report is in the log, as event " + id + " (audit.exported), with the SHA-256 of this file."
	}
	tally := audit.NewTally(w)
	err := map[string]func(io.Writer) error{"html": pack.WriteHTML, "json": pack.WriteJSON, "csv": pack.WriteCSV}[r.format](tally)
	rows := int64(0)
	for _, t := range pack.Tables {
		rows += t.RowCount
	}
	filter := "since " + h.From.Format(time.RFC3339) + ", until " + h.To.Format(time.RFC3339)
	if r.framework != "" {
		filter += ", framework " + r.framework
	}
	return audit.Disclosure{ID: id, What: "report as " + r.format, Filter: filter, Written: tally.Written(rows)}, err
}
