package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"rotator/internal/call"
	"rotator/internal/health"
	"rotator/internal/jobs"
	"rotator/internal/metrics"
	"rotator/internal/postgres"
	"rotator/migrations"
)

const (
	// stuck is how long nothing may move before /healthz says so: longer than
	// any single wait in a run.
	stuck = 10 * time.Minute
	// What is not there at the start is tried again.
	firstWait, lastWait = time.Second, time.Minute
)

func (c *cli) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "The daemon: rotates on a schedule",
		Long: `Begins a run at every tick of ROTATOR_SCHEDULE, and one at once: it makes up
for ticks that were missed, and helps replicas that are at work. Any number of
replicas may share one database; each project is worked on by one at a time.

GET /healthz, /readyz and /metrics are answered at ROTATOR_LISTEN. What cannot
be reached at the start is waited for; /readyz says what that is.

SIGHUP makes it read --env-file files and NAME_FILE files again: policy, scope,
schedule, limits, log level and webhook change at once, and it says what needs
a restart.

SIGTERM ends it: no new key is begun, the one in hand has
ROTATOR_SHUTDOWN_TIMEOUT; a second signal ends it at once, and the next run
settles what it left. ` + "`rotator pause`" + ` keeps all replicas from working.

Exit codes: 0 stopped by a signal; 1 usage, configuration or schema.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.serve(cmd.Context()) },
	}
}

func (c *cli) serve(ctx context.Context) error {
	cfg, err := c.config(ctx, needsOfRun|needServe)
	if err != nil {
		return err
	}
	hangups, unhook := onHangup()
	defer unhook()
	logger := newLogger(c.err, cfg)
	board := health.New(stuck, "starting")
	m := metrics.New(logger, jobs.RotationSteps())
	mux := http.NewServeMux()
	board.Register(mux)
	mux.Handle("GET /metrics", m.Handler())
	stop, err := listen(ctx, cfg.Serve.Listen, mux, logger)
	if err != nil {
		return err
	}
	defer stop()
	host, err := hostname()
	if err != nil {
		return err
	}
	news := notify(cfg, host, m, logger) //nolint:contextcheck // what is left when ctx ends is still delivered
	defer news.sender.Close()
	a, err := c.openPatiently(ctx, board, news, m, logger)
	if a == nil || err != nil {
		return err
	}
	defer a.close(ctx)
	defer news.sender.Close() // before the database is
	a.news = news
	news.opened(a.store)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a.serve(ctx, board, c.reloads(ctx, a, hangups))
	return nil
}

// serve works until ctx ends.
func (a *app) serve(ctx context.Context, board *health.Board, changes <-chan jobs.Settings) {
	var last runState
	board.Started(
		health.Check{Name: "postgres", Ask: a.askPostgres},
		health.Check{Name: "vault", Ask: func(ctx context.Context) error { return harmless(a.secrets.Ready(ctx)) }},
		health.Check{Name: "audit", Ask: func(context.Context) error { return harmless(a.anchors.Broken()) }},
		health.Check{Name: "run", Ask: func(context.Context) error { return harmless(last.get()) }},
	)
	a.watch()
	var side sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer side.Wait()
	defer cancel()
	side.Go(func() { a.secrets.KeepAlive(ctx) })
	a.runner.Progress = func(int, int) { board.Alive() }
	a.logger.InfoContext(ctx, "serving", "schedule", a.cfg.Rotation.Schedule, "timezone", a.cfg.Location.String(),
		"jitter", a.cfg.Rotation.Jitter.String(), "listen", a.cfg.Serve.Listen, "process", a.id)
	d := &jobs.Daemon{
		Runner: a.runner, Schedule: a.cfg.Schedule, Jitter: a.cfg.Rotation.Jitter,
		Alive: board.Alive, Prepare: a.replay, Changes: changes,
		Ended: func(r *jobs.Report, err error) { last.set(err); a.count(r, err); a.news.ended(r, err) },
	}
	d.Serve(ctx)
	a.logger.InfoContext(ctx, "stopped")
}

// openPatiently opens the app as soon as everything it needs is there. It
// returns neither app nor error when ctx ends before.
func (c *cli) openPatiently(ctx context.Context, board *health.Board, news *notifier, m *metrics.Metrics, logger *slog.Logger) (*app, error) {
	for pause := firstWait; ctx.Err() == nil; pause = min(2*pause, lastWait) {
		board.Alive()
		a, err := c.open(ctx, false, m)
		if err == nil {
			return a, nil
		}
		if code := exitCode(err); code != jobs.ExitDown && code != jobs.ExitRefused {
			return nil, err
		}
		said := text(err)
		board.Waiting(said)
		news.ended(nil, err)
		logger.ErrorContext(ctx, "cannot start yet", "err", said, "again_in", pause.String())
		_ = sleep(ctx, pause) // ctx is looked at above
	}
	return nil, nil
}

// listen answers with the handler until stop is called.
func listen(ctx context.Context, address string, handler http.Handler, logger *slog.Logger) (stop func(), err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("ROTATOR_LISTEN: %w; write the address of this host and a free port, or 127.0.0.1:0", err)
	}
	logger.InfoContext(ctx, "listening", "address", listener.Addr().String())
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 1 << 16, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			logger.ErrorContext(ctx, "listener ended", "err", err)
		}
	}()
	return func() {
		_ = server.Close() // probes and scrapes only; nobody's answer is worth waiting for
		<-served
	}, nil
}

func (a *app) askPostgres(ctx context.Context) error {
	return harmless(postgres.CheckSchema(ctx, a.pool, migrations.FS))
}

// harmless is an error for whoever may ask.
func harmless(err error) error {
	if err == nil {
		return nil
	}
	return errors.New(call.Sanitize(err.Error()))
}

// runState is why the latest run could do nothing.
type runState struct {
	mu  sync.Mutex
	err error
}

func (r *runState) set(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

func (r *runState) get() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}
