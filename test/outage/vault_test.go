package outage_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rotator/internal/sinch/sinchtest"
	"rotator/test/rig"
)

func TestVaultSealed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rig.Config{OwnVault: true})
	w.fleet()
	w.Server.Seal(t)
	w.Run(2, "run-now").Says("sealed")
	if sent := w.Gate.Sent(); len(sent) > 0 {
		t.Errorf("sent while Vault was sealed: %+v", sent)
	}
	w.unseal()

	arrived, release := w.HoldSinch(true, sinchtest.Fault{Operation: "access_keys.create"})
	p := w.Start("run-now")
	p.Await(arrived)
	w.Server.Seal(t)
	release()
	p.Exits(3)
	w.unseal()
	w.converge(afterwards)
}

// unseal opens Vault again and waits until it serves.
func (w *world) unseal() {
	w.T.Helper()
	w.Server.Unseal(w.T)
	w.Until("Vault to be unsealed", func() bool {
		_, err := w.Vault.Logical().ReadWithContext(w.T.Context(), "secret/config")
		return err == nil
	})
}

func TestVaultDownAtStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rig.Config{})
	w.fleet()
	mend := w.Gate.On(-1, toVault, rig.Drop)
	w.Run(2, "run-now")
	if sent := w.Gate.Sent(); len(sent) > 0 {
		t.Errorf("sent while Vault was down: %+v", sent)
	}
	mend()
	w.converge(afterwards)
}

// TestVaultLostInARun: Vault goes away before, or with, a write of which
// nobody learns how it ended.
func TestVaultLostInARun(t *testing.T) {
	t.Parallel()
	for _, applied := range []bool{false, true} {
		t.Run(fmt.Sprintf("applied=%t", applied), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rig.Config{})
			w.fleet()
			var down atomic.Bool
			w.Gate.On(-1, func(r *http.Request) bool { return down.Load() && toVault(r) }, rig.Drop)
			w.Gate.On(1, rig.Publishing("billing"), func(answer http.ResponseWriter, r *http.Request, pass func(http.ResponseWriter)) {
				down.Store(true)
				if applied {
					pass(answer)
				}
				rig.Drop(answer, r, pass)
			})
			w.Run(3, "run-now")
			down.Store(false)
			w.converge(afterwards)
			if n := len(w.Gate.Creates()); applied && n != 1 {
				t.Errorf("%d keys were created for one publication", n)
			}
		})
	}
}

// TestVaultSlow: a write takes longer than rotator waits for it. It is
// settled by reading.
func TestVaultSlow(t *testing.T) {
	t.Parallel()
	const patience = 15 * time.Second // of one request to Vault
	w := newWorld(t, rig.Config{Env: []string{"ROTATOR_LEASE=60s"}})
	w.fleet()
	w.Gate.On(1, rig.Publishing("billing"), func(answer http.ResponseWriter, _ *http.Request, pass func(http.ResponseWriter)) {
		pass(answer)
		time.Sleep(patience + time.Second)
	})
	w.Run(0, "run-now")
	if n := w.Gate.Count("vault.write"); n != 1 {
		t.Errorf("Vault was written %d times, want once", n)
	}
	w.check(afterwards)
}

// TestVaultForbidsPath: what cannot be published is not created.
func TestVaultForbidsPath(t *testing.T) {
	t.Parallel()
	for _, granted := range []string{"nothing", "reading"} {
		t.Run(granted, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, rig.Config{})
			w.fleet()
			// What is said of a longer path counts, whatever else is granted.
			policy := w.ShippedPolicy() + w.policy("due", map[string]string{"nothing": "deny", "reading": "read"}[granted])
			role, token := w.Server.AppRole(t, policy, time.Hour), w.Setting("VAULT_TOKEN")
			w.Set("VAULT_AUTH_METHOD", "approle")
			w.Set("VAULT_ROLE_ID", role.RoleID)
			w.Set("VAULT_SECRET_ID", role.SecretID.Reveal())
			w.Set("VAULT_TOKEN", "")
			w.Run(3, "run-now")
			if n := len(w.Gate.Creates()); n > 0 {
				t.Errorf("%d keys were created that could not be published", n)
			}
			if n := len(w.Sim.Keys("retire")); n != 1 {
				t.Errorf("the other project has %d keys: one forbidden path stops the others", n)
			}
			w.Set("VAULT_AUTH_METHOD", "token")
			w.Set("VAULT_TOKEN", token)
			w.converge(afterwards)
		})
	}
}

// policy grants a capability at a project's paths.
func (w *world) policy(project, capability string) string {
	var text strings.Builder
	for _, kind := range []string{"data", "metadata", "delete", "destroy"} {
		fmt.Fprintf(&text, "path %q { capabilities = [%q] }\n", "secret/"+kind+"/"+w.Prefix+"/"+project+"/*", capability)
	}
	return text.String()
}

// TestVaultWrittenBySomebodyElse: the path is written between rotator's read
// and its publication, which therefore fails; what the other wrote stays.
func TestVaultWrittenBySomebodyElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rig.Config{})
	old := w.Due("due")
	other := w.Key("due", "billing", 80*day)
	w.Gate.On(1, rig.Publishing("billing"), func(answer http.ResponseWriter, _ *http.Request, pass func(http.ResponseWriter)) {
		w.Put("due", "billing", other, 1)
		pass(answer)
	})
	w.Run(3, "run-now")
	if named := w.CheckNamed("due", "billing"); named != other.KeyID {
		t.Errorf("Vault names %s, want %s, which somebody else wrote", named, other.KeyID)
	}
	if !w.Sim.Works(old.KeyID, old.Secret) {
		t.Error("the key that was current until then is gone")
	}
	w.converge(map[string]int{rig.Parent: 1, "due": 2})
}

// toVault accepts requests to Vault's API.
func toVault(r *http.Request) bool {
	return r.Header.Get("X-Vault-Request") != "" || r.Header.Get("X-Vault-Token") != ""
}
