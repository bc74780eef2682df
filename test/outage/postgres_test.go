package outage_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rotator/internal/sinch/sinchtest"
	"rotator/test/rig"
)

func TestPostgresDownAtStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rig.Config{OwnPostgres: true})
	w.fleet()
	w.Crash()
	w.Run(2, "run-now").Says("Postgres")
	if n := len(w.Sim.Requests()) + len(w.Gate.All()); n > 0 {
		t.Errorf("%d requests were sent without a log", n)
	}
	w.Recover()
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
			h := rig.NewHeld(w.T)
			w.Gate.On(1, func(r *http.Request) bool { return r.URL.Path == "/v1/sys/capabilities-self" }, h.Before)
			return h.Arrived, h.Release
		},
	},
	{
		name: "after a create",
		hold: func(w *world) (<-chan struct{}, func()) {
			return w.HoldSinch(true, sinchtest.Fault{Operation: "access_keys.create"})
		},
		spilled: "access_keys.create",
	},
	{
		name: "after the write to Vault",
		hold: func(w *world) (<-chan struct{}, func()) {
			h := rig.NewHeld(w.T)
			w.Gate.On(1, rig.Publishing("billing"), h.After)
			return h.Arrived, h.Release
		},
		spilled: "vault.write",
	},
	{
		name: "after a delete",
		hold: func(w *world) (<-chan struct{}, func()) {
			return w.HoldSinch(true, sinchtest.Fault{Operation: "access_keys.delete"})
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
			w := newWorld(t, rig.Config{OwnPostgres: true, Env: []string{"ROTATOR_LEASE=5s"}})
			w.fleet()
			arrived, release := m.hold(w)
			p := w.Start("run-now")
			p.Await(arrived)
			w.Crash()
			before := len(w.Gate.Sent())
			release()
			p.Exits(2)
			if n := len(w.Gate.Sent()); n != before {
				t.Errorf("%d changes were sent while the log could not be written: %+v", n-before, w.Gate.Sent()[before:])
			}
			text := w.spill()
			if got := strings.Contains(text, `"op":"`+m.spilled+`"`); m.spilled != "" && !got {
				t.Errorf("the outcome of %s is not in the spill: %q\n%s", m.spilled, text, p.Log())
			}
			w.Recover()
			w.converge(afterwards)
			if w.Events("audit.spill_replayed") == 0 && text != "" {
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
	w := newWorld(t, rig.Config{OwnPostgres: true})
	w.fleet()
	arrived, release := w.HoldSinch(true, sinchtest.Fault{Operation: "access_keys.create"})
	p := w.Start("run-now")
	p.Await(arrived)
	w.Crash()
	release()
	w.Recover()
	p.Exits(0, 3) // a read of the database in the wrong moment fails its project
	w.converge(afterwards)
}

// spill is what stands in the spill files.
func (w *world) spill() string {
	w.T.Helper()
	names, err := filepath.Glob(filepath.Join(w.State, "*.jsonl*"))
	if err != nil {
		w.T.Fatal(err)
	}
	var text strings.Builder
	for _, name := range names {
		body, err := os.ReadFile(name)
		if err != nil {
			w.T.Fatal(err)
		}
		text.Write(body)
	}
	return text.String()
}
