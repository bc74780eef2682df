package audit_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rotator/internal/audit"
	"rotator/internal/audit/audittest"
)

func init() {
	spillProcesses["directory on a full disk"] = fullDirectoryProcess
	spillProcesses["directory, until killed"] = busyDirectoryProcess
}

// fullDirectoryProcess creates a document on a disk that ends in the middle of
// its note, and again when there is room.
func fullDirectoryProcess(dir string) {
	signal.Ignore(syscall.SIGXFSZ)
	for _, room := range []uint64{5, 30, 1 << 20} {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: room, Max: 1 << 30}); err != nil {
			fmt.Println(err)
		}
		err := audit.DirStore(dir).Create(context.Background(), somePath, audittest.Document(7))
		names, listErr := audit.DirStore(dir).List(context.Background(), "checkpoints/1/2026-11-22")
		fmt.Println(err == nil, errors.Is(err, audit.ErrExists), len(names), listErr)
	}
}

// TestDirStoreFullDisk checks that a document is there whole or not at all.
func TestDirStoreFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	out, err := startProcess(t, "directory on a full disk", dir).Output()
	if want := "false false 0 <nil>\nfalse false 0 <nil>\ntrue false 1 <nil>\n"; err != nil || string(out) != want {
		t.Errorf("the process says %q (%v), want %q", out, err, want)
	}
	if got, err := audit.DirStore(dir).Read(t.Context(), somePath, 0); err != nil || !maps.Equal(got, audittest.Document(7)) {
		t.Errorf("read %v (%v)", got, err)
	}
	if left := kept(t, dir); len(left) != 3 {
		t.Errorf("left behind: %v", left)
	}
}

// busyDirectoryProcess creates documents until it is killed, and says which
// are acknowledged.
func busyDirectoryProcess(dir string) {
	for n := 0; ; n++ {
		path := fmt.Sprintf("checkpoints/1/2026-11-%02d/%016d", 1+n%9, n)
		if err := audit.DirStore(dir).Create(context.Background(), path, audittest.Document(n)); err == nil {
			fmt.Println(n, path)
		} else if !errors.Is(err, audit.ErrExists) {
			fmt.Println("failed:", err)
		}
	}
}

// TestDirStoreKilled kills a process that creates documents, again and again:
// what it had acknowledged is there, what is there is whole, and the next
// process goes on.
func TestDirStoreKilled(t *testing.T) {
	t.Parallel()
	dir, acknowledged, rounds := t.TempDir(), 0, 30
	for round := range rounds {
		cmd := startProcess(t, "directory, until killed", dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		killer := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() }) // if it never says anything
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			var number int
			var path string
			if _, err := fmt.Sscan(lines.Text(), &number, &path); err != nil {
				t.Fatalf("the process says %q", lines.Text())
			}
			if got, err := audit.DirStore(dir).Read(t.Context(), path, 0); err != nil || !maps.Equal(got, audittest.Document(number)) {
				t.Fatalf("acknowledged document %s: %v (%v)", path, got, err)
			}
			acknowledged++
			if n == 0 { // it is at work: kill it at some moment soon
				killer.Stop()
				killer = time.AfterFunc(time.Duration(round*37%1000)*10*time.Microsecond, func() { _ = cmd.Process.Kill() })
			}
		}
		killer.Stop()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	whole := 0
	for day := 1; day <= 9; day++ {
		folder := fmt.Sprintf("checkpoints/1/2026-11-%02d", day)
		names, err := audit.DirStore(dir).List(t.Context(), folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			var number int
			if _, err := fmt.Sscan(strings.TrimLeft(name, "0")+" ", &number); err != nil && name != "0000000000000000" {
				t.Fatal(err)
			}
			if got, err := audit.DirStore(dir).Read(t.Context(), folder+"/"+name, 0); err != nil || !maps.Equal(got, audittest.Document(number)) {
				t.Errorf("document %s/%s: %v (%v)", folder, name, got, err)
			}
			whole++
		}
	}
	t.Logf("%d documents acknowledged in %d rounds, %d whole ones found", acknowledged, rounds, whole)
	if whole < acknowledged || acknowledged < rounds {
		t.Errorf("%d documents acknowledged in %d rounds, %d whole ones found", acknowledged, rounds, whole)
	}
}

// TestDirStoreReadOnly reads from a directory that may not be written, and
// says so when it should be.
func TestDirStoreReadOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mustCreate(t, dir, audittest.Document(7))
	for _, folder := range []string{"checkpoints/1/2026-11-22", "checkpoints/1", "checkpoints", ""} {
		if err := os.Chmod(filepath.Join(dir, folder), 0o555); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, folder), 0o755) })
	}
	asNobody(t, dir, func() {
		store := audit.DirStore(dir)
		if got, err := store.Read(t.Context(), somePath, 0); err != nil || !maps.Equal(got, audittest.Document(7)) {
			t.Errorf("read %v (%v)", got, err)
		}
		if err := store.Create(t.Context(), somePath, audittest.Document(7)); !errors.Is(err, audit.ErrExists) {
			t.Errorf("creating what is there: %v, want ErrExists", err)
		}
		for _, path := range []string{"checkpoints/1/2026-11-22/0000000000000008", "checkpoints/1/2026-11-23/0000000000000008", "keys/0a1b2c3d"} {
			err := store.Create(t.Context(), path, audittest.Document(8))
			if !errors.Is(err, os.ErrPermission) || errors.Is(err, audit.ErrExists) || !strings.Contains(err.Error(), dir) {
				t.Errorf("creating %s: %v, want a refusal that names the directory", path, err)
			}
		}
	})
	if left := kept(t, dir); len(left) != 3 {
		t.Errorf("left behind: %v", left)
	}
}

// asNobody does something in a thread that a file's permissions hold for: for
// root they do not. The thread ends with its goroutine.
func asNobody(t *testing.T, dir string, do func()) {
	t.Helper()
	for up := dir; os.Geteuid() == 0 && up != "/"; up = filepath.Dir(up) { // let nobody through
		if info, err := os.Stat(up); err == nil && info.Mode().Perm()&0o055 != 0o055 && up != os.TempDir() {
			if err := os.Chmod(up, info.Mode().Perm()|0o055); err != nil {
				t.Fatal(err)
			}
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked
		if os.Geteuid() == 0 {
			if err := unix.Setfsuid(65534); err != nil {
				t.Error(err)
			}
		}
		do()
	}()
	<-done
}
