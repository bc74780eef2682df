package outage_test

import (
	"strings"
	"testing"

	"rotator/test/rig"
)

// TestRestoredBackup restores a base backup that is older than the newest
// checkpoint: rotator stands still until a person has rebased the log, and
// converges then.
func TestRestoredBackup(t *testing.T) {
	t.Parallel()
	w := rig.New(t, rig.Config{OwnPostgres: true})
	w.Due("p1")
	w.Run(0, "run-now")
	home := w.Backup(false)
	w.Due("p2")
	w.Run(0, "run-now") // the backup knows nothing of this rotation
	w.Crash()
	w.FailOver(w.Cluster(home))
	standsStill(w)
	rebased(w)
}

// TestPromotedStandby promotes a standby that had lost touch with its primary
// before the last run, as an asynchronous failover does.
func TestPromotedStandby(t *testing.T) {
	t.Parallel()
	w := rig.New(t, rig.Config{OwnPostgres: true})
	w.Due("p1")
	w.Run(0, "run-now")
	standby := w.Cluster(w.Backup(true))
	w.Tell(standby, `alter system set primary_conninfo = ''`)
	w.Tell(standby, `select pg_reload_conf()`)
	w.Until("the standby to lose touch", func() bool { return w.Ask(standby, `select count(*) from pg_stat_wal_receiver`) == 0 })
	w.Due("p2")
	w.Run(0, "run-now") // the standby does not hear of this rotation
	w.Crash()
	w.Tell(standby, `select pg_promote()`)
	w.FailOver(standby)
	standsStill(w)
	rebased(w)
}

// standsStill shows that nothing is changed while the log is behind its
// checkpoint, and that rotator says what to do.
func standsStill(w *rig.World) {
	w.T.Helper()
	w.Due("p3")
	creates := len(w.Gate.Creates())
	for range 2 {
		p := w.Run(4, "run-now", "--force", "--all", "--yes", "--reason", "to try")
		p.Says("log_behind_anchor")
		p.Says("rotator audit rebase")
	}
	if n := len(w.Gate.Creates()); n != creates {
		w.T.Errorf("%d keys were created behind the checkpoint", n-creates)
	}
	if n := w.One(`select count(*) from audit.event where type = 'guard.refused' and body ->> 'reason' like 'log_behind_anchor%'`); n != 2 {
		w.T.Errorf("%d events guard.refused, want 2", n)
	}
	w.Run(1, "audit", "verify").Says("an older state of it restored")
	w.Run(1, "audit", "rebase", "--reason", "no confirmation")
}

// rebased does the one human act, after which everything goes on.
func rebased(w *rig.World) {
	w.T.Helper()
	w.Run(0, "audit", "rebase", "--yes", "--reason", "the disk failed")
	if n := w.Converge(); n > 1 {
		w.T.Errorf("converging took %d runs", n)
	}
	for _, project := range []string{"p1", "p2", "p3"} {
		w.CheckNamed(project, "billing")
	}
	w.CheckIntents()
	w.CheckInventory()
	out := w.Run(3, "audit", "verify").Log()
	if !strings.Contains(out, "epoch 2") || !strings.Contains(out, "lost") {
		w.T.Errorf("verify does not name what was lost:\n%s", out)
	}
	w.Run(0, "audit", "verify", "--accept-epoch", "2")
	w.Run(1, "audit", "rebase", "--yes", "--reason", "again").Says("nothing to rebase")
	w.Run(0, "run-now")
}
