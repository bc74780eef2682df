// Package outage_test takes away from the real binary what it depends on, at
// the worst moments: Postgres, Vault, Sinch, its lease, its life. Whatever
// happens, nothing is changed without a committed intent, the log stays whole,
// and the next runs converge.
//
//	rotator ─┬─ HTTP ─ gate ─ sinchtest     the gate notes what changes
//	         ├─ HTTP ─ gate ─ Vault         something, and holds, delays or
//	         └─ socket ───── Postgres       drops requests, if asked
package outage_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// parallel is how many worlds are tried at once: most of their time is
// waiting for deadlines.
const parallel = "4"

func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", parallel); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	allowCores()
	code := m.Run() // the shared servers go away with the process
	if built.path != "" {
		_ = os.RemoveAll(filepath.Dir(built.path))
	}
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
	once sync.Once
	path string
	err  error
}

// program builds rotator, once, and returns its path.
func program(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		dir, err := os.MkdirTemp("", "rotator-outage-") //nolint:usetesting // it outlives the test
		if err != nil {
			built.err = err
			return
		}
		built.path = filepath.Join(dir, "rotator")
		cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "go", "build", "-o", built.path, "../../cmd/rotator")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = errors.Join(err, errors.New(string(out)))
		}
	})
	if built.err != nil {
		t.Fatalf("building rotator: %v", built.err)
	}
	return built.path
}
