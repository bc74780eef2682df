package pgcluster_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	osexec "os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"rotator/internal/postgres/pgcluster"
)

// TestMain lets the test binary play a process that owns a cluster, for the
// tests that kill it or run it as another user.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "own-a-cluster" {
		if err := ownCluster(os.Args[2]); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// ownCluster starts a cluster, from downloaded packages when it gets a cache
// for them, says where it is, and lives until its standard input ends.
func ownCluster(cache string) error {
	ctx := context.Background()
	opts := pgcluster.Options{BinDir: os.Getenv("POSTGRES_BIN")}
	if cache != "-" {
		dir, err := pgcluster.Download(ctx, cache, slog.New(slog.NewTextHandler(os.Stderr, nil)))
		if err != nil {
			return err
		}
		opts.BinDir = dir
	}
	c, err := pgcluster.Start(ctx, opts)
	if err != nil {
		return err
	}
	fmt.Println(c.PID(), c.Dir(), "bin="+opts.BinDir)
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, c.Close())
}

// owner is a process that owns a cluster.
type owner struct {
	cmd      *osexec.Cmd
	stdin    io.Closer
	pid      int // postmaster's
	dir, bin string
	failure  string // instead of all the above
}

// startOwner runs ownCluster as a user; nil is ourselves.
func startOwner(t *testing.T, cache string, as *syscall.Credential) owner {
	t.Helper()
	cmd := osexec.Command(testBinary(t), "own-a-cluster", cache) // it outlives t.Context
	home := reachable(t)
	if as != nil {
		if err := os.Chown(home, int(as.Uid), int(as.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	cmd.Dir = home
	cmd.Env = append(os.Environ(), "HOME="+home)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	cmd.Stderr = t.Output()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	o := owner{cmd: cmd, stdin: stdin}
	t.Cleanup(func() {
		_ = stdin.Close() // it may be gone already
		_ = cmd.Wait()    // so may it
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the owner of a cluster said nothing: %v", err)
	}
	words := strings.Fields(line)
	if len(words) != 3 {
		o.failure = line
		return o
	}
	o.dir, o.bin = words[1], words[2]
	if o.pid, err = strconv.Atoi(words[0]); err != nil {
		t.Fatalf("unexpected answer %q", line)
	}
	return o
}

// testBinary is a copy of this program that every user may run.
func testBinary(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(reachable(t), "test")
	if err := os.WriteFile(path, text, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// users are who a test can run a process as: ourselves, and under root also
// somebody without any rights.
func users(t *testing.T) map[string]*syscall.Credential {
	t.Helper()
	all := map[string]*syscall.Credential{"ourselves": nil}
	if os.Geteuid() == 0 {
		u, err := user.Lookup("nobody")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		all["nobody"] = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	return all
}

func TestNothingStaysWhenTheProcessIsKilled(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts a Postgres server; left out by -short")
	}
	for name, as := range users(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := startOwner(t, "-", as)
			if o.failure != "" {
				t.Fatal(o.failure)
			}
			info, err := os.Stat(filepath.Join(o.dir, "data"))
			if err != nil {
				t.Fatal(err)
			}
			if stat, ok := info.Sys().(*syscall.Stat_t); !ok || stat.Uid == 0 || (as != nil && stat.Uid != as.Uid) {
				t.Errorf("the cluster belongs to the wrong user: %+v", stat)
			}
			if err := o.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
				_, statErr := os.Stat(o.dir)
				if errors.Is(statErr, fs.ErrNotExist) && !running(o.pid) {
					return
				}
				if time.Now().After(end) {
					t.Fatalf("20 s after the kill: directory %v, server running %v", statErr, running(o.pid))
				}
			}
		})
	}
}

// running reports whether a process runs. One that nobody has collected yet
// does not.
func running(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist) || !exists("/proc/self/stat")
	}
	return !strings.Contains(string(stat), ") Z ")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// TestDownload gets the server from packages, as every user. Where packages
// cannot be had at all, the error must be the documented one.
func TestDownload(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("downloads packages; left out by -short")
	}
	reachesArchive := aptWorks(t)
	for name, as := range users(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cache := reachable(t)
			if as != nil {
				if err := os.Chown(cache, int(as.Uid), int(as.Gid)); err != nil {
					t.Fatal(err)
				}
			}
			o := startOwner(t, cache, as)
			switch {
			case o.failure == "" && !strings.HasPrefix(o.bin, "bin="+cache):
				t.Errorf("the cluster runs from %s, want below %s", o.bin, cache)
			case o.failure != "" && reachesArchive && !strings.Contains(o.failure, "this release packages Postgres"):
				t.Errorf("packages can be downloaded here, but: %s", o.failure)
			case o.failure != "" && !strings.Contains(o.failure, pgcluster.ErrNoBinaries.Error()):
				t.Errorf("not the documented error: %s", o.failure)
			}
		})
	}
}

// aptWorks reports whether apt-get, without any help of ours, can download a
// package now.
func aptWorks(t *testing.T) bool {
	t.Helper()
	cmd := osexec.CommandContext(t.Context(), "apt-get", "download", "base-files")
	cmd.Dir = reachable(t)
	return cmd.Run() == nil
}
