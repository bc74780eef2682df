package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	startTimeout = 60 * time.Second
	stopTimeout  = 30 * time.Second
	pollInterval = 20 * time.Millisecond
	logTail      = 2000 // bytes of the log that an error carries
)

// Stop modes, as pg_ctl names them: "smart" waits for clients, "fast" throws
// them out, "immediate" is a crash that the next start recovers from.
var stopSignals = map[string]os.Signal{
	"smart": syscall.SIGTERM, "fast": syscall.SIGINT, "immediate": syscall.SIGQUIT,
}

// server is one life of the postmaster.
type server struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

func (s *server) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// Stop stops the server in the given mode ("smart", "fast", "immediate") and
// waits for its end. Stopping a stopped cluster does nothing.
func (c *Cluster) Stop(mode string) error {
	if c.server == nil {
		return nil
	}
	sig, ok := stopSignals[mode]
	if !ok {
		return fmt.Errorf("stopping Postgres: unknown mode %q", mode)
	}
	if err := c.Signal(sig); err != nil {
		return err
	}
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	var err error
	select {
	case <-c.server.done:
	case <-timer.C:
		_ = c.server.cmd.Process.Kill() // it has had its time
		<-c.server.done
		err = fmt.Errorf("stopping Postgres: still there after %s, killed", stopTimeout)
	}
	c.server = nil
	return errors.Join(err, c.reaper.watch(0, ""))
}

// Signal sends the postmaster a signal. One that has ended already is no
// error: that is what a signal would have been for.
func (c *Cluster) Signal(sig os.Signal) error {
	if c.server == nil {
		return nil
	}
	if err := c.server.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signalling Postgres: %w", err)
	}
	return nil
}

// Restart stops the server, fast, if it runs, and starts it again with the
// same URL. Use it after Stop, or after the server was killed.
func (c *Cluster) Restart(ctx context.Context) error {
	if err := c.Stop("fast"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := c.launch(ctx)
		// After a SIGKILL, the old backends need a moment to notice and to
		// let go of the shared memory.
		if err == nil || !strings.Contains(err.Error(), "pre-existing shared memory block") {
			return err
		}
		if waitErr := pause(ctx, 10*pollInterval); waitErr != nil {
			return errors.Join(err, waitErr)
		}
	}
}

// launch starts the postmaster and waits until it answers.
func (c *Cluster) launch(ctx context.Context) error {
	log, err := os.OpenFile(c.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the log of Postgres: %w", err)
	}
	defer log.Close() //nolint:errcheck // the server has its own copy
	args := []string{"-D", c.dataDir(), "-k", c.socketDir, "-h", "", "-p", port}
	for _, name := range slices.Sorted(maps.Keys(c.settings())) {
		args = append(args, "-c", name+"="+c.settings()[name])
	}
	// Not CommandContext: the context is for starting, not for running.
	cmd := c.command(context.WithoutCancel(ctx), "postgres", args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting Postgres: %w", err)
	}
	s := &server{cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		_ = cmd.Wait() // how it ended stands in its log
	}()
	c.server = s
	if err := errors.Join(c.reaper.watch(cmd.Process.Pid, c.dataDir()), c.awaitAnswer(ctx)); err != nil {
		return fmt.Errorf("starting Postgres: %w; its log ends: %s", errors.Join(err, c.Stop("immediate")), c.lastLog())
	}
	c.opts.Logger.DebugContext(ctx, "postgres started", "dir", c.home, "pid", cmd.Process.Pid)
	return nil
}

// settings are the server's: safe against a crash of the server, not of the
// machine, and quick to start.
func (c *Cluster) settings() map[string]string {
	s := map[string]string{
		"max_connections": "200", "jit": "off", "log_min_messages": "warning",
		"unix_socket_permissions": "0700", "timezone": "UTC", "log_timezone": "UTC",
	}
	if !c.opts.FSync {
		s["fsync"], s["full_page_writes"] = "off", "off"
	}
	maps.Copy(s, c.opts.Settings)
	return s
}

// awaitAnswer connects until it works, the server has ended or ctx is done.
func (c *Cluster) awaitAnswer(ctx context.Context) error {
	for {
		conn, err := pgx.Connect(ctx, c.AdminURL())
		if err == nil {
			return conn.Close(ctx) //nolint:wrapcheck // cannot fail for a reason of its own
		}
		if c.server.ended() {
			return errors.New("it ended at once")
		}
		if waitErr := pause(ctx, pollInterval); waitErr != nil {
			return fmt.Errorf("no answer (%w): %w", waitErr, err)
		}
	}
}

// lastLog is the end of the server's log, on one line.
func (c *Cluster) lastLog() string {
	f, err := os.Open(c.logPath())
	if err != nil {
		return "(no log)"
	}
	defer f.Close() //nolint:errcheck // only read
	if info, err := f.Stat(); err == nil && info.Size() > logTail {
		_, _ = f.Seek(-logTail, io.SeekEnd) // at worst the head is shown
	}
	text, _ := io.ReadAll(io.LimitReader(f, logTail))
	return strings.Join(strings.Split(strings.TrimSpace(string(text)), "\n"), " | ")
}

// command prepares a program of BinDir to run as the cluster's owner, in a
// session of its own: a Ctrl-C at the terminal is for us, not for it.
func (c *Cluster) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.opts.BinDir, name), args...) //nolint:gosec // the operator's own binaries
	cmd.Dir = c.home
	cmd.Env = append(libraryEnv(c.opts.BinDir), "LC_ALL=C", "TZ=UTC", "PATH=/usr/bin:/bin", "HOME="+c.home)
	cmd.SysProcAttr = c.owner.attributes()
	return cmd
}

// pause waits for d or for the end of ctx, whose cause it returns.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
