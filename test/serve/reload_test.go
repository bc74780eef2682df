package serve_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"rotator/test/rig"
)

// TestReload: SIGHUP takes over what a file says now, and names what it cannot;
// a file that is wrong changes nothing.
func TestReload(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rig.Config{Env: []string{"ROTATOR_SCHEDULE=@hourly"}})
	w.Set("ROTATOR_INCLUDE", "")
	path := filepath.Join(t.TempDir(), "rotator.env")
	write := func(lines ...string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("ROTATOR_INCLUDE=nothing-*")
	w.Due("due")
	d := w.serve("--env-file", path)
	w.Until("a run", func() bool { return w.runs() == 1 })

	write("ROTATOR_INCLUDE=billing", "ROTATOR_MAX_AGE=soon")
	d.Signal(syscall.SIGHUP)
	w.Until("it to say what is wrong", func() bool { return strings.Contains(d.Log(), "ROTATOR_MAX_AGE") })
	if w.runs() != 1 || len(w.Gate.Creates()) > 0 {
		t.Error("a file that is wrong was taken over")
	}

	write("ROTATOR_INCLUDE=billing", "ROTATOR_MAX_AGE=60d", "ROTATOR_TASTE=salty", "LOG_LEVEL=debug", "AUDIT_CHECKPOINT_INTERVAL=30s")
	d.Signal(syscall.SIGHUP)
	w.rotated(1)
	d.Says(`"changed":["ROTATOR_INCLUDE","ROTATOR_MAX_AGE"],"needs_restart":["AUDIT_CHECKPOINT_INTERVAL"]`)
	if n := w.One(`select count(*) from audit.event where type = 'policy.changed' and project_id is null
		and body ->> 'reason' = 'SIGHUP: ROTATOR_INCLUDE, ROTATOR_MAX_AGE' and (body ->> 'max_age_s')::int = 60 * 86400`); n != 1 {
		t.Errorf("the log tells of %d changes by a signal, want 1", n)
	}
	d.stop()
	w.Check(map[string]int{"due": 2})
}
