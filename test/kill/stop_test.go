package kill_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"rotator/test/rig"
)

const (
	// patience is what a process has after SIGTERM where it should be enough,
	// and hurry where it should not.
	patience = 20 * time.Second
	hurry    = time.Second
	// allowance is how much longer a process may take to say goodbye, on a
	// machine that is busy with other tests.
	allowance = 8 * time.Second
	// inFlight is how long after the signal a key may still be begun: as long
	// as the call takes that was under way when it came.
	inFlight = 500 * time.Millisecond
)

// farewell is how a process is told to stop.
type farewell struct {
	name    string
	timeout time.Duration // ROTATOR_SHUTDOWN_TIMEOUT
	lag     time.Duration // of each request to Sinch and Vault after the signal
	twice   bool          // a second signal follows soon
}

var farewells = []farewell{
	{name: "in time", timeout: patience, lag: inFlight + 200*time.Millisecond},
	{name: "too slow", timeout: hurry, lag: 2 * hurry},
	{name: "twice", timeout: patience, lag: 2 * hurry, twice: true},
}

// tolls counts the processes that had to be cut off, by the timeout or by a
// second signal.
type tolls struct{ timeout, second atomic.Int64 }

// TestStop sends SIGTERM at random moments of a run over two projects, in each
// of which a key is retired and another made. No key is begun after that, and
// what is in hand has ROTATOR_SHUTDOWN_TIMEOUT; a second signal ends it at
// once. One next run does the rest.
func TestStop(t *testing.T) {
	if testing.Short() {
		t.Skip("needs servers; left out by -short")
	}
	t.Parallel()
	tally, tolls := newTally(t, goal{strikes: 66, hits: 1, tries: 300}, turns), new(tolls)
	t.Cleanup(func() { // after all workers
		timeout, second := tolls.timeout.Load(), tolls.second.Load()
		t.Logf("%d processes ran into their timeout, %d were ended by a second signal", timeout, second)
		if timeout < 10 || second < 10 {
			t.Error("want 10 of each at least")
		}
	})
	first := newPair(t)
	tally.learn(first.undisturbed(), true)
	tally.learn(first.undisturbed(), true)
	for n := range 8 { // they mostly wait
		t.Run(fmt.Sprint("worker ", n), func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			for {
				aim, ok := tally.aim()
				if !ok || t.Failed() {
					break
				}
				p.stop(tally, tolls, aim, farewells[aim.n%uint64(len(farewells))])
			}
			p.CheckLog()
			p.CheckInventory()
		})
	}
}

// pair is a world of two projects, in each of which one credential's key is
// replaced again and again.
type pair struct{ *world }

var both = []string{"left", "right"}

func newPair(t *testing.T) pair {
	t.Helper()
	p := pair{newWorld(t, walk)}
	for _, project := range both {
		p.Sim.AddSubproject(parent, project, project, nil)
		p.Publish(project, "billing", p.Key(project, "billing", 10*day))
		p.watch(project, "billing")
	}
	p.undisturbed() // the first is not like the others
	return p
}

// inBoth are arguments, and what narrows them to the two projects.
func inBoth(args ...string) []string {
	for _, project := range both {
		args = append(args, "--project", project)
	}
	return args
}

// renew are the arguments of a run that retires and makes a key in each.
func renew() []string {
	return inBoth("run-now", "--force", "--reason", "stop", "--overlap", shortOverlap.String())
}

func (p pair) undisturbed() []step { return p.repeat(renew()...) }

// turns returns the steps that begin a window, from the run's begin to its end,
// told apart by whether it is at its first project, its second, or at neither.
func turns(passed []step) []step {
	begin := slices.IndexFunc(passed, func(s step) bool { return strings.HasSuffix(s.label, "run.started") })
	if begin < 0 {
		return nil
	}
	passed = passed[begin:]
	if end := slices.IndexFunc(passed, func(s step) bool { return strings.HasSuffix(s.label, "run.finished") }); end >= 0 {
		passed = passed[:end+1]
	}
	names := strings.NewReplacer(both[0], "it", both[1], "it")
	found, turn, times := worth(passed), 0, map[string]int{}
	for i, s := range found {
		if s.label == "postgres: claim" {
			turn++
		}
		if turn > len(both) {
			found[i].mark = mark{"afterwards", 1}
			return found[:i+1]
		}
		label := fmt.Sprint(turn, ". ", names.Replace(s.label))
		times[label]++
		found[i].mark = mark{label, times[label]}
	}
	return found
}

