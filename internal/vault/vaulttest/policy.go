package vaulttest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"rotator/internal/secret"
)

// commented matches the start of the lines for Transit.
var commented = regexp.MustCompile(`(?m)^#(path|  capabilities|\})`)

// ShippedPolicy is the policy that deploy/vault ships, for other prefixes:
// those of credentials, of checkpoints and of a Transit key, whose lines are
// in force.
func ShippedPolicy(t testing.TB, credentials, checkpoints, transitKey string) string {
	t.Helper()
	root, err := moduleDir()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "deploy", "vault", "rotator.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	here := strings.NewReplacer("/sinch/", "/"+credentials+"/", "transit/keys/rotator-audit", "transit/keys/"+transitKey,
		"transit/sign/rotator-audit", "transit/sign/"+transitKey, "/rotator-audit/", "/"+checkpoints+"/")
	return commented.ReplaceAllString(here.Replace(string(text)), "$1")
}

// Login returns a token that the policy text governs.
func (s Server) Login(t testing.TB, policy string) secret.Value {
	t.Helper()
	name := s.Policy(t, policy)
	token := s.must(t, "auth/token/create", map[string]any{"policies": []string{name}, "no_default_policy": false, "ttl": "2h"})
	return secret.New(token.Auth.ClientToken)
}
