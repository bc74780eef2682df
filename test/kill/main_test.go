// Package kill_test kills the real binary with SIGKILL: before and after every
// step that changes something (TestMatrix), and at random moments
// (TestRandom). Afterwards it runs again, and the fleet must converge.
//
// rotator talks to a simulated Sinch, a real Vault and a real Postgres, each
// behind a gate of the test's:
//
//	rotator ─┬─ HTTP ─ gate ─ sinchtest      each request and each commit is a
//	         ├─ HTTP ─ gate ─ Vault          step: it is noted, and held before
//	         └─ wire ─ gate ─ Postgres       or after it takes effect, if asked
package kill_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// parallel is how many worlds are tried at once. More of them than processors
// wait for one another's commits most of the time.
const parallel = "6"

func TestMain(m *testing.M) {
	err := flag.Set("test.parallel", parallel)
	if err == nil {
		built.dir, err = os.MkdirTemp("", "rotator-kill-")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(built.dir)
	os.Exit(code)
}

var built struct {
	dir  string
	once sync.Once
	err  error
}

// program builds rotator, once, and returns its path.
func program(t *testing.T) string {
	t.Helper()
	path := filepath.Join(built.dir, "rotator")
	built.once.Do(func() {
		cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "go", "build", "-o", path, "../../cmd/rotator")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatalf("building rotator: %v", built.err)
	}
	return path
}
