package kill_test

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rotator/test/rig"
)

const (
	day    = rig.Day
	parent = rig.Parent
)

// world is a rig's whose every step passes a gate. What must never be broken
// is looked at all the time.
type world struct {
	*rig.World
	gate   *gate
	sample *sampler
	lag    atomic.Pointer[lag] // nil: none
}

// lag is how long each step at Sinch and at Vault takes from now on, but for
// the log's own, before it is applied or after it. It happens although nobody may wait for it any more.
type lag struct {
	time    time.Duration
	applied bool
}

// pace is how long requests and commits take on their way, at least and at
// most; the zero pace is no delay.
type pace struct{ sinch, vault, postgres span }

// span is a range of durations.
type span struct{ least, most time.Duration }

func (s span) draw() time.Duration {
	if s.most <= s.least {
		return s.least
	}
	return s.least + rand.N(s.most-s.least)
}

func newWorld(t *testing.T, p pace) *world {
	t.Helper()
	w := &world{World: rig.New(t, rig.Config{}), gate: &gate{}}
	w.gate.expect(nil, nil)
	w.Gate.On(-1, func(*http.Request) bool { return true }, w.step(p))
	w.Set("DATABASE_URL", w.gate.wire(t, w.Link, p.postgres.draw))
	w.sample = startSampler(w.World)
	return w
}

// step is what becomes of each request that is one: it takes its time, and is
// held if it is the one to be held. Its answer is never sent then.
func (w *world) step(p pace) rig.Action {
	sinchStep, vaultStep := sinchLabel(w.Own.KeyID), vaultLabel(w.Prefix)
	return func(answer http.ResponseWriter, r *http.Request, pass func(http.ResponseWriter)) {
		name, takes, atVault := sinchStep(r), p.sinch, false
		if name == "" {
			name, takes, atVault = vaultStep(r), p.vault, true
		}
		if name == "" {
			pass(answer)
			return
		}
		h := w.gate.enter(name)
		time.Sleep(takes.draw())
		l := w.lag.Load()
		if strings.HasPrefix(name, logsOwn) {
			l = nil
		}
		switch {
		case h != nil && h.after:
			pass(httptest.NewRecorder())
		case h != nil:
		case l != nil:
			l.deliver(answer, pass)
		case atVault && r.Context().Err() != nil: // on its way when rotator died; what was on its way to Sinch arrives
			rig.Drop(answer, r, pass)
		default:
			pass(answer)
		}
		if h != nil {
			h.keep()
			rig.Drop(answer, r, pass)
		}
	}
}

func (l *lag) deliver(answer http.ResponseWriter, pass func(http.ResponseWriter)) {
	if l.applied {
		pass(answer)
	}
	time.Sleep(l.time)
	if !l.applied {
		pass(answer)
	}
}

// start runs rotator; its steps are counted from here.
func (w *world) start(h *hold, watch func(step), args ...string) *rig.Process {
	w.T.Helper()
	w.gate.expect(h, watch)
	return w.Start(args...)
}

// bury waits until nothing of a dead process goes on: its requests have been
// dealt with, and the server has ended its transactions.
func (w *world) bury() {
	w.T.Helper()
	w.Until("the dead process's calls to end", func() bool {
		open := w.One(`select count(*) from pg_stat_activity where datname = current_database()
			and backend_type = 'client backend' and application_name <> $1`, rig.ApplicationName)
		return open == 0 && w.gate.idle() && w.Gate.Idle()
	})
}

// converge runs rotator until it says that everything is as it should be, and
// returns how many runs that took.
func (w *world) converge(args ...string) int {
	w.T.Helper()
	w.gate.expect(nil, nil)
	return w.Converge(args...)
}
