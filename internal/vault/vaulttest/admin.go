package vaulttest

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"rotator/internal/secret"
)

// Client returns a client with the root token, which nobody records.
func (s Server) Client(t testing.TB) *api.Client {
	t.Helper()
	client, err := s.client()
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// Role is an AppRole login.
type Role struct {
	Name     string // at auth/approle/role/
	RoleID   string
	SecretID secret.Value
}

// AppRole makes a role that the policy text governs, whose tokens live for
// ttl (0: Vault's default).
func (s Server) AppRole(t testing.TB, policy string, ttl time.Duration) Role {
	t.Helper()
	name := s.Policy(t, policy)
	s.must(t, "auth/approle/role/"+name, map[string]any{
		"token_policies": name, "token_ttl": ttl.String(), "token_max_ttl": ttl.String(),
	})
	role, err := s.Client(t).Logical().ReadWithContext(t.Context(), "auth/approle/role/"+name+"/role-id")
	if err != nil || role == nil {
		t.Fatalf("reading the role id: %v", err)
	}
	id := s.must(t, "auth/approle/role/"+name+"/secret-id", nil)
	roleID, _ := role.Data["role_id"].(string)
	secretID, _ := id.Data["secret_id"].(string)
	return Role{Name: name, RoleID: roleID, SecretID: secret.New(secretID)}
}

// Seal seals the server.
func (s Server) Seal(t testing.TB) {
	t.Helper()
	s.must(t, "sys/seal", nil)
}

// Unseal unseals a server of our own build.
func (s Server) Unseal(t testing.TB) {
	t.Helper()
	s.must(t, "sys/unseal", map[string]any{"key": s.UnsealKey})
}

func (s Server) must(t testing.TB, path string, data map[string]any) *api.Secret {
	t.Helper()
	answer, err := s.Client(t).Logical().WriteWithContext(t.Context(), path, data)
	if err != nil {
		t.Fatalf("writing %s: %v", path, err)
	}
	return answer
}
