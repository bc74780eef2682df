package jobs_test

import (
	"context"
	"testing"

	"github.com/hashicorp/vault/api"

	"rotator/internal/audit"
	"rotator/internal/audit/audittest"
	"rotator/internal/call"
	"rotator/internal/jobs"
	"rotator/internal/vault"
	"rotator/internal/vault/vaulttest"
)

// TestAuditStore holds Vault's documents to the contract that directories
// fulfil, too.
func TestAuditStore(t *testing.T) {
	t.Parallel()
	server := vaulttest.Real(t)
	audittest.Store(t, func(t *testing.T) audit.Store {
		t.Helper()
		access := api.DefaultConfig()
		access.Address = server.Addr
		store, err := vault.Open(t.Context(), vault.Config{
			API: access, Auth: vault.Auth{Method: "token", Token: server.Token}, Prefix: vaulttest.Prefix(), Recorder: nobody{},
		})
		if err != nil {
			t.Fatal(err)
		}
		documents, err := store.Documents("audit-" + vaulttest.Prefix())
		if err != nil {
			t.Fatal(err)
		}
		return jobs.AuditStore(documents)
	})
}

// nobody records nothing.
type nobody struct{}

func (nobody) Intent(context.Context, call.Call) error { return nil }

func (nobody) Outcome(context.Context, call.Call, call.Result) error { return nil }
