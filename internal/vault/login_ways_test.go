package vault_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"rotator/internal/secret"
	"rotator/internal/vault"
	"rotator/internal/vault/vaulttest"
)

// lives are the token settings of a role.
type lives map[string]any

// prolonged: a second, again and again. limited: a second, and then another
// login.
func prolonged() lives { return lives{"token_ttl": "1s", "token_max_ttl": "1h"} }
func limited() lives   { return lives{"token_ttl": "1s", "token_max_ttl": "1s"} }
func lasting() lives   { return lives{"token_ttl": "1h", "token_max_ttl": "1h"} }

// way is a login method that has been set up on the real server.
type way struct {
	target

	t         *testing.T
	server    vaulttest.Server
	cert, key string // files of the client certificate
	ca        string // file of the server's authority; TLS is spoken if set
	mount     string
	files     []string // that hold what the login shows
	replace   func()   // puts something else into them, worth as much
	another   bool     // and that is somebody else
	spoil     func()   // puts something into them, or the server, that is refused
	blamed    string   // what the error then names
}

// makeWay sets a method up with a role of the given lives.
type makeWay func(t *testing.T, given lives) *way

func ways() map[string]makeWay {
	return map[string]makeWay{
		"token file": byTokenFile, "approle": byAppRole, "approle file": byAppRoleFile, "approle wrapped": byWrapped,
		"jwt": byJWT, "kubernetes": byKubernetes, "cert": byCert,
	}
}

func newWay(t *testing.T) *way {
	t.Helper()
	w := &way{t: t, target: realServer(t, nil, 0)}
	w.server = vaulttest.Real(t)
	return w
}

// role mounts a method and writes its role, with a policy that is enough.
func (w *way) role(t *testing.T, method, kind string, fields map[string]any, given lives) {
	t.Helper()
	w.mount = w.server.Mount(t, method)
	fields["token_policies"] = w.policy(t)
	for name, value := range given {
		fields[name] = value
	}
	w.server.Write(t, w.path(kind, "rotator"), fields)
	w.auth = vault.Auth{Method: method, Mount: w.mount, Role: "rotator"}
}

func (w *way) policy(t *testing.T) string {
	t.Helper()
	var policy strings.Builder
	for _, r := range full() {
		fmt.Fprintf(&policy, "path %q { capabilities = [%s] }\n",
			strings.ReplaceAll(r.path, "%s", w.prefix), `"`+strings.Join(r.capabilities, `", "`)+`"`)
	}
	return w.server.Policy(t, policy.String())
}

func (w *way) path(parts ...string) string { return "auth/" + w.mount + "/" + strings.Join(parts, "/") }

// file is a file of the test's own with a text.
func (w *way) file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	put(t, path, text)
	w.files = append(w.files, path)
	return path
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// open opens a store; change may adapt its configuration.
func (w *way) open(t *testing.T, change ...func(*vault.Config)) (*vault.Store, *recorder, error) {
	t.Helper()
	return w.tryOpen(t, append([]func(*vault.Config){w.configure()}, change...)...)
}

func (w *way) configure() func(*vault.Config) {
	return func(c *vault.Config) {
		c.ClientCert, c.ClientKey = w.cert, w.key
		if w.ca == "" {
			return
		}
		c.API = config(w.server.TLSAddr)
		if err := c.API.ConfigureTLS(tlsConfig(w.ca)); err != nil {
			w.t.Fatal(err)
		}
	}
}

// revoke ends every token of the method's, as an operator or Vault would.
func (w *way) revoke(t *testing.T) {
	t.Helper()
	if w.mount == "" {
		token, err := os.ReadFile(w.files[0])
		if err != nil {
			t.Fatal(err)
		}
		w.server.Write(t, "auth/token/revoke", map[string]any{"token": strings.TrimSpace(string(token))})
		return
	}
	w.server.Write(t, "sys/leases/revoke-prefix/auth/"+w.mount+"/", map[string]any{"sync": true})
}

// byTokenFile is a token in a file that somebody else replaces.
func byTokenFile(t *testing.T, given lives) *way {
	t.Helper()
	w := newWay(t)
	policy, limited := w.policy(t), given["token_max_ttl"] == "1s"
	if given["token_ttl"] == "1s" { // once dead, nothing helps; leave a slow machine the time
		given["token_ttl"] = "4s"
	}
	if limited {
		given["token_max_ttl"] = given["token_ttl"]
	}
	client, ctx := w.admin(t), context.WithoutCancel(t.Context()) // the owner ends after the test
	create := func() string {
		made, err := client.Logical().WriteWithContext(ctx, "auth/token/create", map[string]any{
			"policies": []string{policy}, "ttl": given["token_ttl"], "explicit_max_ttl": given["token_max_ttl"],
		})
		if err != nil {
			t.Error(err)
			return "none"
		}
		return made.Auth.ClientToken
	}
	file := w.file(t, "token", create())
	w.auth = vault.Auth{Method: "token", TokenFile: file}
	w.replace = func() { put(t, file, create()) }
	w.spoil = func() { put(t, file, "hvs.nobody-has-made-this-token") }
	w.blamed = "VAULT_TOKEN_FILE " + file
	if limited {
		own(t, file, create)
	}
	return w
}

