// Package outage_test takes away from the real binary what it depends on, at
// the worst moments: Postgres, Vault, Sinch, its lease, its life. Whatever
// happens, nothing is changed without a committed intent, the log stays whole,
// and the next runs converge. Package rig has the world in which it runs.
package outage_test

import (
	"testing"

	"rotator/test/rig"
)

func TestMain(m *testing.M) { rig.Main(m, 4) }

const day = rig.Day

// world is a rig's, and what its tests have in common.
type world struct{ *rig.World }

// newWorld makes a world whose gate asks the log for the intent of each change
// as it arrives.
func newWorld(t *testing.T, cfg rig.Config) *world {
	t.Helper()
	cfg.Env = append([]string{"SINCH_TIMEOUT=5s", "SINCH_VERIFY_TIMEOUT=4s", "ROTATOR_LEASE=20s"}, cfg.Env...)
	w := &world{rig.New(t, cfg)}
	w.Gate.Vouch = w.Vouched
	return w
}

// fleet is one project in which a key is due, and one in which a key's
// overlap has passed; afterwards is how many keys there are in the end.
func (w *world) fleet() {
	w.T.Helper()
	w.Due("due")
	w.Past("retire")
}

var afterwards = map[string]int{rig.Parent: 1, "due": 2, "retire": 1}

// converge runs rotator until it says that everything is as it should be, and
// checks that it is: each project has as many keys as wanted.
func (w *world) converge(want map[string]int) {
	w.T.Helper()
	w.Outlast()
	w.Converge()
	w.check(want)
}

func (w *world) check(want map[string]int) {
	w.T.Helper()
	w.Check(want)
	w.CheckAnswers()
}
