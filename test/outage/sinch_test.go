package outage_test

import (
	"net/http"
	"testing"

	"rotator/internal/sinch/sinchtest"
	"rotator/test/rig"
)

func TestSinchDownAtStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rig.Config{})
	w.fleet()
	w.Sim.SetDown(true)
	w.Run(2, "run-now")
	if sent := w.Gate.Sent(); len(sent) > 0 {
		t.Errorf("sent while Sinch was down: %+v", sent)
	}
	w.Sim.SetDown(false)
	w.converge(afterwards)
}

// TestSinchLostInARun: Sinch goes away when it has made a key, whose secret
// has arrived and cannot be proven any more.
func TestSinchLostInARun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rig.Config{})
	w.fleet()
	arrived, release := w.HoldSinch(true, sinchtest.Fault{Operation: "access_keys.create"})
	p := w.Start("run-now")
	p.Await(arrived)
	w.Sim.SetDown(true)
	release()
	p.Exits(3)
	if n := w.Gate.Count("vault.write"); n > 0 {
		t.Errorf("Vault was written %d times with a key that was not proven", n)
	}
	w.Sim.SetDown(false)
	w.converge(afterwards)
	if n := w.Events("key.orphan_deleted"); n != 1 {
		t.Errorf("%d orphans deleted, want 1", n)
	}
}

// TestRateLimitStorm: one operation answers nothing but 429 for a whole run.
func TestRateLimitStorm(t *testing.T) {
	t.Parallel()
	exits := map[string]int{
		"token.exchange":     2,
		"subprojects.list":   3, // the rig.Parent is looked at nevertheless
		"access_keys.list":   2, // no project can be looked at
		"access_keys.create": 3,
		"access_keys.get":    2, // rotator cannot find out which key is its own
		"access_keys.update": 0, // a mark for people
		"access_keys.delete": 3,
	}
	for op, exit := range exits {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rig.Config{})
			w.fleet()
			calm := w.Sim.Fault(sinchtest.Fault{Operation: op, Do: sinchtest.RateLimited("")})
			w.Run(exit, "run-now")
			if w.Sim.Counts()[op+" 429"] == 0 {
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
	w := newWorld(t, rig.Config{})
	w.fleet()
	for _, op := range []string{
		"subprojects.list", "access_keys.list", "access_keys.create", "access_keys.get", "access_keys.update", "access_keys.delete",
	} {
		w.Sim.Fault(sinchtest.Fault{Operation: op, Times: 1, Do: sinchtest.ExpireTokens()})
	}
	w.Run(0, "run-now")
	if n := w.Sim.Counts()["access_keys.create 401"]; n != 1 {
		t.Errorf("%d creates were refused for their token, want 1", n)
	}
	w.check(afterwards)
}

// TestTokenEndpointDownForNewKey: the new key cannot be proven, so consumers
// never see it, and it goes again.
func TestTokenEndpointDownForNewKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rig.Config{})
	old := w.Due("due")
	mend := w.Gate.On(-1, func(r *http.Request) bool {
		id, _, ok := r.BasicAuth()
		return ok && id != w.Own.KeyID
	}, rig.Drop)
	w.Run(3, "run-now")
	if named := w.CheckNamed("due", "billing"); named != old.KeyID {
		t.Errorf("Vault names %s, want the old key", named)
	}
	if n := w.Gate.Count("vault.write|" + w.Path("due", "billing") + "|0"); n > 0 {
		t.Errorf("the path was written %d times", n)
	}
	mend()
	w.converge(map[string]int{rig.Parent: 1, "due": 2})
}
