package vault_test

import (
	"crypto/ed25519"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/call"
	"rotator/internal/vault"
	"rotator/internal/vault/vaulttest"
)

// transitKey makes a key of the test's own at transit/.
func transitKey(t *testing.T, to target, options map[string]any) vault.TransitKey {
	t.Helper()
	k := vault.TransitKey{Mount: "transit", Name: vaulttest.Prefix()}
	transit(t, to, "transit/keys/"+k.Name, options)
	return k
}

// transit writes to Vault's API behind rotator's back.
func transit(t *testing.T, to target, path string, fields map[string]any) {
	t.Helper()
	if _, err := to.admin(t).Logical().WriteWithContext(t.Context(), path, fields); err != nil {
		t.Fatal(err)
	}
}

// publicKeys is TransitPublicKeys, or the test ends.
func publicKeys(t *testing.T, s *vault.Store, k vault.TransitKey) (map[int]ed25519.PublicKey, int) {
	t.Helper()
	keys, latest, err := s.TransitPublicKeys(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	return keys, latest
}

// uncommented turns the policy's example for AUDIT_SIGNER=transit:… into
// rules for the key, as a person would.
func uncommented(t *testing.T, k vault.TransitKey) string {
	t.Helper()
	text := shippedPolicy(t)
	block := text[strings.LastIndex(text, "\n\n"):]
	policy := regexp.MustCompile(`(?m)^#(path|  capabilities|\})`).ReplaceAllString(block, "$1")
	if strings.Count(policy, "\npath ") != 2 {
		t.Fatalf("the policy's last block is\n%s", policy)
	}
	return strings.ReplaceAll(policy, "transit/keys/rotator-audit", "transit/keys/"+k.Name) +
		strings.ReplaceAll(policy, "transit/sign/rotator-audit", "transit/sign/"+k.Name)
}

// TestTransit: the shipped policy's block is enough to sign with every
// version of a key, and for nothing else.
func TestTransit(t *testing.T) {
	t.Parallel()
	to := realServer(t, nil, 0)
	k := transitKey(t, to, map[string]any{"type": "ed25519"})
	transit(t, to, "transit/keys/"+k.Name+"/rotate", nil)
	server := vaulttest.Server{Addr: to.addr, Token: to.root}
	role := server.AppRole(t, uncommented(t, k), time.Minute)
	to.auth = vault.Auth{Method: "approle", RoleID: role.RoleID, SecretID: role.SecretID}
	s, rec := to.open(t)
	rec.forget()

	keys, latest := publicKeys(t, s, k)
	if len(keys) != 2 || latest != 2 || keys[1].Equal(keys[2]) {
		t.Fatalf("versions %v, the newest is %d", keys, latest)
	}
	for _, message := range []string{"rotator-audit/1\n42\nroot\n", "", strings.Repeat("é\x00", 1<<16)} {
		for n, public := range keys {
			signature := must[[]byte](t)(s.TransitSign(t.Context(), k, n, []byte(message)))
			if !ed25519.Verify(public, []byte(message), signature) {
				t.Errorf("version %d has signed something else than %.20q", n, message)
			}
			if ed25519.Verify(keys[3-n], []byte(message), signature) {
				t.Errorf("version %d has signed for %d", n, 3-n)
			}
		}
	}
	for _, o := range rec.operations() {
		if o != "vault.transit 200" {
			t.Errorf("sent %s", o)
		}
	}
	if len(rec.intents) > 0 || slices.ContainsFunc(rec.calls, func(c call.Call) bool { return c.Mutating || c.VaultPath != "" }) {
		t.Errorf("a signature changes nothing in Vault, but: %+v", rec.calls)
	}

	token := login(t, to)
	for _, r := range []rawRequest{
		{"POST", "transit/keys/%s/rotate", `{}`},
		{"POST", "transit/keys/%s/config", `{"deletion_allowed":true}`},
		{"POST", "transit/keys/%s/config", `{"exportable":true}`},
		{"POST", "transit/keys/%s/trim", `{"min_available_version":2}`},
		{"DELETE", "transit/keys/%s", ``},
		{"GET", "transit/export/signing-key/%s", ``},
		{"GET", "transit/backup/%s", ``},
		{"POST", "transit/sign/%s-other", `{"input":""}`},
	} {
		if status, said := r.send(t, to.addr, token, k.Name); status != http.StatusForbidden {
			t.Errorf("%s %s: status %d %s", r.method, r.path, status, said)
		}
	}
}

// TestTransitVersions: versions that are not there or may not sign any more.
func TestTransitVersions(t *testing.T) {
	t.Parallel()
	to := realServer(t, nil, 0)
	s, rec := to.open(t)
	k := transitKey(t, to, map[string]any{"type": "ed25519"})
	for range 2 {
		transit(t, to, "transit/keys/"+k.Name+"/rotate", nil)
	}
	transit(t, to, "transit/keys/"+k.Name+"/config", map[string]any{"min_encryption_version": 2, "min_decryption_version": 2})
	transit(t, to, "transit/keys/"+k.Name+"/trim", map[string]any{"min_available_version": 2})
	keys, latest := publicKeys(t, s, k)
	if _, trimmed := keys[1]; trimmed || len(keys) != 2 || latest != 3 {
		t.Errorf("versions %v, the newest is %d", keys, latest)
	}
	rec.forget()
	for _, n := range []int{-1, 0, 1, 4} {
		_, err := s.TransitSign(t.Context(), k, n, []byte("x"))
		want(t, err, vault.ErrRejected)
	}
	if n := len(rec.operations()); n != 2 {
		t.Errorf("%d requests: no version below 1 is asked for, and a refusal is not repeated", n)
	}
}

// TestTransitOtherKeys: what cannot sign checkpoints says what would.
func TestTransitOtherKeys(t *testing.T) {
	t.Parallel()
	to := realServer(t, nil, 0)
	s, _ := to.open(t)
	for name, test := range map[string]struct {
		key  vault.TransitKey
		want error
		says string
	}{
		"aes":       {transitKey(t, to, nil), vault.ErrConfig, `of type "aes256-gcm96"`},
		"rsa":       {transitKey(t, to, map[string]any{"type": "rsa-2048"}), vault.ErrConfig, `of type "rsa-2048"`},
		"ecdsa":     {transitKey(t, to, map[string]any{"type": "ecdsa-p256"}), vault.ErrConfig, `of type "ecdsa-p256"`},
		"hmac":      {transitKey(t, to, map[string]any{"type": "hmac", "key_size": 32}), vault.ErrConfig, `of type "hmac"`},
		"derived":   {transitKey(t, to, map[string]any{"type": "ed25519", "derived": true}), vault.ErrConfig, "derives others"},
		"missing":   {vault.TransitKey{Mount: "transit", Name: vaulttest.Prefix()}, vault.ErrNotFound, "make the key"},
		"no engine": {vault.TransitKey{Mount: "nowhere", Name: "k"}, vault.ErrConfig, "vault secrets enable -path=nowhere transit"},
		"KV":        {vault.TransitKey{Mount: "secret", Name: "k"}, vault.ErrConfig, "no Transit engine"},
	} {
		_, _, keysErr := s.TransitPublicKeys(t.Context(), test.key)
		_, signErr := s.TransitSign(t.Context(), test.key, 1, []byte("x"))
		if keysErr == nil || !strings.Contains(keysErr.Error(), test.says) {
			t.Errorf("%s: %v does not say %s", name, keysErr, test.says)
		}
		if name == "KV" { // its 404 is that of a path without a version
			want(t, signErr, vault.ErrNotFound)
			signErr = keysErr
		}
		remedy := "vault write -f " + test.key.Mount + "/keys/" + test.key.Name + " type=ed25519"
		for _, err := range []error{keysErr, signErr} {
			want(t, err, test.want)
			if err == nil || !strings.Contains(err.Error(), remedy) {
				t.Errorf("%s: %v does not say %s", name, err, remedy)
			}
		}
	}
	for _, k := range []vault.TransitKey{{}, {Mount: "transit"}, {Mount: "transit", Name: "a/b"}, {Mount: "../sys", Name: "k"}, {Mount: "transit", Name: ".."}} {
		_, err := s.TransitSign(t.Context(), k, 1, nil)
		want(t, err, vault.ErrConfig)
	}
}

// TestTransitDenied names the line that the policy lacks.
func TestTransitDenied(t *testing.T) {
	t.Parallel()
	k := transitKey(t, realServer(t, nil, 0), map[string]any{"type": "ed25519"})
	s, _ := realServer(t, []rule{{"secret/data/%s/*", []string{"read"}}}, time.Minute).open(t)
	_, _, keysErr := s.TransitPublicKeys(t.Context(), k)
	_, signErr := s.TransitSign(t.Context(), k, 1, nil)
	for hint, err := range map[string]error{
		`path "transit/keys/` + k.Name + `" { capabilities = ["read"] }`:   keysErr,
		`path "transit/sign/` + k.Name + `" { capabilities = ["update"] }`: signErr,
	} {
		want(t, err, vault.ErrDenied)
		if err == nil || !strings.Contains(err.Error(), hint) {
			t.Errorf("%v does not say %s", err, hint)
		}
	}
}

// TestTransitRepeated: a signature is asked for again, like a read, and never
// leaves an unknown state.
func TestTransitRepeated(t *testing.T) {
	t.Parallel()
	to := realServer(t, nil, 0)
	k := transitKey(t, to, map[string]any{"type": "ed25519"})
	proxy := to.behind(t)
	s, rec := to.open(t)
	keys, latest := publicKeys(t, s, k)
	rec.forget()
	proxy.Fail(writes, vaulttest.NotApplied, vaulttest.Unanswered, vaulttest.BadGatewayPage)
	signature := must[[]byte](t)(s.TransitSign(t.Context(), k, latest, []byte("x")))
	if !ed25519.Verify(keys[latest], []byte("x"), signature) {
		t.Error("the signature is not good")
	}
	if diff := cmp.Diff([]string{"vault.transit 0", "vault.transit 0", "vault.transit 502", "vault.transit 200"}, rec.operations()); diff != "" {
		t.Error(diff)
	}
	proxy.Fail(writes, slices.Repeat([]vaulttest.Fault{vaulttest.InternalError}, 9)...)
	_, err := s.TransitSign(t.Context(), k, latest, []byte("x"))
	want(t, err, vault.ErrUnreachable)
	if errors.Is(err, vault.ErrStateUnknown) || len(rec.intents) > 0 {
		t.Errorf("%v, %d intents", err, len(rec.intents))
	}
}

// TestTransitNonsense: an answer that is no key or no signature is never taken
// for one: crypto/ed25519 panics on a public key of another length.
func TestTransitNonsense(t *testing.T) {
	t.Parallel()
	says := &answers{under: "/v1/transit/"}
	s, _ := memory(t, nil, 0).open(t, func(c *vault.Config) { c.Base = says })
	k := vault.TransitKey{Mount: "transit", Name: "k"}
	key := `{"public_key":"` + strings.Repeat("A", 43) + `="}`
	for data, valid := range map[string]bool{
		`{"type":"ed25519","latest_version":1,"keys":{"1":` + key + `}}`:                         true,
		`{"type":"ed25519","latest_version":2,"keys":{"1":` + key + `}}`:                         false,
		`{"type":"ed25519","latest_version":1,"keys":{"1":` + key + `,"x":` + key + `}}`:         false,
		`{"type":"ed25519","latest_version":1,"keys":{"1":` + key + `,"2":{"public_key":"AA"}}}`: false,
		`{"type":"ed25519","latest_version":1,"keys":{"1":` + key + `,"2":{}}}`:                  false,
		`{"type":"ed25519","latest_version":1,"keys":{"1":{"public_key":"AAAA"}}}`:               false,
		`{"type":"ed25519","latest_version":1,"keys":[` + key + `]}`:                             false,
		`{"type":"ed25519"}`: false,
		`{}`:                 false,
		`null`:               false,
	} {
		says.data = data
		keys, _, err := s.TransitPublicKeys(t.Context(), k)
		if (err == nil) != valid || (len(keys) == 1) != valid {
			t.Errorf("%s: %v, %v", data, keys, err)
		}
	}
	bytes64 := strings.Repeat("A", 86) + "=="
	for data, valid := range map[string]bool{
		`{"signature":"vault:v2:` + bytes64 + `"}`: true,
		`{"signature":"vault:v1:` + bytes64 + `"}`: false,
		`{"signature":"vault:v2:AAAA"}`:            false,
		`{"signature":"vault:v2:*"}`:               false,
		`{"signature":"` + bytes64 + `"}`:          false,
		`{"signature":["x"]}`:                      false,
		`null`:                                     false,
	} {
		says.data = data
		signature, err := s.TransitSign(t.Context(), k, 2, nil)
		if (err == nil) != valid || (len(signature) == ed25519.SignatureSize) != valid {
			t.Errorf("%s: %d bytes, %v", data, len(signature), err)
		}
	}
}
