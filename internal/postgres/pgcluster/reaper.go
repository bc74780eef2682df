package pgcluster

import (
	"fmt"
	"io"
	"os/exec"
	"syscall"
)

// reapScript reads "<pid> <data directory>" lines, the last of which counts,
// until our end of the pipe closes: by dismiss, or because we died. Then it
// crash-stops what still runs and removes the directories in its arguments.
// Postgres removes postmaster.pid as the last thing, which is a better sign
// than the process: nobody may be there to collect its exit status.
const reapScript = `pid=0; data=
while read -r p d; do pid=$p data=$d; done
if [ "$pid" -gt 1 ] && kill -QUIT "$pid" 2>/dev/null; then
  n=0
  while [ -e "$data/postmaster.pid" ] && [ "$n" -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
fi
[ "$#" -eq 0 ] || rm -rf -- "$@"`

// reaper is a shell that outlives us for a moment, so that not even SIGKILL
// leaves a server or its files behind.
type reaper struct {
	cmd  *exec.Cmd
	pipe io.WriteCloser
}

func startReaper(remove []string) (*reaper, error) {
	args := append([]string{"-c", reapScript, "reaper"}, remove...)
	cmd := exec.Command("/bin/sh", args...) //nolint:gosec,noctx // arguments are ours; it must outlive every context
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("making its pipe: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting its shell: %w", err)
	}
	return &reaper{cmd: cmd, pipe: pipe}, nil
}

// watch names the server to stop; 0 is none.
func (r *reaper) watch(pid int, dataDir string) error {
	if _, err := fmt.Fprintf(r.pipe, "%d %s\n", pid, dataDir); err != nil {
		return fmt.Errorf("telling the reaper: %w", err)
	}
	return nil
}

// dismiss ends the reaper, after its work.
func (r *reaper) dismiss() error {
	if err := r.pipe.Close(); err != nil {
		return fmt.Errorf("dismissing the reaper: %w", err)
	}
	if err := r.cmd.Wait(); err != nil {
		return fmt.Errorf("waiting for the reaper: %w", err)
	}
	return nil
}