// own puts something new into a file all the time, as its owner does, until the
// test ends.
func own(t *testing.T, file string, create func() string) {
	t.Helper()
	stop := make(chan struct{})
	var owner sync.WaitGroup
	t.Cleanup(func() { close(stop); owner.Wait() })
	owner.Go(func() {
		tick := time.NewTicker(300 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				err := os.WriteFile(file+".new", []byte(create()), 0o600)
				if err = errors.Join(err, os.Rename(file+".new", file)); err != nil {
					t.Error(err)
				}
			}
		}
	})
}

func byAppRole(t *testing.T, given lives) *way {
	t.Helper()
	w := newWay(t)
	w.role(t, "approle", "role", map[string]any{}, given)
	id, err := w.admin(t).Logical().ReadWithContext(t.Context(), w.path("role/rotator/role-id"))
	if err != nil {
		t.Fatal(err)
	}
	w.auth.RoleID, _ = id.Data["role_id"].(string)
	w.auth.SecretID = secret.New(w.secretID(t))
	w.spoil = func() { w.auth.SecretID = secret.New("nobody-has-made-this-secret-id") }
	w.blamed = "VAULT_SECRET_ID"
	return w
}

func (w *way) secretID(t *testing.T) string {
	t.Helper()
	made := w.server.Write(t, w.path("role/rotator/secret-id"), nil)
	id, _ := made.Data["secret_id"].(string)
	return id
}

// wrappedID is a wrapping token that holds a new secret id.
func (w *way) wrappedID(t *testing.T) string {
	t.Helper()
	return w.server.WriteWrapped(t, w.path("role/rotator/secret-id"), nil)
}

func byAppRoleFile(t *testing.T, given lives) *way {
	t.Helper()
	w := byAppRole(t, given)
	old := w.auth.SecretID.Reveal()
	file := w.file(t, "secret-id", old)
	w.auth.SecretID, w.auth.SecretIDFile = secret.Value{}, file
	w.replace = func() {
		put(t, file, w.secretID(t))
		w.server.Write(t, w.path("role/rotator/secret-id/destroy"), map[string]any{"secret_id": old})
	}
	w.spoil = func() { put(t, file, "nobody-has-made-this-secret-id") }
	w.blamed = "VAULT_SECRET_ID_FILE " + file
	return w
}

func byWrapped(t *testing.T, given lives) *way {
	t.Helper()
	w := byAppRole(t, given)
	file := w.file(t, "wrapping-token", w.wrappedID(t))
	w.auth.SecretID, w.auth.SecretIDFile, w.auth.Wrapped = secret.Value{}, file, true
	w.replace = func() { put(t, file, w.wrappedID(t)) }
	w.spoil = func() { put(t, file, "hvs.nobody-has-made-this-token") }
	w.blamed = "VAULT_SECRET_ID_FILE " + file
	return w
}

func byJWT(t *testing.T, given lives) *way {
	t.Helper()
	w, issuer := newWay(t), vaulttest.NewIssuer(t)
	w.role(t, "jwt", "role", map[string]any{"role_type": "jwt", "user_claim": "sub", "bound_audiences": []string{"vault"}}, given)
	w.server.Write(t, w.path("config"), map[string]any{"jwt_validation_pubkeys": []string{issuer.PublicKey}})
	w.signed(t, issuer, (*vaulttest.Issuer).Token)
	return w
}

// signed makes it a way whose token an issuer signs.
func (w *way) signed(t *testing.T, issuer *vaulttest.Issuer, token func(i *vaulttest.Issuer, t testing.TB, who string) string) {
	t.Helper()
	w.auth.JWTFile = w.file(t, "jwt", token(issuer, t, "one"))
	w.replace, w.another = func() { put(t, w.auth.JWTFile, token(issuer, t, "another")) }, true
	w.spoil = func() { put(t, w.auth.JWTFile, token(vaulttest.NewIssuer(t), t, "one")) }
	w.blamed = "VAULT_JWT_FILE " + w.auth.JWTFile
}

func byKubernetes(t *testing.T, given lives) *way {
	t.Helper()
	w, issuer := newWay(t), vaulttest.NewIssuer(t)
	w.role(t, "kubernetes", "role", map[string]any{
		"bound_service_account_names": []string{"one", "another"}, "bound_service_account_namespaces": []string{"apps"},
	}, given)
	url, authority := vaulttest.TokenReviews(t, issuer)
	w.server.Write(t, w.path("config"), map[string]any{
		"kubernetes_host": url, "kubernetes_ca_cert": authority, "disable_local_ca_jwt": true, "token_reviewer_jwt": issuer.PodToken(t, "vault"),
	})
	w.signed(t, issuer, (*vaulttest.Issuer).PodToken)
	return w
}

func byCert(t *testing.T, given lives) *way {
	t.Helper()
	w, authority := newWay(t), vaulttest.NewAuthority(t)
	if w.server.TLSAddr == "" {
		t.Skip("this Vault server has no TLS listener; unset VAULT_TEST_ADDR and take vault and bao off PATH to have one built")
	}
	w.role(t, "cert", "certs", map[string]any{"certificate": authority.Certificate}, given)
	w.ca = filepath.Join(t.TempDir(), "ca.pem")
	put(t, w.ca, w.server.TLSCA)
	w.cert, w.key = w.file(t, "cert.pem", ""), w.file(t, "key.pem", "")
	authority.Issue(t, "one", w.cert, w.key)
	w.replace, w.another = func() { authority.Issue(t, "another", w.cert, w.key) }, true
	w.spoil = func() { vaulttest.NewAuthority(t).Issue(t, "one", w.cert, w.key) }
	w.blamed = "VAULT_CLIENT_CERT"
	return w
}
