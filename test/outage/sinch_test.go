package outage_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"rotator/internal/sinch/sinchtest"
)

func TestSinchDownAtStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.fleet()
	w.sim.SetDown(true)
	w.run(2, "run-now")
	if sent := w.gate.mutations(); len(sent) > 0 {
		t.Errorf("sent while Sinch was down: %+v", sent)
	}
	w.sim.SetDown(false)
	w.converge(afterwards)
}

// TestSinchLostInARun: Sinch goes away when it has made a key, whose secret
// has arrived and cannot be proven any more.
func TestSinchLostInARun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.fleet()
	arrived, release := w.holdSinch(true, sinchtest.Fault{Operation: "access_keys.create"})
	p := w.start("run-now")
	w.await(arrived, p)
	w.sim.SetDown(true)
	release()
	p.exits(3)
	if n := w.gate.count("vault.write"); n > 0 {
		t.Errorf("Vault was written %d times with a key that was not proven", n)
	}
	w.sim.SetDown(false)
	w.converge(afterwards)
	if n := w.events("key.orphan_deleted"); n != 1 {
		t.Errorf("%d orphans deleted, want 1", n)
	}
}

// TestRateLimitStorm: one operation answers nothing but 429 for a whole run.
func TestRateLimitStorm(t *testing.T) {
	t.Parallel()
	exits := map[string]int{
		"token.exchange":     2,
		"subprojects.list":   3, // the parent is looked at nevertheless
		"access_keys.list":   2, // no project can be looked at
		"access_keys.create": 3,
		"access_keys.get":    2, // rotator cannot find out which key is its own
		"access_keys.update": 0, // a mark for people
		"access_keys.delete": 3,
	}
	for op, exit := range exits {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{})
			w.fleet()
			calm := w.sim.Fault(sinchtest.Fault{Operation: op, Do: sinchtest.RateLimited("")})
			w.run(exit, "run-now")
			if w.sim.Counts()[op+" 429"] == 0 {
				t.Error("there was no storm")
			}
			calm()
			w.converge(afterwards)
		})
	}
}

// TestTokensExpireInARun: whenever a token has expired, the next request gets
// a new one.
func TestTokensExpireInARun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.fleet()
	for _, op := range []string{
		"subprojects.list", "access_keys.list", "access_keys.create", "access_keys.get", "access_keys.update", "access_keys.delete",
	} {
		w.sim.Fault(sinchtest.Fault{Operation: op, Times: 1, Do: sinchtest.ExpireTokens()})
	}
	w.run(0, "run-now")
	if n := w.sim.Counts()["access_keys.create 401"]; n != 1 {
		t.Errorf("%d creates were refused for their token, want 1", n)
	}
	w.check(afterwards)
}

// TestTokenEndpointDownForNewKey: the new key cannot be proven, so consumers
// never see it, and it goes again.
func TestTokenEndpointDownForNewKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	old := w.due("due")
	mend := w.gate.on(-1, func(r *http.Request) bool {
		id, _, ok := r.BasicAuth()
		return ok && id != w.own.KeyID
	}, drop)
	w.run(3, "run-now")
	if named := w.checkNamed("due", "billing"); named != old.KeyID {
		t.Errorf("Vault names %s, want the old key", named)
	}
	if n := w.gate.count("vault.write|" + w.path("due", "billing") + "|0"); n > 0 {
		t.Errorf("the path was written %d times", n)
	}
	mend()
	w.converge(map[string]int{parent: 1, "due": 2})
}

// creates are the display names of all creates, in order.
func (w *world) creates() []string {
	var names []string
	for _, s := range w.gate.mutations() {
		if rest, ok := strings.CutPrefix(s.what, "access_keys.create|"); ok {
			names = append(names, rest[strings.LastIndex(rest, "|")+1:])
		}
	}
	return slices.Clip(names)
}
