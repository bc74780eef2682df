package vaulttest

import (
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"
)

// Write writes a path as root, or the test ends.
func (s Server) Write(t testing.TB, path string, data map[string]any) *api.Secret {
	t.Helper()
	return s.must(t, path, data)
}

// WriteWrapped is Write whose answer is held by the wrapping token it returns.
func (s Server) WriteWrapped(t testing.TB, path string, data map[string]any) string {
	t.Helper()
	client := s.Client(t)
	client.SetWrappingLookupFunc(func(string, string) string { return "5m" })
	made, err := client.Logical().WriteWithContext(t.Context(), path, data)
	if err != nil {
		t.Fatalf("writing %s: %v", path, err)
	}
	return made.WrapInfo.Token
}

// Mount mounts a login method where no other test does and returns where.
func (s Server) Mount(t testing.TB, kind string) string {
	t.Helper()
	path := "test/" + strings.ToLower(rand.Text())
	s.must(t, "sys/auth/"+path, map[string]any{"type": kind})
	return path
}

// Policy makes a policy of the text and returns its name.
func (s Server) Policy(t testing.TB, text string) string {
	t.Helper()
	name := "test-" + rand.Text()
	s.must(t, "sys/policies/acl/"+name, map[string]any{"policy": text})
	return name
}

// TokenReviews is the part of a Kubernetes API server that Vault's kubernetes
// login asks: tokens that the issuer has signed for ServiceAccount are good.
// It returns its URL and its certificate's authority in PEM.
func TokenReviews(t testing.TB, i *Issuer) (url, authority string) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review struct {
			Spec struct {
				Token string `json:"token"`
			} `json:"spec"`
		}
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil || r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		status := map[string]any{"authenticated": false, "error": "not one of ours"}
		if claims, ok := i.verify(review.Spec.Token); ok {
			account, _ := claims["kubernetes.io/serviceaccount/service-account.name"].(string)
			uid, _ := claims["kubernetes.io/serviceaccount/service-account.uid"].(string)
			status = map[string]any{"authenticated": true, "user": map[string]any{
				"username": "system:serviceaccount:" + podNamespace + ":" + account, "uid": uid,
				"groups": []string{"system:serviceaccounts", "system:serviceaccounts:" + podNamespace, "system:authenticated"},
			}}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]any{
			"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": review.Spec, "status": status,
		})
	}))
	t.Cleanup(server.Close)
	return server.URL, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
}
