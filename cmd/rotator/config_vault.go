package main

import (
	"fmt"
	"net/http"
	"strings"

	vault "github.com/hashicorp/vault/api"
)

// checkVaultLogin looks for what the chosen login method needs.
func (c *config) checkVaultLogin(problems *configError) {
	v := c.Vault
	need := func(missing bool, variable string) {
		if missing && !problems.names(variable, "VAULT_AUTH_METHOD") {
			problems.add(variable, "is not set", "the login method "+v.AuthMethod+" needs it; set it or choose another VAULT_AUTH_METHOD")
		}
	}
	switch v.AuthMethod {
	case "token":
		need(v.Token.IsZero(), "VAULT_TOKEN")
	case "approle":
		need(v.RoleID == "", "VAULT_ROLE_ID")
		need(v.SecretID.IsZero(), "VAULT_SECRET_ID")
	case "kubernetes":
		need(v.AuthRole == "", "VAULT_AUTH_ROLE")
	case "jwt":
		need(v.AuthRole == "", "VAULT_AUTH_ROLE")
		need(v.JWTFile == "", "VAULT_JWT_FILE")
	case "cert":
		need(v.ClientCert == "", "VAULT_CLIENT_CERT")
		need(v.ClientKey == "", "VAULT_CLIENT_KEY")
	}
	if v.SkipVerify {
		c.warnf("VAULT_SKIP_VERIFY: anyone between here and Vault can read every secret; use VAULT_CACERT")
	}
	c.warnPlain("VAULT_ADDR", v.Address)
}

// checkVaultPrefixes keeps credentials and audit apart: a policy that opens
// one prefix must not open the other.
func (c *config) checkVaultPrefixes(problems *configError) {
	kv, audit := c.Vault.KVPrefix, c.Audit.VaultPrefix
	if strings.HasPrefix(kv, audit) || strings.HasPrefix(audit, kv) {
		problems.add("AUDIT_VAULT_PREFIX", fmt.Sprintf("%q and VAULT_KV_PREFIX %q begin alike", audit, kv), "neither may begin with the other; write for example sinch and rotator-audit")
	}
}

// vaultClient returns the settings as Vault's own client wants them.
func (c *config) vaultClient() (*vault.Config, error) {
	v, out := c.Vault, vault.DefaultConfig()
	if out.Error != nil {
		return nil, fmt.Errorf("preparing the Vault client: %w", out.Error)
	}
	out.Address = v.Address
	err := out.ConfigureTLS(&vault.TLSConfig{
		CACert: v.CACert, CAPath: v.CAPath,
		ClientCert: v.ClientCert, ClientKey: v.ClientKey,
		TLSServerName: v.TLSServerName, Insecure: v.SkipVerify,
	})
	if err != nil {
		return nil, fmt.Errorf("preparing TLS to Vault: %w", err)
	}
	// The library keeps one connection for each processor, and one more: with
	// more projects at once, nearly every call would open one.
	if t, ok := out.HttpClient.Transport.(*http.Transport); ok {
		t.MaxIdleConnsPerHost = max(t.MaxIdleConnsPerHost, c.Run.Concurrency)
	}
	return out, nil
}
