package vaultmem

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// login is a live token.
type login struct {
	name    string
	ttl     time.Duration
	expires time.Time // zero: never
	rules   []Rule
}

// route answers what needs no token, then checks the token, then the rights.
func (s *Server) route(r request) response {
	switch r.path {
	case "sys/health":
		return response{plain: true, data: map[string]any{
			"initialized": true, "sealed": false, "standby": false, "version": version, "server_time_utc": s.cfg.Now().Unix(),
		}}
	case "sys/seal-status":
		return response{plain: true, data: map[string]any{
			"type": "shamir", "initialized": true, "sealed": false, "t": 1, "n": 1, "progress": 0, "version": version,
		}}
	case "auth/approle/login":
		return s.logIn(r)
	}
	if r.token == "" {
		return refuse(http.StatusForbidden, "permission denied")
	}
	l, ok := s.tokens[r.token]
	if !ok || (!l.expires.IsZero() && !s.cfg.Now().Before(l.expires)) {
		return refuse(http.StatusForbidden, "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n")
	}
	switch {
	case r.path == "auth/token/lookup-self":
		return s.lookUp(r.token, l)
	case r.path == "auth/token/renew-self":
		return s.renew(r.token, l)
	case r.path == "sys/capabilities-self":
		return capabilitiesOf(l, r)
	case strings.HasPrefix(r.path, "sys/internal/ui/mounts/"):
		return s.mountInfo(strings.TrimPrefix(r.path, "sys/internal/ui/mounts/"))
	}
	return s.engine(r, l)
}

// version is what health and seal status say; "rotator" tells a person what
// is answering.
const version = "1.21.2+rotator.mem"

func (s *Server) logIn(r request) response {
	roleID, _ := r.body["role_id"].(string)
	secretID, _ := r.body["secret_id"].(string)
	for _, role := range s.cfg.Roles {
		if role.RoleID != roleID || role.SecretID.Reveal() != secretID {
			continue
		}
		token := newToken().Reveal()
		s.tokens[token] = login{name: "approle", ttl: role.TTL, rules: role.Rules}
		return s.renew(token, s.tokens[token])
	}
	return refuse(http.StatusBadRequest, "invalid role or secret ID")
}

func (s *Server) renew(token string, l login) response {
	if l.ttl > 0 {
		l.expires = s.cfg.Now().Add(l.ttl)
		s.tokens[token] = l
	}
	return response{auth: map[string]any{
		"client_token": token, "accessor": l.name, "lease_duration": int(l.ttl.Seconds()), "renewable": l.ttl > 0,
		"policies": []string{l.name}, "entity_id": l.entity(), "token_type": "service",
	}}
}

func (s *Server) lookUp(token string, l login) response {
	ttl := 0
	if !l.expires.IsZero() {
		ttl = int(l.expires.Sub(s.cfg.Now()).Seconds())
	}
	return response{data: map[string]any{
		"id": token, "display_name": l.name, "entity_id": l.entity(), "ttl": ttl,
		"renewable": l.ttl > 0, "policies": []string{l.name}, "type": "service",
	}}
}

// entity is empty for the root token, as at the real server.
func (l login) entity() string {
	if l.name == "root" {
		return ""
	}
	return "entity-" + l.name
}

func (s *Server) mountInfo(mount string) response {
	if mount != s.cfg.Mount {
		return refuse(http.StatusForbidden, `preflight capability check returned 403, please ensure client's policies grant access to path "`+mount+`/"`)
	}
	return response{data: map[string]any{
		"type": "kv", "path": mount + "/", "options": map[string]any{"version": "2"},
	}}
}

func capabilitiesOf(l login, r request) response {
	data := map[string]any{}
	paths, _ := r.body["paths"].([]any)
	for _, p := range paths {
		if path, ok := p.(string); ok {
			data[path] = l.may(path)
		}
	}
	return response{data: data}
}

// may returns the capabilities that the rule for a path grants, which is found
// as Vault does it: the same path, else the longest prefix; for a folder (a
// slash at the end: it is to be listed) both without its slash too.
func (l login) may(path string) []string {
	bare := strings.TrimSuffix(path, "/")
	for _, p := range []string{path, bare} {
		for _, rule := range l.rules {
			if rule.Path == p {
				return rule.Capabilities
			}
		}
	}
	for _, p := range []string{bare, path} {
		granted, length := []string(nil), -1
		for _, rule := range l.rules {
			prefix, wild := strings.CutSuffix(rule.Path, "*")
			if wild && strings.HasPrefix(p, prefix) && len(prefix) > length {
				granted, length = rule.Capabilities, len(prefix)
			}
		}
		if length >= 0 {
			return granted
		}
	}
	return []string{"deny"}
}

func (l login) allows(path, capability string) bool {
	have := l.may(path)
	return slices.Contains(have, "root") || slices.Contains(have, capability)
}
