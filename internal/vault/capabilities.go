package vault

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/vault/api"
)

// needs is what rotator does with a credential's path, by KV endpoint.
var needs = []struct {
	endpoint     string
	capabilities []string
}{
	{"data", []string{"create", "read", "update"}},
	{"metadata", []string{"create", "read", "update"}},
	{"delete", []string{"update"}},
	{"destroy", []string{"update"}},
}

// Capabilities asks Vault what the login may do at API paths (with the mount,
// such as "secret/data/sinch/…").
func (s *Store) Capabilities(ctx context.Context, paths ...string) (map[string][]string, error) {
	answer, err := s.read(ctx, label{}, func(ctx context.Context, l *api.Logical) (*api.Secret, error) {
		return l.WriteWithContext(ctx, "sys/capabilities-self", map[string]any{"paths": paths})
	})
	if err != nil {
		return nil, fmt.Errorf("asking for capabilities: %w", err)
	}
	if answer == nil {
		return nil, fmt.Errorf("asking for capabilities: %w: empty answer", ErrUnreachable)
	}
	granted := make(map[string][]string, len(paths))
	for _, path := range paths {
		granted[path] = texts(answer.Data[path])
	}
	return granted, nil
}

// CanWrite returns nil if the login may do all that rotator does with a
// credential's path, else ErrDenied with what is missing and the policy that
// grants it.
func (s *Store) CanWrite(ctx context.Context, path string) error {
	paths := make([]string, 0, len(needs))
	for _, need := range needs {
		paths = append(paths, s.api(need.endpoint, path))
	}
	granted, err := s.Capabilities(ctx, paths...)
	if err != nil {
		return fmt.Errorf("checking rights at %s: %w", path, err)
	}
	var missing, policy []string
	for i, need := range needs {
		lacks := lacking(granted[paths[i]], need.capabilities)
		if len(lacks) == 0 {
			continue
		}
		missing = append(missing, strings.Join(lacks, " and ")+" at "+paths[i])
		policy = append(policy, s.policyLine(need.endpoint, need.capabilities))
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w: the login %s lacks %s; grant it with: %s",
			ErrDenied, s.Entity(), strings.Join(missing, ", "), strings.Join(policy, " "))
	}
	return nil
}

func (s *Store) policyLine(endpoint string, capabilities []string) string {
	return grant(s.api(endpoint, s.prefix+"/*"), `"`+strings.Join(capabilities, `", "`)+`"`)
}

func grant(path, capabilities string) string {
	return fmt.Sprintf("path %q { capabilities = [%s] }", path, capabilities)
}

// lacking is what of want is not in have. "root" has everything, "deny"
// nothing.
func lacking(have, want []string) []string {
	if slices.Contains(have, "root") {
		return nil
	}
	if slices.Contains(have, "deny") {
		return want
	}
	var out []string
	for _, capability := range want {
		if !slices.Contains(have, capability) {
			out = append(out, capability)
		}
	}
	return out
}

// policyHint says what a policy must grant for the request to be allowed.
func (l label) policyHint() string {
	if l.api == "" {
		return ""
	}
	return " at " + l.api + "; if the login is still valid, its policy needs: " + grant(l.api, l.capabilities)
}
