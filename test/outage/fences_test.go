package outage_test

import (
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"

	"rotator/internal/sinch/sinchtest"
	"rotator/test/rig"
)

const (
	// projects is how many the processes of TestFences share.
	projects = 100
	// atOnce is how many each of them works on at a time.
	atOnce = 4
)

// TestFences: of three processes at work on the same projects one is frozen
// past its leases, one is killed. Each credential is rotated exactly once.
func TestFences(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rig.Config{
		Sim: sinchtest.Config{Latency: 5 * time.Millisecond},
		Env: []string{"ROTATOR_LEASE=3s", fmt.Sprint("ROTATOR_CONCURRENCY=", atOnce)},
	})
	want := map[string]int{rig.Parent: 1}
	for n := range projects {
		project := fmt.Sprintf("p%03d", n)
		w.Due(project)
		want[project] = 2
	}
	both := rig.NewHeld(t) // no key is created before both have one in hand
	w.Gate.On(-1, func(r *http.Request) bool { return r.Method == http.MethodPost && rig.KeyPath.MatchString(r.URL.Path) },
		func(w http.ResponseWriter, _ *http.Request, pass func(http.ResponseWriter)) { <-both.Free; pass(w) })
	frozen, dead := w.Start("run-now"), w.Start("run-now")
	w.Until("both to be at work", func() bool { return len(w.Gate.Creates()) == 2*atOnce })
	both.Release()
	frozen.Signal(syscall.SIGSTOP)
	begun := len(w.Gate.Creates())
	w.Until("the other to go on", func() bool {
		select {
		case <-dead.Ended:
			t.Fatalf("a process froze, and the other ended: exit code %d\n%s", dead.Wait(), dead.Log())
		default:
		}
		return len(w.Gate.Creates()) >= begun+20
	})
	dead.Kill()
	third := w.Start("run-now")
	third.Exits(0, 3, 5)
	w.Outlast()
	frozen.Signal(syscall.SIGCONT)
	frozen.Exits(0, 3, 5)
	w.converge(want)
	w.checkRotatedOnce()
}

// checkRotatedOnce: no credential has two publications.
func (w *world) checkRotatedOnce() {
	w.T.Helper()
	const made = ` join audit.event c on c.key_id = p.key_id and c.type = 'rotation.created' where p.type = 'rotation.published'`
	for _, twice := range w.Strings(`select p.project_id from audit.event p ` + made + `
		group by p.project_id, p.credential having count(distinct p.key_id) <> 1`) {
		w.T.Errorf("%s was rotated more than once", twice)
	}
	if n := w.One(`select count(distinct p.project_id) from audit.event p ` + made); n != projects {
		w.T.Errorf("%d projects were rotated, want %d", n, projects)
	}
}

// step is where a process is frozen.
type step struct {
	name string
	hold func(w *world) (arrived <-chan struct{}, release func())
}

var steps = []step{
	{"the answer of a create", func(w *world) (<-chan struct{}, func()) {
		return w.HoldSinch(true, sinchtest.Fault{Operation: "access_keys.create"})
	}},
	{"a publication", func(w *world) (<-chan struct{}, func()) {
		h := rig.NewHeld(w.T)
		w.Gate.On(1, rig.Publishing("billing"), h.Before)
		return h.Arrived, h.Release
	}},
	{"the last look before a delete", func(w *world) (<-chan struct{}, func()) {
		return w.HoldSinch(true, sinchtest.Fault{Operation: "access_keys.list", Project: "retire", After: 1})
	}},
}

// TestFrozenInAStep: a process is frozen with something in hand, another takes
// the project over, and then the first goes on: it must notice, and change
// nothing any more.
func TestFrozenInAStep(t *testing.T) {
	t.Parallel()
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rig.Config{Env: []string{"ROTATOR_LEASE=3s"}})
			w.fleet()
			arrived, release := step.hold(w)
			p := w.Start("run-now")
			p.Await(arrived)
			p.Signal(syscall.SIGSTOP)
			w.Outlast()
			release()
			w.Run(0, "run-now")
			named, before := w.CheckNamed("due", "billing"), len(w.Gate.Sent())
			p.Signal(syscall.SIGCONT)
			p.Exits(0, 3, 5)
			for _, s := range w.Gate.Sent()[before:] {
				t.Errorf("sent under a stale lease: %s", s.What)
			}
			if n := w.Events("lease.lost"); n == 0 {
				t.Errorf("the log does not tell that the lease was lost:\n%s", p.Log())
			}
			if now := w.CheckNamed("due", "billing"); now != named {
				t.Errorf("Vault names %s, not %s any more", now, named)
			}
			w.converge(afterwards)
		})
	}
}
