package outage_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"rotator/test/rig"
)

// TestMemoryIsPrivate: what rotator holds in memory is neither dumped nor
// shown to other processes of its user. The kernel says so by giving the
// process's files to root. A program that takes no precautions shows that the
// test can tell.
func TestMemoryIsPrivate(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds rotator; left out by -short")
	}
	for name, hardened := range map[string]bool{"cat": false, rig.Program(t): true} {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			user := os.Getuid()
			if user == 0 {
				user = 65534 // as root every process's files are root's
			}
			pid := reading(t, user, hardened, name)
			file, err := os.Stat(fmt.Sprintf("/proc/%d/mem", pid))
			if err != nil {
				t.Fatal(err)
			}
			theirs := file.Sys().(*syscall.Stat_t).Uid == uint32(user) //nolint:errcheck // on Linux it is one
			if theirs == hardened {
				t.Errorf("its user may read the memory of %s: %t", name, theirs)
			}
			limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
			if err != nil || noCore.Match(limits) != hardened {
				t.Errorf("%s may dump core: %t (%v)\n%s", name, !noCore.Match(limits), err, limits)
			}
		})
	}
}

// reading runs a program as the user until it reads a pipe that nothing is
// written to, and returns its process id.
func reading(t *testing.T, user int, rotator bool, name string) (pid int) {
	t.Helper()
	dir, err := os.MkdirTemp("", "rotator-memory-") //nolint:usetesting // the user has to get in
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	args := []string{pipe}
	if rotator {
		args = []string{"--env-file", pipe, "plan"}
	}
	cmd := exec.Command(name, args...)
	if user != os.Getuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(user), Gid: uint32(user)}}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	})
	for begun := time.Now(); time.Since(begun) < rig.Limit; time.Sleep(10 * time.Millisecond) {
		writer, err := os.OpenFile(pipe, os.O_WRONLY|syscall.O_NONBLOCK, 0) // fails as long as nobody reads
		if err == nil {
			t.Cleanup(func() { _ = writer.Close() })
			return cmd.Process.Pid
		}
	}
	t.Fatalf("%s does not read its pipe", name)
	return 0
}
