// Command rotator rotates Sinch access keys on a schedule and can prove it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	_ "time/tzdata" // ROTATOR_TIMEZONE works where no zone files are, as in the container image

	"github.com/spf13/cobra"

	"rotator/internal/call"
	"rotator/internal/jobs"
	"rotator/internal/postgres"
	"rotator/internal/sinch"
	"rotator/internal/vault"
)

// Set by the linker (Makefile).
var (
	version = "dev"
	commit  = ""
)

// gcPercent is how much garbage is let grow: a run makes much of it beside a heap
// of a few megabytes, and collecting it at once took a tenth of its CPU time.
const gcPercent = 300

func main() {
	if set := debug.SetGCPercent(gcPercent); set != 100 {
		debug.SetGCPercent(set) // GOGC knows better
	}
	if err := harden(); err != nil {
		fmt.Fprintln(os.Stderr, "rotator:", err)
		os.Exit(jobs.ExitUsage)
	}
	ctx, stop := untilSignal(context.Background())
	code := run(ctx, os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr, env: osEnvironment{}})
	stop()
	os.Exit(code)
}

// streams is what a command sees of the process.
type streams struct {
	in       io.Reader
	out, err io.Writer
	env      lookuper
}

// untilSignal returns a context that ends at the first SIGINT or SIGTERM; a
// second one ends the process at once, and the next run settles what it left.
func untilSignal(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		if sig, ok := (<-signals).(syscall.Signal); ok {
			os.Exit(128 + int(sig))
		}
	}()
	return ctx, func() { signal.Stop(signals); cancel() }
}

// run executes a command line and returns the exit code (DESIGN.md section 4).
func run(ctx context.Context, args []string, s streams) int {
	ctx, flush := recording(ctx, s)
	defer flush()
	root := newRoot(s)
	root.SetArgs(args)
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return jobs.ExitConverged
	}
	var exit *exitError
	if errors.As(err, &exit) && exit.err == nil {
		return exit.code
	}
	fmt.Fprintln(s.err, "rotator: "+text(err))
	return exitCode(err)
}

// text is an error for people: configuration problems keep their lines, the
// rest may hold remote text and is made harmless.
func text(err error) string {
	var problems configError
	if errors.As(err, &problems) {
		return err.Error()
	}
	said := call.Clean(err.Error(), 4000)
	if strings.HasPrefix(said, "unknown ") { // cobra's, of commands and flags
		said += "; `rotator -h` lists the commands, `rotator COMMAND -h` its flags"
	}
	return said
}

// exitError ends the process with a code; err is nil when everything has been
// said already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// exitWith ends the process with a code that its output explains.
func exitWith(code int) error {
	if code == jobs.ExitConverged {
		return nil
	}
	return &exitError{code: code}
}

// down marks an error of a dependency.
func down(err error) error { return &exitError{code: jobs.ExitDown, err: err} }

func exitCode(err error) int {
	var exit *exitError
	switch {
	case errors.As(err, &exit):
		return exit.code
	case errors.Is(err, postgres.ErrUnreachable),
		errors.Is(err, vault.ErrUnreachable), errors.Is(err, vault.ErrSealed), errors.Is(err, vault.ErrDenied),
		errors.Is(err, sinch.ErrRetryable), errors.Is(err, sinch.ErrUnauthenticated), errors.Is(err, sinch.ErrForbidden),
		errors.Is(err, call.ErrNotRecorded):
		return jobs.ExitDown
	}
	return jobs.ExitUsage
}

// newRoot builds the command tree.
func newRoot(s streams) *cobra.Command {
	c := &cli{streams: s}
	root := &cobra.Command{
		Use:   "rotator",
		Short: "Rotates Sinch access keys into HashiCorp Vault, and can prove it",
		Long: `rotator keeps every Sinch access key of a parent project and its subprojects
younger than an age limit, without downtime: it creates replacements, proves
that they work, stores their secrets in Vault, deletes superseded keys after
an overlap, and records every change and every API status code in a
tamper-evident Postgres audit log.

It is configured by environment variables; config.example.env lists them all.

Exit codes: 0 converged; 1 usage, configuration or schema; 2 a dependency is
unreachable or refuses us; 3 some credentials failed, the rest is done;
4 a guard, a pause, a limit or a full project left work undone; 5 everything
due is being worked on by another process.`,
		SilenceErrors: true, SilenceUsage: true,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().StringArrayVar(&c.envFiles, "env-file", nil, "read variables from a file of KEY=VALUE lines (repeatable; the environment wins)")
	root.AddCommand(c.serveCommand(), c.runNowCommand(), c.planCommand(), c.keysCommand(), c.auditCommand(),
		c.pauseCommand(), c.resumeCommand(), c.statusCommand(), c.doctorCommand(), c.migrateCommand(), c.demoCommand(), c.versionCommand())
	root.CompletionOptions.HiddenDefaultCmd = false
	return root
}

// cli is what all commands share.
type cli struct {
	streams
	envFiles  []string
	level     slog.LevelVar   // of all loggers
	unwrapped vault.Unwrapped // serve may have to log in several times before it can start
}

// config loads the sections that a command uses, and warns on stderr.
func (c *cli) config(ctx context.Context, need needs) (*config, error) {
	cfg, err := loadConfig(ctx, need, c.env, c.envFiles)
	if err != nil {
		return nil, err
	}
	_ = c.level.UnmarshalText([]byte(cfg.Process.LogLevel)) // checked with the configuration
	cfg.level, cfg.unwrapped = &c.level, &c.unwrapped
	return cfg, nil
}
