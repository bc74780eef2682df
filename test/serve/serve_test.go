package serve_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"rotator/internal/sinch/sinchtest"
	"rotator/test/rig"
)

const terminate = syscall.SIGTERM

// TestStartsBeforeWhatItNeeds: the daemon comes first, then Postgres, then
// Vault; meanwhile it says what it waits for.
func TestStartsBeforeWhatItNeeds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rig.Config{OwnPostgres: true, OwnVault: true})
	w.Due("due")
	w.Crash()
	w.Server.Seal(t)
	d := w.serve()
	w.Until("it to wait for Postgres", func() bool { return strings.Contains(d.unready("start"), "Postgres") })
	w.Recover()
	w.Until("it to wait for Vault", func() bool { return strings.Contains(d.unready("start"), "sealed") })
	if n := len(w.Gate.Creates()); n > 0 {
		t.Errorf("%d keys were created meanwhile", n)
	}
	w.Server.Unseal(t)
	d.ready()
	w.rotated(1)
	d.stop()
	w.Check(map[string]int{"due": 2})
}

// TestOutlivesOutages: one daemon sees Vault sealed, Postgres crash and Sinch go
// down, says so, and goes on by itself.
func TestOutlivesOutages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rig.Config{OwnPostgres: true, OwnVault: true})
	d := w.serve()
	d.ready()
	w.Server.Seal(t)
	if why := d.unready("vault"); !strings.Contains(why, "sealed") {
		t.Errorf("Vault is sealed, /readyz says %q", why)
	}
	w.Server.Unseal(t)
	d.ready()
	w.Due("first")
	w.rotated(1)
	w.Crash()
	d.unready("postgres")
	w.Recover()
	d.ready()
	w.Due("second")
	w.rotated(2)
	w.Sim.SetDown(true)
	d.unready("run")
	w.Sim.SetDown(false)
	w.Due("third")
	w.rotated(3)
	d.ready()
	d.stop()
	w.Converge()
	w.Check(map[string]int{"first": 2, "second": 2, "third": 2})
}

// TestReplicas: three share the work of each tick, one asks Sinch which
// projects there are, and each key is rotated once.
func TestReplicas(t *testing.T) {
	t.Parallel()
	const projects = 40
	w := newWorld(t, rig.Config{Sim: sinchtest.Config{Latency: 10 * time.Millisecond}, Env: []string{"ROTATOR_SCHEDULE=@every 5s", "ROTATOR_CONCURRENCY=2"}})
	for n := range projects {
		w.Due(fmt.Sprintf("p%02d", n))
	}
	replicas := []*daemon{w.serve(), w.serve(), w.serve()}
	w.rotated(projects)
	workers := w.One(`select count(distinct p.run_id) ` + made)
	if workers < 3 {
		t.Errorf("%d runs rotated keys, want one in each replica", workers)
	}
	w.Until("three more ticks", func() bool { return w.One(`select count(distinct tick) from rotator.run`) >= 4 })
	for _, d := range replicas {
		d.stop()
	}
	ticks, asked := w.One(`select count(distinct tick) from rotator.run where trigger = 'schedule'`),
		w.One(`select count(*) from audit.event where operation = 'subprojects.list'`)
	// v1 answers, in one page. At the start each replica may have a tick of its own.
	if asked > ticks {
		t.Errorf("Sinch was asked for its projects %d times in %d ticks", asked, ticks)
	}
	w.Converge()
	w.Check(nil)
	if n := w.One(`select count(*) from (select from audit.event where type = 'rotation.created' group by project_id having count(*) > 1) twice`); n > 0 {
		t.Errorf("%d keys were rotated more than once", n)
	}
}

