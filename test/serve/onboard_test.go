package serve_test

import (
	"strings"
	"testing"
	"time"

	"rotator/internal/sinch/sinchtest"
	"rotator/test/rig"
)

// quiet fails the test if the log of a process, or the installation's, tells of
// a failure.
func (w *world) quiet(processes ...*rig.Process) {
	w.T.Helper()
	for _, p := range processes {
		for line := range strings.Lines(p.Log()) {
			if strings.Contains(line, `"level":"ERROR"`) || strings.Contains(line, `"action":"failed"`) {
				w.T.Errorf("a failure is told: %s", line)
			}
		}
	}
	if n := w.One(`select count(*) from rotator.problem`); n > 0 {
		w.T.Errorf("%d problems stand", n)
	}
	if n := w.One(`select count(*) from rotator.project where failures > 0`); n > 0 {
		w.T.Errorf("%d projects count as failed", n)
	}
}

// created is how many creates were sent for a project.
func (w *world) created(project string) (n int) {
	w.T.Helper()
	for _, s := range w.Gate.All() {
		if strings.HasPrefix(s.What, "access_keys.create|") && strings.Contains(s.What, "|"+project+"|") {
			n++
		}
	}
	return n
}

// TestOnboard: a subproject that somebody makes while two replicas serve is
// found, waited for until Sinch is ready, and gets one first key, which is
// published; nobody takes its youth for a failure.
func TestOnboard(t *testing.T) {
	t.Parallel()
	const delay = 5 * time.Second
	w := newWorld(t, rig.Config{Sim: sinchtest.Config{ReadyDelay: delay}, Env: []string{"ROTATOR_ONBOARD=billing"}})
	first, second := w.serve(), w.serve()
	w.Until("a run", func() bool { return w.runs() > 0 })
	w.Sim.NewSubproject(rig.Parent, "p1", "Project 1")
	made := time.Now()
	w.Until("it to be found", func() bool { return w.One(`select count(*) from rotator.project where id = 'p1'`) == 1 })
	if took := time.Since(made); took > delay {
		t.Errorf("it was found %s after it was made, with a run every second", took)
	}
	p := w.Run(0, "plan")
	p.Says("not ready yet")
	w.Run(0, "keys")
	w.Until("the first key", func() bool {
		_, key, _, err := w.Named(w.Path("p1", "billing"))
		return err == nil && key != ""
	})
	if took := time.Since(made); took < delay {
		t.Errorf("the first key came after %s, before Sinch was ready", took)
	}
	runs := w.runs()
	w.Until("some more runs", func() bool { return w.runs() >= runs+4 })
	for _, d := range []*daemon{first, second} {
		d.stop()
	}
	w.quiet(first.Process, second.Process)
	w.Converge()
	w.Credentials = append(w.Credentials, rig.Credential{Project: "p1", Name: "billing"})
	w.Check(map[string]int{"p1": 1})
	if n := w.created("p1"); n != 1 {
		t.Errorf("%d creates were sent, want 1", n)
	}
	if skipped := strings.Contains(first.Log()+second.Log(), "not ready yet"); !skipped {
		t.Error("no run has met the subproject before it was ready")
	}
}

// TestOnboardRefusedYoung: Sinch lists a new subproject's keys already, and
// refuses to make one: it is not ready, and one key is made when it is.
func TestOnboardRefusedYoung(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rig.Config{Env: []string{"ROTATOR_ONBOARD=billing"}})
	w.Sim.Fault(sinchtest.Fault{Operation: "access_keys.create", Project: "p1", Times: 2, Do: sinchtest.Status(403)})
	d := w.serve()
	w.Until("a run", func() bool { return w.runs() > 0 })
	w.Sim.NewSubproject(rig.Parent, "p1", "Project 1")
	w.Until("the first key", func() bool {
		_, key, _, err := w.Named(w.Path("p1", "billing"))
		return err == nil && key != ""
	})
	d.stop()
	w.quiet(d.Process)
	d.Says("not ready yet")
	w.Converge()
	w.Credentials = append(w.Credentials, rig.Credential{Project: "p1", Name: "billing"})
	w.Check(map[string]int{"p1": 1})
	if n := w.created("p1"); n != 3 {
		t.Errorf("%d creates were sent, want two that were refused and one", n)
	}
}

// TestOnboardNow: run-now finds a new subproject, too, and is content while
// that is not ready. Without ROTATOR_ONBOARD nothing is made.
func TestOnboardNow(t *testing.T) {
	t.Parallel()
	const delay = 4 * time.Second
	w := newWorld(t, rig.Config{Sim: sinchtest.Config{ReadyDelay: delay}})
	w.Sim.NewSubproject(rig.Parent, "p1", "Project 1")
	ready := time.Now().Add(delay)
	early := w.Run(0, "run-now", "-o", "json")
	if time.Now().Before(ready) {
		early.Says("not ready yet")
	}
	time.Sleep(time.Until(ready))
	w.Run(0, "run-now")
	if n := len(w.Sim.Keys("p1")) + w.created("p1"); n > 0 {
		t.Errorf("without ROTATOR_ONBOARD %d keys were made", n)
	}
	w.Set("ROTATOR_ONBOARD", "billing")
	w.Run(0, "plan").Says("the project has no credential yet (ROTATOR_ONBOARD)")
	w.Run(0, "run-now").Says("rotated")
	w.Run(0, "run-now")
	w.quiet(early)
	w.Credentials = append(w.Credentials, rig.Credential{Project: "p1", Name: "billing"})
	w.Check(map[string]int{"p1": 1, rig.Parent: 1})
	if n := w.created("p1"); n != 1 {
		t.Errorf("%d creates were sent, want 1", n)
	}
}
