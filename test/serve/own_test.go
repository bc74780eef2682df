package serve_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"rotator/test/rig"
)

// watched makes the world's checks look at rotator's own key, too.
func (w *world) watched() {
	w.Credentials = append(w.Credentials, rig.Credential{Project: rig.Parent, Name: "rotator"})
}

// own returns the key that Vault holds for rotator itself.
func (w *world) own() string {
	w.T.Helper()
	_, key, _, err := w.Named(w.Path(rig.Parent, "rotator"))
	if err != nil {
		w.T.Fatal(err)
	}
	return key
}

// replace replaces rotator's own key, once no daemon is at work on its project.
func (w *world) replace() {
	w.T.Helper()
	w.Until("a run that nobody is in the way of", func() bool {
		p := w.Start("run-now", "--project", rig.Parent, "--force", "--reason", "its turn", "--overlap", "1s")
		return p.Wait() == 0
	})
}

// using waits until so many live processes use the key, and nobody another one.
func (w *world) using(key string, processes int) {
	w.T.Helper()
	w.Until("all processes to use the new key", func() bool {
		return w.One(`select count(*) from rotator.process where expires_at >= now() and auth_key_id = $1`, key) == processes &&
			w.One(`select count(*) from rotator.process where expires_at >= now() and auth_key_id <> $1`, key) == 0
	})
}

// gone waits until the key is.
func (w *world) gone(key string) {
	w.T.Helper()
	w.Until("the old key to go", func() bool {
		for _, k := range w.Sim.Keys(rig.Parent) {
			if k.ID == key {
				return false
			}
		}
		return true
	})
}

// TestOwnKey: a person rotates rotator's own key under two replicas. Everybody
// moves on to it from Vault, and only then the old one goes; a daemon that
// starts with the old one in its environment works all the same.
func TestOwnKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rig.Config{})
	first, second := w.serve(), w.serve()
	first.ready()
	second.ready()
	w.using(w.Own.KeyID, 2)
	w.replace()
	fresh := w.own()
	if fresh == "" || fresh == w.Own.KeyID {
		t.Fatalf("Vault names %q", fresh)
	}
	w.using(fresh, 2)
	w.gone(w.Own.KeyID)
	w.Due("due")
	w.rotated(2)
	first.stop()
	second.stop()
	third := w.serve() // with the bootstrap key, which is gone
	third.ready()
	w.using(fresh, 1)
	w.Due("later")
	w.rotated(3)
	third.stop()
	w.Converge()
	w.watched()
	w.Check(map[string]int{rig.Parent: 1, "due": 2, "later": 2})
}

// TestOwnKeyWithAFrozenReplica: one replica is stopped across the switch. The
// old key stays as long as its row says that it may still use it; when that is
// over and the key gone, the replica goes on with what Vault holds.
func TestOwnKeyWithAFrozenReplica(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rig.Config{Env: []string{"ROTATOR_LEASE=3s"}})
	frozen, other := w.serve(), w.serve()
	frozen.ready()
	other.ready()
	w.using(w.Own.KeyID, 2)
	frozen.Signal(syscall.SIGSTOP)
	stopped := time.Now()
	w.replace()
	fresh := w.own()
	w.gone(w.Own.KeyID)
	if n := w.One(`select count(*) from rotator.process where expires_at >= now() and auth_key_id = $1`, w.Own.KeyID); n > 0 {
		t.Error("the old key is gone, and a live process uses it")
	}
	t.Logf("the old key went %s after the other replica froze (its row lives for 6 s)", time.Since(stopped).Round(10*time.Millisecond))
	frozen.Signal(syscall.SIGCONT)
	w.using(fresh, 2)
	w.Due("due")
	w.rotated(2)
	frozen.stop()
	other.stop()
	w.Outlast()
	w.Converge()
	w.watched()
	w.Check(map[string]int{rig.Parent: 1, "due": 2})
}

// TestOwnKeyCompromised: the old key goes as soon as nobody uses it.
func TestOwnKeyCompromised(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rig.Config{})
	d := w.serve()
	d.ready()
	w.using(w.Own.KeyID, 1)
	w.Run(0, "run-now", "--compromised", "--key", w.Own.KeyID, "--reason", "in a build log")
	w.gone(w.Own.KeyID)
	w.using(w.own(), 1)
	d.ready()
	d.stop()
	w.Converge()
	w.watched()
	w.Check(map[string]int{rig.Parent: 1})
}

// TestOwnKeyKilled: a process is killed at each request that replacing its own
// key takes, before it is applied and before it is answered. A daemon that
// starts with the old key goes on.
func TestOwnKeyKilled(t *testing.T) {
	t.Parallel()
	for _, applied := range []bool{false, true} {
		for _, op := range []string{"access_keys.create", "token.exchange", "vault.write"} {
			t.Run(fmt.Sprintf("%s/applied=%t", op, applied), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, rig.Config{Env: []string{"ROTATOR_LEASE=3s"}})
				arrived, release := w.holdOwn(op, applied)
				p := w.Start("run-now", "--project", rig.Parent, "--force", "--reason", "its turn", "--overlap", "1s")
				p.Await(arrived)
				p.Kill()
				release()
				w.Outlast()
				d := w.serve()
				d.ready()
				w.replace()
				w.using(w.own(), 1)
				w.gone(w.Own.KeyID)
				d.stop()
				w.Outlast()
				w.Until("a converged fleet", func() bool { p := w.Start("run-now"); return p.Wait() == 0 && len(w.Sim.Keys(rig.Parent)) == 1 })
				w.watched()
				w.CheckKeys(map[string]int{rig.Parent: 1})
				w.CheckIntents()
				w.CheckLog()
			})
		}
	}
}
