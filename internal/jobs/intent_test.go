package jobs_test

import (
	"fmt"
	"testing"

	"rotator/internal/audit"
	"rotator/internal/jobs"
	"rotator/internal/postgres/pgtest"
	"rotator/internal/sinch/sinchtest"
)

// TestNoMutationWithoutItsIntent: the log takes everything but the intent of
// one operation. No such call is sent; the next run, with the log whole again,
// does what was left.
func TestNoMutationWithoutItsIntent(t *testing.T) {
	t.Parallel()
	for operation, endpoint := range map[string]string{ // endpoint: Vault's; empty: Sinch
		"access_keys.create": "", "access_keys.update": "", "access_keys.delete": "",
		"vault.metadata": "metadata", "vault.write": "data",
	} {
		t.Run(operation, func(t *testing.T) {
			t.Parallel()
			g := newRig(t)
			g.project("p1", "api", 89*day)
			sent := func() (n int) {
				if endpoint == "" {
					return g.sent(operation)
				}
				for _, r := range g.proxy.Seen() {
					if g.onVault(endpoint)(r) {
						n++
					}
				}
				return n
			}
			admin := pgtest.Admin(t, g.pool)
			stage := func(sql string) {
				if _, err := admin.Exec(t.Context(), sql); err != nil {
					t.Fatal(err)
				}
			}
			stage(fmt.Sprintf(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
				IF NEW.project_id = 'p1' AND NEW.phase = 'intent' AND NEW.operation = '%s' THEN RAISE check_violation; END IF; RETURN NEW; END $$`, operation))
			stage(`CREATE TRIGGER refuse AFTER INSERT ON audit.event FOR EACH ROW EXECUTE FUNCTION refuse()`)
			g.run(jobs.Order{}, overlap(0))
			if n := sent(); n != 0 {
				t.Errorf("%d calls were sent whose intent is not in the log", n)
			}
			stage(`DROP TRIGGER refuse ON audit.event`)
			g.wantExit(g.run(jobs.Order{}, overlap(0)), jobs.ExitConverged)
			if g.consistent("p1", "api"); operation != "access_keys.update" && sent() == 0 {
				t.Error("the operation was never tried: this test proves nothing")
			}
		})
	}
}

// TestIntentTakesAlong: what led to a create and to a publication is committed
// with its intent.
func TestIntentTakesAlong(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.project("p1", "api", 89*day)
	g.only(g.run(jobs.Order{}), jobs.Rotated)
	admin := pgtest.Admin(t, g.pool)
	for led, to := range map[string]string{"rotation.planned": "access_keys.create", "rotation.verified": "vault.write"} {
		var together int
		err := admin.QueryRow(t.Context(), `SELECT count(*) FROM audit.event_000000000000000 e JOIN audit.event_000000000000000 i ON i.xmin = e.xmin AND i.seq = e.seq + 1
			WHERE e.type = $1 AND i.operation = $2 AND i.phase = 'intent' AND i.rotation_id = e.rotation_id`, led, to).Scan(&together)
		if err != nil || together != 1 {
			t.Errorf("%d of %s with the intent of %s: %v", together, led, to, err)
		}
	}
}

// TestPlanWithoutIntent: a create of which not even the intent was made, for want
// of a token, was planned and has failed all the same.
func TestPlanWithoutIntent(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.project("p1", "api", 89*day)
	g.sim.Fault(sinchtest.Fault{Operation: "access_keys.create", Times: 1, Do: sinchtest.ExpireTokens()})
	g.sim.Fault(sinchtest.Fault{Operation: "token.exchange", After: 1, Times: 1, Do: sinchtest.Status(403)})
	if res := g.only(g.run(jobs.Order{}), jobs.Failed); res.Step != "create" {
		t.Errorf("failed at %s: %s", res.Step, res.Error)
	}
	told := map[string]int{}
	for _, e := range g.events(audit.Filter{Project: "p1"}) {
		told[e.Type+" "+e.Op+" "+string(e.Phase)]++
	}
	for what, want := range map[string]int{"rotation.planned  ": 2, "api.call access_keys.create intent": 1, "rotation.failed  ": 2} {
		if told[what] != want {
			t.Errorf("%d of %q, want %d: %v", told[what], what, want, told)
		}
	}
	g.wantExit(g.run(jobs.Order{}), jobs.ExitConverged)
	g.consistent("p1", "api")
}
