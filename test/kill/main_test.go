// Package kill_test kills the real binary with SIGKILL: before and after every
// step that changes something (TestMatrix), and at random moments
// (TestRandom). Afterwards it runs again, and the fleet must converge. At
// other random moments it is told to stop (TestStop).
//
// Package rig has the world in which it runs. Each request and each commit is
// a step: it is noted, and held before or after it takes effect, if asked.
// For that the way to Postgres leads through a gate, too (wire_test.go).
package kill_test

import (
	"testing"

	"rotator/test/rig"
)

// More worlds at once than processors: they wait for one another's commits
// most of the time.
func TestMain(m *testing.M) { rig.Main(m, 10) }
