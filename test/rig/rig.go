// Package rig runs the real binary in a world that a test controls: what
// test/kill and test/outage have in common.
//
//	rotator ─┬─ HTTP ─ Gate ─ sinchtest     the gate notes what changes
//	         ├─ HTTP ─ Gate ─ Vault         something, and holds, delays or
//	         └─ socket ───── Postgres       drops requests, if asked
//
// A World is a fleet and its servers, a Process is a rotator at work in it,
// and the Check methods say whether it is as it should be. They and all else
// here fail the test; nothing returns an error.
package rig

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

// Main runs a package's tests, as many at once as said: they wait for servers
// and deadlines most of the time.
//
//	func TestMain(m *testing.M) { rig.Main(m, 4) }
func Main(m *testing.M, parallel int) {
	err := flag.Set("test.parallel", strconv.Itoa(parallel))
	if err == nil {
		built.dir, err = os.MkdirTemp("", "rotator-rig-")
	}
	if err == nil {
		err = os.Chmod(built.dir, 0o755) //nolint:gosec // so that other users can run the program, too
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	allowCores()
	code := m.Run() // the shared servers go away with the process
	_ = os.RemoveAll(built.dir)
	os.Exit(code)
}

// allowCores lets processes dump core as far as the system allows, so that
// only their own precautions keep them from it.
func allowCores() {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_CORE, &l) == nil {
		l.Cur = l.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &l) // lowering nothing, it cannot fail
	}
}

var built struct {
	dir  string
	once sync.Once
	err  error
}

// Program builds rotator, once, and returns its path.
func Program(t testing.TB) string {
	t.Helper()
	path := filepath.Join(built.dir, "rotator")
	built.once.Do(func() {
		cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "go", "build", "-o", path, "rotator/cmd/rotator") //nolint:gosec // a path of ours
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatalf("building rotator: %v", built.err)
	}
	return path
}
