package vault_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/vault"
	"rotator/internal/vault/vaulttest"
)

// rawRequest is one raw request to Vault's API; %s in its path is a document's
// path below the mount.
type rawRequest struct{ method, path, body string }

// attacks are all ways of Vault's API to change or remove a document.
var attacks = map[string]rawRequest{
	"overwrite":             {"POST", "secret/data/%s", `{"data":{"note":"forged"}}`},
	"overwrite by PUT":      {"PUT", "secret/data/%s", `{"data":{"note":"forged"}}`},
	"next version":          {"POST", "secret/data/%s", `{"data":{"note":"forged"},"options":{"cas":1}}`},
	"patch":                 {"PATCH", "secret/data/%s", `{"data":{"note":"forged"}}`},
	"delete the newest":     {"DELETE", "secret/data/%s", ``},
	"delete a version":      {"POST", "secret/delete/%s", `{"versions":[1]}`},
	"undelete a version":    {"POST", "secret/undelete/%s", `{"versions":[1]}`},
	"destroy":               {"POST", "secret/destroy/%s", `{"versions":[1]}`},
	"destroy by PUT":        {"PUT", "secret/destroy/%s", `{"versions":[1]}`},
	"delete all versions":   {"DELETE", "secret/metadata/%s", ``},
	"keep fewer versions":   {"POST", "secret/metadata/%s", `{"max_versions":1}`},
	"let it expire":         {"POST", "secret/metadata/%s", `{"delete_version_after":"1s"}`},
	"patch the metadata":    {"PATCH", "secret/metadata/%s", `{"delete_version_after":"1s"}`},
	"let all expire":        {"POST", "secret/config", `{"delete_version_after":"87600h"}`},
	"a policy of one's own": {"POST", "sys/policies/acl/rotator", `{"policy":"path \"*\" { capabilities = [\"update\"] }"}`},
	"remove the mount":      {"DELETE", "sys/mounts/secret", ``},
}

// allowed are the raw forms of what the daemon does.
var allowed = map[string]rawRequest{
	"read":                {"GET", "secret/data/%s", ``},
	"read by version":     {"GET", "secret/data/%s?version=1", ``},
	"list":                {"LIST", "secret/metadata/%s", ``},
	"list with a slash":   {"LIST", "secret/metadata/%s/", ``},
	"list by GET":         {"GET", "secret/metadata/%s?list=true", ``},
	"list by GET, slash/": {"GET", "secret/metadata/%s/?list=true", ``},
}

// attacksDenied sends those on documents, with the test's own prefixes.
func attacksDenied(c contract) {
	t := c.t
	to := c.server(t, shippedRules(t), time.Minute)
	d, _ := to.documents(t)
	token := login(t, to)
	for _, path := range []string{anchor, "keys/0123abcd", "signing-key"} {
		create(t, d, path, note("genuine"))
		for name, r := range attacks {
			if !strings.Contains(r.path, "%s") {
				continue
			}
			if status, said := r.send(t, to.addr, token, to.prefix+"-audit/"+path); status != http.StatusForbidden {
				t.Errorf("%s of %s: status %d %s", name, path, status, said)
			}
		}
		if diff := cmp.Diff(note("genuine"), must[map[string]string](t)(d.Read(t.Context(), path))); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
}

// TestShippedPolicyKeepsAnchors: under deploy/vault/rotator.hcl, to the letter,
// no request to Vault's API changes or removes what the audit log has put
// there. Each attack works with all rights, so each would be seen.
func TestShippedPolicyKeepsAnchors(t *testing.T) {
	t.Parallel()
	server, _ := vaulttest.Start(t)
	role := server.AppRole(t, shippedPolicy(t), 0)
	to := target{
		addr: server.Addr, root: server.Token, prefix: "sinch",
		auth: vault.Auth{Method: "approle", RoleID: role.RoleID, SecretID: role.SecretID},
	}
	s, _ := to.open(t)
	d := must[*vault.Documents](t)(s.Documents("rotator-audit"))
	token := login(t, to)
	documents := []string{anchor, "keys/0123abcd", "signing-key"}
	for _, path := range documents {
		create(t, d, path, note("genuine"))
	}
	for name, r := range attacks {
		for _, path := range documents {
			if status, said := r.send(t, to.addr, token, "rotator-audit/"+path); status != http.StatusForbidden {
				t.Errorf("%s of %s: status %d %s", name, path, status, said)
			}
		}
	}
	for _, path := range documents {
		if diff := cmp.Diff(note("genuine"), must[map[string]string](t)(d.Read(t.Context(), path))); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
		if n := must[int](t)(d.Versions(t.Context(), path)); n != 1 {
			t.Errorf("%s has %d versions", path, n)
		}
	}
	onlyWhatIsNeeded(t, to, token)
	attacksAreReal(t, to)
}

// onlyWhatIsNeeded: every form of a list is allowed where the daemon lists,
// and nowhere else.
func onlyWhatIsNeeded(t *testing.T, to target, token string) {
	t.Helper()
	folders := map[string]int{
		"rotator-audit/checkpoints": http.StatusOK, "rotator-audit/checkpoints/1": http.StatusOK,
		"rotator-audit/checkpoints/1/2026-03-04": http.StatusOK, "rotator-audit/keys": http.StatusOK,
		"rotator-audit/checkpoints/2": http.StatusNotFound,
		"rotator-audit":               http.StatusForbidden, "sinch": http.StatusForbidden,
	}
	for name, r := range allowed {
		for path, expected := range folders {
			if !strings.HasPrefix(name, "list") {
				path, expected = "rotator-audit/signing-key", http.StatusOK
			}
			if status, said := r.send(t, to.addr, token, path); status != expected {
				t.Errorf("%s of %s: status %d %s, want %d", name, path, status, said, expected)
			}
		}
	}
}

// attacksAreReal sends them with all rights, to documents of their own.
func attacksAreReal(t *testing.T, to target) {
	t.Helper()
	for name, r := range attacks {
		if name == "remove the mount" {
			continue // the last one: it takes the others' documents along
		}
		path := "rotator-audit/keys/" + strings.NewReplacer(" ", "-", "'", "").Replace(name)
		write(t, to, path, map[string]any{"note": "genuine"})
		if status, said := r.send(t, to.addr, to.root.Reveal(), path); status != http.StatusOK && status != http.StatusNoContent {
			t.Errorf("%s with all rights: status %d %s", name, status, said)
		}
	}
	if status, said := attacks["remove the mount"].send(t, to.addr, to.root.Reveal(), ""); status != http.StatusNoContent {
		t.Errorf("removing the mount with all rights: status %d %s", status, said)
	}
}

// login is a token of the target's AppRole.
func login(t *testing.T, to target) string {
	t.Helper()
	answer, err := to.admin(t).Logical().WriteWithContext(t.Context(), "auth/approle/login",
		map[string]any{"role_id": to.auth.RoleID, "secret_id": to.auth.SecretID.Reveal()})
	if err != nil {
		t.Fatal(err)
	}
	return answer.Auth.ClientToken
}

// send sends the request and returns status and body.
func (r rawRequest) send(t *testing.T, addr, token, document string) (int, string) {
	t.Helper()
	url := addr + "/v1/" + strings.ReplaceAll(r.path, "%s", document)
	req, err := http.NewRequestWithContext(t.Context(), r.method, url, strings.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", token)
	if r.method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	var body bytes.Buffer
	_, err = body.ReadFrom(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	if body.Len() > 0 && !json.Valid(body.Bytes()) {
		t.Errorf("%s %s: the answer is no JSON", r.method, r.path)
	}
	return resp.StatusCode, body.String()
}
