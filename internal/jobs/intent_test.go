package jobs_test

import (
	"fmt"
	"testing"

	"rotator/internal/jobs"
	"rotator/internal/postgres/pgtest"
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
