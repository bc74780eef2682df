package outage_test

import (
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"

	"rotator/internal/sinch/sinchtest"
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
	w := newWorld(t, setting{
		sim: sinchtest.Config{Latency: 5 * time.Millisecond},
		env: []string{"ROTATOR_LEASE=3s", fmt.Sprint("ROTATOR_CONCURRENCY=", atOnce)},
	})
	want := map[string]int{parent: 1}
	for n := range projects {
		project := fmt.Sprintf("p%03d", n)
		w.due(project)
		want[project] = 2
	}
	both := newHeld(t) // no key is created before both have one in hand
	w.gate.on(-1, func(r *http.Request) bool { return r.Method == http.MethodPost && keyPath.MatchString(r.URL.Path) },
		func(_ http.ResponseWriter, _ *http.Request, pass func()) { <-both.free; pass() })
	frozen, dead := w.start("run-now"), w.start("run-now")
	w.until("both to be at work", func() bool { return len(w.creates()) == 2*atOnce })
	both.release()
	frozen.signal(syscall.SIGSTOP)
	begun := len(w.creates())
	w.until("the other to go on", func() bool {
		select {
		case <-dead.ended:
			t.Fatalf("a process froze, and the other ended: exit code %d\n%s", dead.wait(), dead.log())
		default:
		}
		return len(w.creates()) >= begun+20
	})
	dead.kill()
	third := w.start("run-now")
	third.exits(0, 3, 5)
	w.outlast()
	frozen.signal(syscall.SIGCONT)
	frozen.exits(0, 3, 5)
	w.converge(want)
	w.checkRotatedOnce()
}

// checkRotatedOnce: no credential has two publications.
func (w *world) checkRotatedOnce() {
	w.t.Helper()
	const made = ` join audit.event c on c.key_id = p.key_id and c.type = 'rotation.created' where p.type = 'rotation.published'`
	for _, twice := range w.strings(`select p.project_id from audit.event p ` + made + `
		group by p.project_id, p.credential having count(distinct p.key_id) <> 1`) {
		w.t.Errorf("%s was rotated more than once", twice)
	}
	if n := w.one(`select count(distinct p.project_id) from audit.event p ` + made); n != projects {
		w.t.Errorf("%d projects were rotated, want %d", n, projects)
	}
}

// step is where a process is frozen.
type step struct {
	name string
	hold func(w *world) (arrived <-chan struct{}, release func())
}

var steps = []step{
	{"the answer of a create", func(w *world) (<-chan struct{}, func()) {
		return w.holdSinch(true, sinchtest.Fault{Operation: "access_keys.create"})
	}},
	{"a publication", func(w *world) (<-chan struct{}, func()) {
		h := newHeld(w.t)
		w.gate.on(1, publishing("billing"), h.before)
		return h.arrived, h.release
	}},
	{"the last look before a delete", func(w *world) (<-chan struct{}, func()) {
		return w.holdSinch(true, sinchtest.Fault{Operation: "access_keys.list", Project: "retire", After: 1})
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
			w := newWorld(t, setting{env: []string{"ROTATOR_LEASE=3s"}})
			w.fleet()
			arrived, release := step.hold(w)
			p := w.start("run-now")
			w.await(arrived, p)
			p.signal(syscall.SIGSTOP)
			w.outlast()
			release()
			w.run(0, "run-now")
			named, before := w.checkNamed("due", "billing"), len(w.gate.mutations())
			p.signal(syscall.SIGCONT)
			p.exits(0, 3, 5)
			for _, s := range w.gate.mutations()[before:] {
				t.Errorf("sent under a stale lease: %s", s.what)
			}
			if n := w.events("lease.lost"); n == 0 {
				t.Errorf("the log does not tell that the lease was lost:\n%s", p.log())
			}
			if now := w.checkNamed("due", "billing"); now != named {
				t.Errorf("Vault names %s, not %s any more", now, named)
			}
			w.converge(afterwards)
		})
	}
}
