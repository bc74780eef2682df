package vault_test

import (
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"

	"rotator/internal/secret"
	"rotator/internal/vault"
)

func secretOf(made *api.Secret) secret.Value { return secret.New(made.Auth.ClientToken) }

// TestWrappedOnce: a wrapping token is unwrapped once in a process, however
// often it logs in; whoever comes second is told what that may mean.
func TestWrappedOnce(t *testing.T) {
	t.Parallel()
	w := byWrapped(t, lasting())
	w.auth.Unwrapped = new(vault.Unwrapped)
	for i := range 3 {
		_, rec, err := w.open(t)
		if err != nil {
			t.Fatalf("login %d: %v", i, err)
		}
		if n := strings.Count(strings.Join(rec.operations(), " "), "vault.login 200"); (i == 0) != (n == 3) || i > 0 && n != 1 {
			t.Errorf("login %d made %v", i, rec.operations())
		}
	}
	w.auth.Unwrapped = nil
	_, rec, err := w.open(t)
	want(t, err, vault.ErrDenied)
	for _, part := range []string{
		w.blamed, "somebody else has the secret id", "`vault write -wrap-ttl=10m -f auth/" + w.mount + "/role/ROLE/secret-id`",
	} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %q", err, part)
		}
	}
	w.checkSilent(t, rec.text())
}

// TestWrappedBySomebodyElse: a wrapping token that does not come from the role
// is refused and not used up. Somebody has read the secret id on its way.
func TestWrappedBySomebodyElse(t *testing.T) {
	t.Parallel()
	w := byWrapped(t, lasting())
	again := w.server.WriteWrapped(t, "sys/wrapping/wrap", map[string]any{"secret_id": w.secretID(t)})
	put(t, w.files[0], again)
	_, _, err := w.open(t)
	want(t, err, vault.ErrDenied)
	if err == nil || !strings.Contains(err.Error(), `from "sys/wrapping/wrap"`) {
		t.Errorf("error is %v", err)
	}
	w.server.Write(t, "sys/wrapping/lookup", map[string]any{"token": again})
}

// TestWrappedIsNoSecretID: without VAULT_SECRET_ID_WRAPPED the wrapping token
// itself would be shown, which Vault refuses, and which does not use it up.
func TestWrappedIsNoSecretID(t *testing.T) {
	t.Parallel()
	w := byWrapped(t, lasting())
	w.auth.Wrapped = false
	_, _, err := w.open(t)
	want(t, err, vault.ErrDenied)
	w.auth.Wrapped = true
	if _, _, err := w.open(t); err != nil {
		t.Error(err)
	}
}