// TestTakeover: of two replicas the one that holds a project is killed, or
// frozen past its lease. The other one takes the project over.
func TestTakeover(t *testing.T) {
	t.Parallel()
	for _, how := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
		t.Run(how.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rig.Config{})
			w.Due("due")
			arrived, release := w.HoldSinch(true, sinchtest.Fault{Operation: "access_keys.create"})
			first := w.serve()
			first.Await(arrived)
			second := w.serve()
			second.ready()
			first.Signal(how)
			gone := time.Now()
			release()
			w.rotated(1)
			t.Logf("taken over and rotated %s after %s, with a lease of 5 s", time.Since(gone).Round(10*time.Millisecond), how)
			if how == syscall.SIGSTOP {
				first.Signal(syscall.SIGCONT)
				w.Until("the frozen one to see that its lease is lost", func() bool { return w.Events("lease.lost") > 0 })
				first.stop()
			}
			w.Until("the orphan to go", func() bool { return w.Events("key.orphan_deleted") == 1 })
			second.stop()
			w.Outlast()
			w.Converge()
			w.Check(map[string]int{"due": 2})
		})
	}
}

// TestPause: nothing is begun while the switch is thrown, and what was missed
// is made up for soon after.
func TestPause(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rig.Config{})
	d := w.serve()
	w.Until("a run", func() bool { return w.runs() > 0 })
	w.Run(0, "pause", "--reason", "silence")
	w.Run(1, "pause", "--reason", "again").Says("silence")
	w.Run(0, "status").Says("silence")
	leaked := w.Due("due")
	w.Until("the daemon to notice", func() bool { return strings.Contains(d.Log(), "no run begins while rotator is paused") })
	time.Sleep(2 * time.Second)
	w.Run(4, "run-now").Says("silence")
	if n := len(w.Gate.Creates()); n > 0 {
		t.Errorf("%d keys were created during a pause", n)
	}
	w.Run(4, "run-now", "--compromised", "--key", leaked.KeyID, "--reason", "leaked")
	w.Run(0, "run-now", "--compromised", "--key", leaked.KeyID, "--reason", "leaked", "--ignore-pause")
	if w.Sim.Works(leaked.KeyID, leaked.Secret) {
		t.Error("--ignore-pause does nothing")
	}
	w.Due("later")
	w.Run(0, "resume")
	w.Run(1, "resume").Says("not paused")
	w.rotated(2)
	d.stop()
	w.Check(map[string]int{"due": 1, "later": 2})
	if p, r := w.Events("pause"), w.Events("resume"); p != 1 || r != 1 {
		t.Errorf("the log tells of %d pauses and %d resumes", p, r)
	}
}

// TestPauseInARun: a run under way finishes what is in hand, and begins no
// other project.
func TestPauseInARun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rig.Config{})
	w.Due("one")
	w.Due("two")
	arrived, release := w.HoldSinch(true, sinchtest.Fault{Operation: "access_keys.create"})
	p := w.Start("run-now")
	p.Await(arrived)
	w.Run(0, "pause", "--reason", "silence")
	release()
	p.Exits(4)
	p.Says("silence")
	if n := w.One(`select count(*) ` + made); n != 1 {
		t.Errorf("%d keys were rotated, want the one in hand", n)
	}
	w.Run(0, "resume")
	w.Converge()
	w.Check(map[string]int{"one": 2, "two": 2})
}

// TestMissedTicks: what nobody was there for is one run, and the log says how
// much it was.
func TestMissedTicks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rig.Config{})
	d := w.serve()
	w.Until("a run", func() bool { return w.runs() > 0 })
	d.stop()
	time.Sleep(4 * time.Second)
	before := w.runs()
	d = w.serve()
	w.Until("a run", func() bool { return w.runs() > before })
	d.stop()
	missed := w.One(`select coalesce(max((body -> 'counters' ->> 'missed_ticks')::int), 0) from audit.event where type = 'run.started'`)
	if missed < 2 || missed > 30 {
		t.Errorf("the log tells of %d missed ticks, want 3 or some more", missed)
	}
	gaps := w.One(`select count(*) from audit.schedule_gaps('3 seconds') where gap_to in (select occurred_at from audit.event where type = 'run.started')`)
	if gaps == 0 {
		t.Error("audit.schedule_gaps shows no gap")
	}
}
