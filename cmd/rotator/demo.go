package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rotator/internal/jobs"
)

// demoOverlap is how long old and new keys both work in the demo: long enough
// to see both, short enough to wait for.
const demoOverlap = 6 * time.Second

func (c *cli) demoCommand() *cobra.Command {
	var keep bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "The whole story on this machine, nothing to configure",
		Long: `Starts a simulated Sinch, a private Postgres and a Vault, seeds a fleet with
old keys, and runs the real commands: plan, run, consumers that keep working,
the overlap passing, old keys gone, the audit log and its proof. Everything it
started is gone afterwards.

Vault is the one that VAULT_ADDR and VAULT_TOKEN name (under a path prefix of
its own), else a small in-memory server. Postgres comes from POSTGRES_BIN,
PATH or the usual folders, else from Debian's packages, which are downloaded
once.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.demo(cmd.Context(), keep) },
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "leave everything up until Ctrl-C, and say how to play with it")
	return cmd
}

// demo is the story, told by the real commands.
func (c *cli) demo(ctx context.Context, keep bool) error {
	d := &demo{cli: c, began: time.Now()}
	defer d.clean()
	d.say("Starting a simulated Sinch, a private Postgres and a Vault …")
	if err := d.start(ctx); err != nil {
		return down(fmt.Errorf("starting the demo: %w", err))
	}
	d.say("Seeded %d projects with %d access keys: some old, some young, one overdue.", len(d.projects()), d.countKeys())
	tell := []func(context.Context) error{d.setUp, d.firstRun, d.overlapPasses, d.audited}
	for _, chapter := range tell {
		if err := chapter(ctx); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return &exitError{code: jobs.ExitUsage, err: errors.New("the demo was stopped")}
		}
	}
	if err := d.verdict(); err != nil {
		return err
	}
	if keep {
		return d.linger(ctx)
	}
	return nil
}

func (d *demo) setUp(ctx context.Context) error {
	d.say("The schema belongs to a role that nobody logs in as; the daemon may append to the log, the auditor read it.")
	if err := d.command(ctx, 0, "migrate", "up", "--owner-role", demoOwner, "--writer-role", demoWriter, "--auditor-role", demoAuditor); err != nil {
		return err
	}
	d.say("What is due, and why? Nothing is changed by asking.")
	return d.command(ctx, 0, "plan")
}

func (d *demo) firstRun(ctx context.Context) error {
	d.say("%d consumers start to work now: each holds the key it was once given, uses it all the time, and re-reads Vault every 2 s.", d.consume(ctx))
	d.say("One run: create, prove, publish; the old keys stay for an overlap of %s.", demoOverlap)
	return d.command(ctx, 0, "run-now")
}

func (d *demo) overlapPasses(ctx context.Context) error {
	d.say("Waiting until the overlap has passed. Old and new keys both work meanwhile …")
	if err := sleep(ctx, demoOverlap+time.Second); err != nil {
		return err
	}
	d.say("The next run deletes what is superseded, behind every guard.")
	if err := d.command(ctx, 0, "run-now"); err != nil {
		return err
	}
	if err := sleep(ctx, time.Second); err != nil { // consumers try what is left
		return err
	}
	d.quiet()
	d.say("The inventory now:")
	return d.command(ctx, 0, "keys")
}

func (d *demo) audited(ctx context.Context) error {
	d.say("Every change and every API status code is in the log; here is what happened to one credential:")
	if err := d.command(ctx, 0, "audit", "list", "--project", d.shown, "--credential", "billing-api", "--limit", "24", "--newest"); err != nil {
		return err
	}
	d.say("Nobody has to believe the database: its log must match the signed checkpoints in Vault, which are written once.")
	return d.command(ctx, 0, "audit", "verify")
}

// command runs a command line of rotator's own, shown as typed.
func (d *demo) command(ctx context.Context, want int, args ...string) error {
	fmt.Fprintf(d.out, "\n$ rotator %s\n", strings.Join(args, " "))
	code := run(ctx, args, streams{in: d.in, out: d.out, err: d.err, env: d.env})
	if code != want {
		return fmt.Errorf("rotator %s ended with exit code %d, expected %d", args[0], code, want)
	}
	return nil
}

func (d *demo) say(format string, args ...any) {
	mark := "\n» "
	if _, plain := d.cli.env.Lookup("NO_COLOR"); !plain && isTerminal(d.out) {
		mark = "\n\x1b[36m»\x1b[0m "
	}
	fmt.Fprintf(d.out, mark+format+"\n", args...)
}

// linger waits for Ctrl-C with everything up.
func (d *demo) linger(ctx context.Context) error {
	path := filepath.Join(d.dir, "demo.env")
	if err := os.WriteFile(path, []byte(d.env.lines()), 0o600); err != nil {
		return fmt.Errorf("writing the environment: %w", err)
	}
	d.say("Everything stays up until Ctrl-C. In another terminal:\n\n    rotator --env-file %s keys\n    rotator --env-file %s run-now --project %s --force --reason \"to see it\"", path, path, d.shown)
	d.say("As an auditor, who may only read (docs/compliance.md has the questions):\n\n    psql '%s' -c 'SELECT * FROM audit.key_history'", d.psql)
	<-ctx.Done()
	return nil
}

// sleep waits, unless ctx ends first.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