// stop tells one run to stop at the moment that is aimed at, checks how it
// ends, and lets the next one do the rest.
func (p pair) stop(tally *tally, tolls *tolls, aim aim, how farewell) {
	p.T.Helper()
	if len(p.Sim.Keys(both[0])) < 2 || len(p.Sim.Keys(both[1])) < 2 { // nothing to retire
		tally.learn(p.undisturbed(), false)
	}
	p.Set("ROTATOR_SHUTDOWN_TIMEOUT", how.timeout.String())
	g := goodbye{pair: p, farewell: how, before: p.namedNow(), ran: p.Events("run.finished")}
	g.process = p.startTo(tally, aim, renew()...)
	p.lag.Store(&lag{how.lag, aim.random.IntN(2) == 0})
	g.told = time.Now()
	g.heard = g.process.TrySignal(syscall.SIGTERM)
	if g.again = g.told; how.twice {
		time.Sleep(time.Duration(50+aim.random.IntN(200)) * time.Millisecond)
		g.again = time.Now()
		g.heardAgain = g.process.TrySignal(syscall.SIGTERM)
	}
	end := g.wait(tolls)
	p.lag.Store(nil)
	p.bury()
	if g.heardAgain {
		p.Expire()
	}
	begun := time.Now()
	if runs := p.converge(inBoth()...); runs != 1 {
		p.T.Errorf("it took %d runs to converge, want 1", runs)
	}
	took := time.Since(begun)
	time.Sleep(2 * sampleEvery)
	p.checkSamples()
	p.CheckKeys(map[string]int{parent: 1})
	p.CheckSent()
	p.CheckIntents()
	p.CheckRotations()
	hit := "no window: it had ended"
	if g.heard {
		hit = tally.count(g.passed, how.name+": "+end, took)
	}
	if p.T.Failed() {
		p.T.Errorf("strike %d, %s: aimed %s into %q, hit %q; %s\n%s", aim.n, how.name, aim.delay, aim.window, hit, end, g.process.Log())
	}
}

// namedNow is which key Vault names for each project.
func (p pair) namedNow() map[string]string {
	p.T.Helper()
	named := map[string]string{}
	for _, project := range both {
		named[project] = p.CheckNamed(project, "billing")
	}
	return named
}

// goodbye is a process that has been told to stop.
type goodbye struct {
	pair
	farewell
	process           *rig.Process
	before            map[string]string // what Vault named
	ran               int               // runs that had finished
	told, again       time.Time         // when the signals were sent
	heard, heardAgain bool              // whether it lived then
	passed            []step            // until it was told
}

// wait waits for the end, checks how it came, and says so.
func (g *goodbye) wait(tolls *tolls) string {
	g.T.Helper()
	code := g.process.Wait()
	took, last := time.Since(g.told), time.Since(g.again)
	for _, s := range g.gate.passed() {
		if s.at.Before(g.told) {
			g.passed = append(g.passed, s)
		}
	}
	g.checkBegun()
	if code == 128+int(syscall.SIGTERM) && g.heardAgain {
		if last > allowance {
			g.T.Errorf("it ended %s after the second signal", last)
		}
		tolls.second.Add(1)
		return "ended at once"
	}
	g.heardAgain = false
	if took > g.timeout+allowance {
		g.T.Errorf("it ended %s after the signal, its timeout was %s", took, g.timeout)
	}
	through, left := true, false // left: something else to do, by now
	for project, now := range g.namedNow() {
		through = through && now != g.before[project]
		left = left || len(g.Sim.Keys(project)) > 1
	}
	late := took >= g.timeout
	if late {
		tolls.timeout.Add(1)
	}
	switch {
	case code == 0 && through, code == 4 && (left || !through), late && (code == 3 || code == 4):
	default:
		g.T.Errorf("exit code %d, %s after the signal; both keys replaced: %t", code, took, through)
	}
	if n := g.Events("run.finished"); n != g.ran+1 {
		g.T.Errorf("the run's end is in the log %d times", n-g.ran)
	}
	if n := g.Leases(); n > 0 {
		g.T.Errorf("%d leases were not given back", n)
	}
	return fmt.Sprintf("exit code %d, timeout hit: %t, all done: %t", code, late, through)
}

// checkBegun checks that no key was begun after the signal, but for what was
// under way just then.
func (g *goodbye) checkBegun() {
	g.T.Helper()
	for _, project := range g.Strings(`select project_id from audit.event where type = 'rotation.planned' and occurred_at > $1`, g.told.Add(inFlight)) {
		g.T.Errorf("a key was begun in project %s more than %s after the signal", project, inFlight)
	}
	var created []string
	for _, s := range g.Gate.Sent() {
		if strings.HasPrefix(s.What, "access_keys.create|") && s.At.After(g.told) {
			created = append(created, s.What)
		}
	}
	if len(created) > 1 {
		g.T.Errorf("more than one key was created after the signal: %q", created)
	}
}
