package audit_test

import (
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"rotator/internal/audit"
)

const (
	spillProcessEnv = "ROTATOR_TEST_SPILL_PROCESS"
	spillDirEnv     = "ROTATOR_TEST_SPILL_DIR"
)

// spillProcesses is what processes started by startProcess do in a directory.
var spillProcesses = map[string]func(dir string){
	"live": liveProcess,
	"full": fullProcess,
}

// startProcess runs this test binary as one of spillProcesses.
func startProcess(t *testing.T, act, dir string) *osexec.Cmd {
	t.Helper()
	cmd := osexec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), spillProcessEnv+"="+act, spillDirEnv+"="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

// liveProcess spills one event, says so, and lives on until it is killed.
func liveProcess(dir string) {
	s, err := audit.OpenSpill(dir, "other")
	if err == nil {
		err = s.Write(stamped("of the other process"))
	}
	fmt.Println(err)
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = s.Close()
}

// fullProcess fills a disk that ends in the middle of a line, twice, and goes
// on when there is room again. It prints what was acknowledged.
func fullProcess(dir string) {
	signal.Ignore(syscall.SIGXFSZ)
	s, err := audit.OpenSpill(dir, "full")
	for _, room := range []uint64{1_111, 2_222, 1 << 20} {
		limit := syscall.Rlimit{Cur: room, Max: 1 << 30}
		if err == nil {
			err = syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit)
		}
		for i := 0; err == nil && i < 9; i++ {
			e := stamped(fmt.Sprintf("%d.%d %s", room, i, strings.Repeat("x", 150)))
			if s.Write(e) == nil {
				fmt.Println(e.ID)
			}
		}
	}
	if err != nil {
		fmt.Println(err)
	}
	// Without Close, as if it were killed now.
}
