package outage_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rotator/internal/sinch/sinchtest"
)

// fleet is one project in which a key is due, and one in which a key's
// overlap has passed; afterwards is how many keys there are in the end.
func (w *world) fleet() {
	w.t.Helper()
	w.due("due")
	w.past("retire")
}

var afterwards = map[string]int{parent: 1, "due": 2, "retire": 1}

func TestPostgresDownAtStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{ownPostgres: true})
	w.fleet()
	w.crash()
	w.run(2, "run-now").says("Postgres")
	if n := len(w.sim.Requests()) + len(w.gate.mutations()); n > 0 {
		t.Errorf("%d requests were sent without a log", n)
	}
	w.recover()
	w.converge(afterwards)
}

// moment is when Postgres goes away in a run.
type moment struct {
	name    string
	hold    func(w *world) (arrived <-chan struct{}, release func())
	spilled string // operation whose outcome must be in the spill file; empty: none is changed
}

var moments = []moment{
	{
		name: "before the intent of a create",
		hold: func(w *world) (<-chan struct{}, func()) {
			h := newHeld(w.t)
			w.gate.on(1, func(r *http.Request) bool { return r.URL.Path == "/v1/sys/capabilities-self" }, h.before)
			return h.arrived, h.release
		},
	},
	{
		name: "after a create",
		hold: func(w *world) (<-chan struct{}, func()) {
			return w.holdSinch(true, sinchtest.Fault{Operation: "access_keys.create"})
		},
		spilled: "access_keys.create",
	},
	{
		name: "after the write to Vault",
		hold: func(w *world) (<-chan struct{}, func()) {
			h := newHeld(w.t)
			w.gate.on(1, publishing("billing"), h.after)
			return h.arrived, h.release
		},
		spilled: "vault.write",
	},
	{
		name: "after a delete",
		hold: func(w *world) (<-chan struct{}, func()) {
			return w.holdSinch(true, sinchtest.Fault{Operation: "access_keys.delete"})
		},
		spilled: "access_keys.delete",
	},
}

// TestPostgresLostInARun stops Postgres in the middle of a run, and starts it
// again when that has given up.
func TestPostgresLostInARun(t *testing.T) {
	t.Parallel()
	for _, m := range moments {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{ownPostgres: true, env: []string{"ROTATOR_LEASE=5s"}})
			w.fleet()
			arrived, release := m.hold(w)
			p := w.start("run-now")
			w.await(arrived, p)
			w.crash()
			before := len(w.gate.mutations())
			release()
			p.exits(2)
			if n := len(w.gate.mutations()); n != before {
				t.Errorf("%d changes were sent while the log could not be written: %+v", n-before, w.gate.mutations()[before:])
			}
			text := w.spill()
			if got := strings.Contains(text, `"op":"`+m.spilled+`"`); m.spilled != "" && !got {
				t.Errorf("the outcome of %s is not in the spill: %q\n%s", m.spilled, text, p.log())
			}
			w.recover()
			w.converge(afterwards)
			if w.events("audit.spill_replayed") == 0 && text != "" {
				t.Error("the spill was not replayed")
			}
			if left := w.spill(); left != "" {
				t.Errorf("the spill is still there: %q", left)
			}
		})
	}
}

// TestPostgresRestartsInARun: a run survives what does not last.
func TestPostgresRestartsInARun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{ownPostgres: true})
	w.fleet()
	arrived, release := w.holdSinch(true, sinchtest.Fault{Operation: "access_keys.create"})
	p := w.start("run-now")
	w.await(arrived, p)
	w.crash()
	release()
	w.recover()
	p.exits(0, 3) // a read of the database in the wrong moment fails its project
	w.converge(afterwards)
}

// spill is what stands in the spill files.
func (w *world) spill() string {
	w.t.Helper()
	names, err := filepath.Glob(filepath.Join(w.state, "*.jsonl*"))
	if err != nil {
		w.t.Fatal(err)
	}
	var text strings.Builder
	for _, name := range names {
		body, err := os.ReadFile(name)
		if err != nil {
			w.t.Fatal(err)
		}
		text.Write(body)
	}
	return text.String()
}
