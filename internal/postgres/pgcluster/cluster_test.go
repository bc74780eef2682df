package pgcluster_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rotator/internal/postgres/pgcluster"
)

func start(t *testing.T, opts pgcluster.Options) *pgcluster.Cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a Postgres server; left out by -short")
	}
	opts.BinDir = os.Getenv("POSTGRES_BIN")
	c, err := pgcluster.Start(t.Context(), opts)
	if err != nil {
		t.Fatalf("starting a cluster: %v", err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("closing the cluster: %v", err)
		}
	})
	return c
}

// query runs a statement on a fresh connection and returns its one text.
func query(t *testing.T, c *pgcluster.Cluster, statement string) (text string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), c.AdminURL())
	if err != nil {
		t.Fatalf("connecting to the cluster: %v", err)
	}
	defer conn.Close(t.Context()) //nolint:errcheck // nothing is pending
	if err := conn.QueryRow(t.Context(), statement).Scan(&text); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return text
}

func exec(t *testing.T, c *pgcluster.Cluster, statement string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), c.AdminURL())
	if err != nil {
		t.Fatalf("connecting to the cluster: %v", err)
	}
	defer conn.Close(t.Context()) //nolint:errcheck // nothing is pending
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func TestCommittedRowsSurviveEveryKindOfStop(t *testing.T) {
	t.Parallel()
	c := start(t, pgcluster.Options{})
	url := c.AdminURL()
	exec(t, c, "CREATE TABLE kept (how text)")
	stops := map[string]func() error{
		"fast":      func() error { return c.Stop("fast") },
		"immediate": func() error { return c.Stop("immediate") },
		"sigkill":   func() error { return c.Signal(syscall.SIGKILL) },
		"running":   func() error { return nil },
	}
	for how, stop := range stops {
		exec(t, c, "INSERT INTO kept VALUES ('"+how+"')")
		if err := stop(); err != nil {
			t.Fatalf("stopping (%s): %v", how, err)
		}
		if err := c.Restart(t.Context()); err != nil {
			t.Fatalf("restarting after %s: %v", how, err)
		}
	}
	if got := query(t, c, "SELECT count(DISTINCT how)::text FROM kept"); got != "4" {
		t.Errorf("rows after four stops: got %s, want 4", got)
	}
	if c.AdminURL() != url {
		t.Error("a restart changed the URL")
	}
}

func TestStopEndsTheServerAndCloseRemovesItsDirectory(t *testing.T) {
	t.Parallel()
	c := start(t, pgcluster.Options{})
	pid, dir := c.PID(), c.Dir()
	if err := syscall.Kill(pid, 0); err != nil {
		t.Fatalf("the postmaster does not run: %v", err)
	}
	if err := c.Stop("immediate"); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the postmaster after Stop: %v, want ESRCH", err)
	}
	if c.PID() != 0 {
		t.Errorf("PID of a stopped cluster: %d", c.PID())
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the temporary directory after Close: %v", err)
	}
}

func TestServerIsNotRootAndOnlyOnItsSocket(t *testing.T) {
	t.Parallel()
	c := start(t, pgcluster.Options{})
	info, err := os.Stat(filepath.Join(c.Dir(), "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || stat.Uid == 0 {
		t.Error("the server runs as root")
	}
	if got := query(t, c, "SHOW listen_addresses"); got != "" {
		t.Errorf("listen_addresses: %q, want none", got)
	}
	if conn, err := pgx.Connect(t.Context(), wrongPassword(t, c)); err == nil {
		_ = conn.Close(t.Context())
		t.Error("a wrong password is let in")
	}
}

func wrongPassword(t *testing.T, c *pgcluster.Cluster) string {
	t.Helper()
	cfg, err := pgx.ParseConfig(c.AdminURL())
	if err != nil {
		t.Fatal(err)
	}
	return strings.Replace(c.AdminURL(), cfg.Password, "wrong", 1)
}

func TestDirIsKeptAndStartedAgain(t *testing.T) {
	t.Parallel()
	home := filepath.Join(reachable(t), strings.Repeat("long", 30)) // too long for a socket
	first := start(t, pgcluster.Options{Dir: home, FSync: true, Settings: map[string]string{"work_mem": "7MB"}})
	if got := query(t, first, "SELECT current_setting('fsync') || current_setting('work_mem')"); got != "on7MB" {
		t.Errorf("settings: %s", got)
	}
	exec(t, first, "CREATE TABLE kept ()")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := start(t, pgcluster.Options{Dir: home})
	if got := query(t, second, "SELECT to_regclass('kept')::text"); got != "kept" {
		t.Errorf("table after the second start: %q", got)
	}
	if err := second.Stop("fast"); err != nil {
		t.Fatal(err)
	}
	third := start(t, pgcluster.Options{Template: home})
	if got := query(t, third, "SELECT to_regclass('kept')::text"); got != "kept" {
		t.Errorf("table in a copy: %q", got)
	}
}

func TestFailedStartShowsTheLogAndLeavesNothing(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts a Postgres server; left out by -short")
	}
	home := filepath.Join(reachable(t), "home")
	_, err := pgcluster.Start(t.Context(), pgcluster.Options{
		BinDir: os.Getenv("POSTGRES_BIN"), Dir: home, Settings: map[string]string{"no_such_setting": "1"},
	})
	if err == nil || !strings.Contains(err.Error(), `unrecognized configuration parameter "no_such_setting"`) {
		t.Errorf("error lacks the log's last lines: %v", err)
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("error has several lines: %v", err)
	}
}

// reachable is a temporary directory that other users may enter.
func reachable(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestCancelGivesUpStarting(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if c, err := pgcluster.Start(ctx, pgcluster.Options{BinDir: "/nonexistent"}); err == nil {
		_ = c.Close()
		t.Error("started without time and binaries")
	}
	if _, err := pgcluster.FindBinaries(ctx, slog.New(slog.DiscardHandler)); err != nil && !errors.Is(err, pgcluster.ErrNoBinaries) {
		t.Errorf("FindBinaries: %v, want ErrNoBinaries", err)
	}
}
