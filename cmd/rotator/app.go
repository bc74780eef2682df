package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/term"

	"rotator/internal/audit"
	"rotator/internal/jobs"
	"rotator/internal/metrics"
	"rotator/internal/postgres"
	"rotator/internal/state"
	"rotator/internal/vault"
	"rotator/migrations"
)

// app is the whole machine, wired: everything that a run needs.
type app struct {
	cfg      *config
	logger   *slog.Logger
	pool     *pgxpool.Pool
	log      *audit.Log
	spill    *audit.Spill // nil in an app that changes nothing
	recorder *jobs.Recorder
	runner   *jobs.Runner
	store    *state.Store
	id       uuid.UUID // of this process
	host     string

	anchors *audit.Anchors // nil in an app that changes nothing
	secrets *vault.Store
	metrics *metrics.Metrics // nil but in the daemon
	news    *notifier        // the same
}

// needsOfRun is what run-now, plan and keys use.
const needsOfRun = needSinch | needDatabase | needVault | needPolicy | needRun | needAudit

// open wires the app. A lenient one changes nothing, and may go on when the
// log cannot be written. Metrics, if not nil, count what it does. Close it.
func (c *cli) open(ctx context.Context, lenient bool, m *metrics.Metrics) (*app, error) {
	a, err := c.openWith(ctx, needsOfRun, m)
	if err != nil {
		return nil, err
	}
	if err := a.openRun(ctx, lenient); err != nil {
		a.close(ctx)
		return nil, err
	}
	return a, nil
}

// openKeeper wires what keeps the audit log, without Sinch: for commands that
// a person gives about the log itself. Close it.
func (c *cli) openKeeper(ctx context.Context) (*app, error) {
	a, err := c.openWith(ctx, needDatabase|needVault|needAudit, nil)
	if err != nil {
		return nil, err
	}
	recorder := &jobs.Recorder{Log: a.log, Logger: a.logger}
	secrets, err := a.openVault(ctx, recorder)
	if err == nil {
		err = a.openAnchors(ctx, secrets)
	}
	if err != nil {
		a.close(ctx)
		return nil, err
	}
	return a, nil
}

// openWith loads the configuration and opens the database and the audit log.
func (c *cli) openWith(ctx context.Context, need needs, m *metrics.Metrics) (*app, error) {
	cfg, err := c.config(ctx, need)
	if err != nil {
		return nil, err
	}
	a := &app{cfg: cfg, logger: newLogger(c.err, cfg), id: uuid.Must(uuid.NewV7()), metrics: m}
	for _, w := range cfg.Warnings {
		a.logger.WarnContext(ctx, "configuration", "warning", w)
	}
	if a.host, err = hostname(); err != nil {
		return nil, err
	}
	err = a.openDatabase(ctx)
	if err == nil {
		err = a.openLog(ctx)
	}
	if err != nil {
		a.close(ctx)
		return nil, err
	}
	return a, nil
}

// hostname is this host's, as events and messages name it.
func hostname() (string, error) {
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("finding out this host's name: %w", err)
	}
	return name, nil
}

func (a *app) openLog(ctx context.Context) (err error) {
	cfg := audit.Config{
		Pool: a.pool, Logger: a.logger,
		Common: audit.Event{Actor: a.cfg.Process.Actor, Host: a.host, Build: buildName(), ConfigSHA256: a.cfg.sha256()},
	}
	if a.metrics != nil {
		cfg.Observe = a.metrics.Appended
	}
	a.log, err = audit.Open(ctx, cfg)
	if err != nil {
		return refusedOr(down(fmt.Errorf("opening the audit log: %w", err)), audit.ErrBehind)
	}
	return nil
}

// openSpill makes sure that outcomes can be kept while Postgres is away.
func (a *app) openSpill() (err error) {
	if a.spill, err = audit.OpenSpill(a.spillDir(), a.id.String()); err != nil {
		return fmt.Errorf("AUDIT_SPILL_DIR: %w", err)
	}
	return nil
}

// replay brings home the outcomes that processes kept, this one and earlier
// ones.
func (a *app) replay(ctx context.Context) error {
	replayed, err := a.log.Replay(ctx, a.spillDir(), a.spill)
	for _, r := range replayed {
		a.logger.WarnContext(ctx, "spilled audit events replayed", "file", r.File, "events", r.Events, "duplicates", r.Duplicates, "torn", r.Torn, "kept", r.Kept)
	}
	if err != nil {
		return down(fmt.Errorf("replaying spilled audit events: %w", err))
	}
	return nil
}

func (a *app) openDatabase(ctx context.Context) (err error) {
	a.pool, err = openPool(ctx, a.cfg)
	if err != nil {
		return err
	}
	a.store = state.New(a.pool)
	return postgres.CheckSchema(ctx, a.pool, migrations.FS) //nolint:wrapcheck // it names the command to run
}

func openPool(ctx context.Context, cfg *config) (*pgxpool.Pool, error) {
	pool, err := postgres.Open(ctx, postgres.Config{
		URL: cfg.Database.URL, ApplicationName: "rotator", MaxConns: cmp.Or(cfg.Run.Concurrency, 1) + 4,
	})
	if err != nil {
		return nil, fmt.Errorf("DATABASE_URL: %w", err)
	}
	return pool, nil
}

// close gives everything back; it waits for queued events a while.
func (a *app) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	if a.store != nil {
		if err := a.store.Leave(ctx, a.id); err != nil && a.log != nil {
			a.logger.WarnContext(ctx, "process row not removed, it runs out by itself", "err", jobs.Message(err))
		}
	}
	if a.spill != nil {
		a.recorder.Settle(ctx)
		a.closeSpill(ctx)
	}
	if a.log != nil {
		if err := a.log.Close(ctx); err != nil {
			a.logger.ErrorContext(ctx, "audit log not closed cleanly", "err", jobs.Message(err))
		}
	}
	if a.pool != nil {
		a.pool.Close()
	}
}

// closeSpill brings home what this process spilled, if Postgres is back; else
// the next process does.
func (a *app) closeSpill(ctx context.Context) {
	if !a.spill.Empty() {
		if _, err := a.log.Replay(ctx, a.spillDir(), a.spill); err != nil {
			a.logger.WarnContext(ctx, "spilled audit events stay on disk, the next run replays them", "dir", a.spillDir(), "err", jobs.Message(err))
		}
	}
	if err := a.spill.Close(); err != nil {
		a.logger.ErrorContext(ctx, "spill file not closed cleanly", "err", jobs.Message(err))
	}
}

func (a *app) spillDir() string { return cmp.Or(a.cfg.Audit.SpillDir, a.cfg.Process.StateDir) }

// newLogger logs to w: text on a terminal, else JSON, unless LOG_FORMAT says.
func newLogger(w io.Writer, cfg *config) *slog.Logger {
	opts := &slog.HandlerOptions{Level: cfg.level}
	if cfg.Process.LogFormat == "text" || cfg.Process.LogFormat == "" && isTerminal(w) {
		return slog.New(slog.NewTextHandler(w, opts))
	}
	return slog.New(slog.NewJSONHandler(w, opts))
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) // #nosec G115 -- file descriptors are small
}
