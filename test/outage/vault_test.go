package outage_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rotator/internal/sinch/sinchtest"
)

func TestVaultSealed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{ownVault: true})
	w.fleet()
	w.server.Seal(t)
	w.run(2, "run-now").says("sealed")
	if sent := w.gate.mutations(); len(sent) > 0 {
		t.Errorf("sent while Vault was sealed: %+v", sent)
	}
	w.unseal()

	arrived, release := w.holdSinch(true, sinchtest.Fault{Operation: "access_keys.create"})
	p := w.start("run-now")
	w.await(arrived, p)
	w.server.Seal(t)
	release()
	p.exits(3)
	w.unseal()
	w.converge(afterwards)
}

// unseal opens Vault again and waits until it serves.
func (w *world) unseal() {
	w.t.Helper()
	w.server.Unseal(w.t)
	w.until("Vault to be unsealed", func() bool {
		_, err := w.vault.Logical().ReadWithContext(w.t.Context(), "secret/config")
		return err == nil
	})
}

func TestVaultDownAtStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.fleet()
	mend := w.gate.on(-1, toVault, drop)
	w.run(2, "run-now")
	if sent := w.gate.mutations(); len(sent) > 0 {
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
			w := newWorld(t, setting{})
			w.fleet()
			var down atomic.Bool
			w.gate.on(-1, func(r *http.Request) bool { return down.Load() && toVault(r) }, drop)
			w.gate.on(1, publishing("billing"), func(answer http.ResponseWriter, r *http.Request, pass func()) {
				down.Store(true)
				if applied {
					pass()
				}
				drop(answer, r, pass)
			})
			w.run(3, "run-now")
			down.Store(false)
			w.converge(afterwards)
			if n := len(w.creates()); applied && n != 1 {
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
	w := newWorld(t, setting{env: []string{"ROTATOR_LEASE=60s"}})
	w.fleet()
	w.gate.on(1, publishing("billing"), func(_ http.ResponseWriter, _ *http.Request, pass func()) {
		pass()
		time.Sleep(patience + time.Second)
	})
	w.run(0, "run-now")
	if n := w.gate.count("vault.write"); n != 1 {
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
			w := newWorld(t, setting{})
			w.fleet()
			policy := w.policy(parent, "create", "read", "update") + w.policy("retire", "create", "read", "update")
			if granted == "reading" {
				policy += w.policy("due", "read")
			}
			role, token := w.server.AppRole(t, policy, time.Hour), w.server.Token.Reveal()
			w.set("VAULT_AUTH_METHOD", "approle")
			w.set("VAULT_ROLE_ID", role.RoleID)
			w.set("VAULT_SECRET_ID", role.SecretID.Reveal())
			w.set("VAULT_TOKEN", "")
			w.run(3, "run-now")
			if n := len(w.creates()); n > 0 {
				t.Errorf("%d keys were created that could not be published", n)
			}
			if n := len(w.sim.Keys("retire")); n != 1 {
				t.Errorf("the other project has %d keys: one forbidden path stops the others", n)
			}
			w.set("VAULT_AUTH_METHOD", "token")
			w.set("VAULT_TOKEN", token)
			w.converge(afterwards)
		})
	}
}

// policy grants capabilities at a project's paths.
func (w *world) policy(project string, capabilities ...string) string {
	granted := `"` + strings.Join(capabilities, `", "`) + `"`
	var text strings.Builder
	for _, kind := range []string{"data", "metadata", "delete", "destroy"} {
		fmt.Fprintf(&text, "path %q { capabilities = [%s] }\n", "secret/"+kind+"/"+w.prefix+"/"+project+"/*", granted)
	}
	return text.String()
}

// TestVaultWrittenBySomebodyElse: the path is written between rotator's read
// and its publication, which therefore fails; what the other wrote stays.
func TestVaultWrittenBySomebodyElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	old := w.due("due")
	other := w.key("due", "billing", 80*day)
	w.gate.on(1, publishing("billing"), func(_ http.ResponseWriter, _ *http.Request, pass func()) {
		w.put("due", "billing", other, 1)
		pass()
	})
	w.run(3, "run-now")
	if named := w.checkNamed("due", "billing"); named != other.KeyID {
		t.Errorf("Vault names %s, want %s, which somebody else wrote", named, other.KeyID)
	}
	if !w.sim.Works(old.KeyID, old.Secret) {
		t.Error("the key that was current until then is gone")
	}
	w.converge(map[string]int{parent: 1, "due": 2})
}

// toVault accepts requests to Vault's API.
func toVault(r *http.Request) bool {
	return r.Header.Get("X-Vault-Request") != "" || r.Header.Get("X-Vault-Token") != ""
}
