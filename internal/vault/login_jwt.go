package vault

import (
	"context"
	"fmt"
)

// PodToken is where Kubernetes puts a pod's service account token, and
// replaces it before it ends.
const PodToken = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// byJWT is the login of methods kubernetes and jwt: a token that somebody else
// signs, in a file that they renew.
func (a *Auth) byJWT() (method, error) {
	file := a.JWTFile
	if file == "" && a.Method == "kubernetes" {
		file = PodToken
	}
	if a.Role == "" || file == "" {
		return nil, fmt.Errorf("%w: method %s needs VAULT_AUTH_ROLE and VAULT_JWT_FILE", ErrConfig, a.Method)
	}
	jwt := source{variable: "VAULT_JWT_FILE", file: file}
	role := a.Role
	proof := func(_ context.Context, s *session) (map[string]any, error) {
		token, err := jwt.read()
		if err != nil {
			return nil, err
		}
		s.hold(token)
		return map[string]any{"role": role, "jwt": token.Reveal()}, nil
	}
	return &issued{
		name: a.Method, mount: a.Mount, proof: proof,
		remedy: fmt.Sprintf("what `vault read auth/%s/role/%s` (VAULT_AUTH_ROLE) asks of the token in %s", a.Mount, role, jwt.name()),
	}, nil
}
