package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/hashicorp/vault/api"

	"rotator/internal/vault"
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
		if _, err := os.Stat(vault.PodToken); err != nil && v.JWTFile == "" && !problems.names("VAULT_JWT_FILE", "VAULT_AUTH_METHOD") {
			problems.add("VAULT_JWT_FILE", "is not set, and the pod's own "+vault.PodToken+" cannot be found",
				"run in a pod with a service account whose token is mounted, or name the file")
		}
	case "jwt":
		need(v.AuthRole == "", "VAULT_AUTH_ROLE")
		need(v.JWTFile == "", "VAULT_JWT_FILE")
	case "cert":
		need(v.ClientCert == "", "VAULT_CLIENT_CERT")
		need(v.ClientKey == "", "VAULT_CLIENT_KEY")
		if strings.HasPrefix(v.Address, "http:") && !problems.names("VAULT_ADDR") {
			problems.add("VAULT_ADDR", "is plain http, where nobody can show a certificate", "write the https URL, or choose another VAULT_AUTH_METHOD")
		}
	}
	if v.AuthMethod != "cert" && (v.ClientCert == "") != (v.ClientKey == "") && !problems.names("VAULT_CLIENT_CERT", "VAULT_CLIENT_KEY") {
		problems.add("VAULT_CLIENT_KEY", "VAULT_CLIENT_CERT and VAULT_CLIENT_KEY belong together, only one is set", "set both or neither")
	}
	if v.Wrapped && v.AuthMethod != "approle" {
		problems.add("VAULT_SECRET_ID_WRAPPED", "belongs to the login method approle, not to "+v.AuthMethod, "remove it, or set VAULT_AUTH_METHOD=approle")
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

// vaultAuth returns how to log in.
func (c *config) vaultAuth() vault.Auth {
	v := c.Vault
	return vault.Auth{
		Method: v.AuthMethod, Mount: v.AuthMount, Role: v.AuthRole,
		Token: v.Token, TokenFile: c.TokenFile,
		RoleID: v.RoleID, SecretID: v.SecretID, SecretIDFile: c.SecretIDFile,
		Wrapped: v.Wrapped, Unwrapped: c.unwrapped,
		JWTFile: v.JWTFile,
	}
}

// vaultClient returns the settings as Vault's own client wants them, but for
// the client certificate, which is read again for every connection.
func (c *config) vaultClient() (*api.Config, error) {
	v, out := c.Vault, api.DefaultConfig()
	if out.Error != nil {
		return nil, fmt.Errorf("preparing the Vault client: %w", out.Error)
	}
	out.Address = v.Address
	err := out.ConfigureTLS(&api.TLSConfig{
		CACert: v.CACert, CAPath: v.CAPath,
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
