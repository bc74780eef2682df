package sinchtest

import (
	"crypto/hmac"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// claims are what a token says. Tokens are signed and not kept.
type claims struct {
	Key    string `json:"sub"`
	Serial uint64 `json:"jti"`
	Expiry int64  `json:"exp"` // Unix nanoseconds
}

var tokenHeader = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`))

func (s *Server) newToken(k *key) string {
	s.issued++
	payload, err := json.Marshal(claims{Key: k.id, Serial: s.issued, Expiry: s.cfg.Now().Add(s.cfg.TokenLife).UnixNano()})
	if err != nil {
		panic(err) // two numbers and a string always marshal
	}
	signed := tokenHeader + "." + base64.RawURLEncoding.EncodeToString(payload)
	token := signed + "." + s.signature(signed)
	s.lastToken.Store(&token)
	return token
}

func (s *Server) signature(signed string) string {
	return base64.RawURLEncoding.EncodeToString(s.derive("token", signed))
}

func (s *Server) readToken(token string) (claims, bool) {
	var c claims
	cut := strings.LastIndexByte(token, '.')
	if cut < 0 || !hmac.Equal([]byte(s.signature(token[:cut])), []byte(token[cut+1:])) {
		return c, false
	}
	_, encoded, _ := strings.Cut(token[:cut], ".")
	payload, err := base64.RawURLEncoding.DecodeString(encoded)
	return c, err == nil && json.Unmarshal(payload, &c) == nil
}

// genuine returns the key if the pair may be exchanged now, else nil.
func (s *Server) genuine(keyID, secret string) *key {
	k := s.keys[keyID]
	if k == nil || k.gone != 0 || k.project.deleted || s.cfg.Now().UnixNano() < k.usable {
		return nil
	}
	if subtle.ConstantTimeCompare([]byte(secret), []byte(s.secretOf(keyID))) == 0 {
		return nil
	}
	return k
}

// exchange is the token endpoint.
func (s *Server) exchange(v *visit) answer {
	if !s.tokens.AllowN(s.cfg.Now(), 1) {
		return s.rateLimited(v, "")
	}
	form, err := url.ParseQuery(string(v.body))
	if err != nil {
		return s.refusal(v, http.StatusBadRequest, "INVALID_REQUEST", "The body is no form")
	}
	if form.Get("grant_type") != "client_credentials" {
		return s.refusal(v, http.StatusBadRequest, "UNSUPPORTED_GRANT_TYPE", "Only client_credentials is supported")
	}
	id, secret, _ := v.request.BasicAuth()
	k := s.genuine(id, secret)
	if k == nil { // RFC 6749 wants both parts form-encoded, curl sends them raw
		k = s.genuine(unescaped(id), unescaped(secret))
	}
	if k == nil {
		return s.invalidClient(v)
	}
	kind := "bearer" // both spellings occur
	if s.issued%2 == 1 {
		kind = "Bearer"
	}
	return success(object{
		"access_token": s.newToken(k), "token_type": kind, "scope": "",
		"expires_in": int(s.cfg.TokenLife/time.Second) - 1,
	})
}

func unescaped(text string) string {
	if plain, err := url.QueryUnescape(text); err == nil {
		return plain
	}
	return text
}

// invalidClient refuses a wrong or deleted key. Any member may be missing:
// the shapes take turns.
func (s *Server) invalidClient(v *visit) answer {
	a := s.refusal(v, s.cfg.InvalidClientStatus, "INVALID_CLIENT", "Client authentication failed")
	a.header = http.Header{"Www-Authenticate": {"Basic"}}
	full, _ := a.body.(object)
	full["error_hint"] = "The requested OAuth 2.0 Client does not exist or the secret is wrong."
	full["error_verbose"] = "Client authentication failed (e.g., unknown client)"
	missing := [][]string{
		{},
		{"error_hint", "error_verbose"},
		{"error", "error_hint"},
		{"error_description", "status_code"},
	}[s.refusals%4]
	s.refusals++
	if s.cfg.EchoSecrets && len(missing) > 0 && missing[0] == "error_description" {
		missing = missing[1:] // the echo must stay in
	}
	for _, name := range missing {
		delete(full, name)
	}
	return a
}

// authenticate finds out who calls a resource API, or refuses.
func (s *Server) authenticate(v *visit) *answer {
	kind, credentials, _ := strings.Cut(v.request.Header.Get("Authorization"), " ")
	var refused answer
	switch strings.ToLower(kind) {
	case "bearer":
		return s.authenticateToken(v, credentials)
	case "basic":
		id, secret, _ := v.request.BasicAuth()
		v.caller, v.basic = s.genuine(id, secret), true
		if v.caller != nil {
			return nil
		}
		refused = s.refusal(v, http.StatusUnauthorized, "UNAUTHENTICATED", "Unauthenticated")
	default:
		refused = answer{status: http.StatusUnauthorized} // no body at all
	}
	return &refused
}

func (s *Server) authenticateToken(v *visit, token string) *answer {
	now := s.cfg.Now()
	c, valid := s.readToken(token)
	k := s.keys[c.Key]
	if !valid || k == nil {
		a := s.refusal(v, http.StatusUnauthorized, "UNAUTHENTICATED", "Jwt verification fails")
		return &a
	}
	if k.gone != 0 && now.UnixNano() > k.gone+int64(s.cfg.TokenGrace) || k.project.deleted {
		return &answer{status: http.StatusUnauthorized} // without saying "expired" (SINCH.md section 7)
	}
	expiry := time.Unix(0, c.Expiry)
	if c.Serial <= s.expiredThrough && now.Before(expiry) {
		expiry = now
	}
	if !now.Before(expiry) {
		a := s.refusal(v, http.StatusUnauthorized, "UNAUTHENTICATED", "Jwt is expired")
		a.header = http.Header{"Www-Authenticate": {fmt.Sprintf(
			`Bearer error="invalid_token", error_description="Jwt expired at %s"`, expiry.UTC().Format(time.RFC3339))}}
		return &a
	}
	v.caller = k
	return nil
}

// permitted returns the project if the caller may act on it: its own, or a
// subproject of its own.
func (s *Server) permitted(v *visit, id string) (*project, *answer) {
	p, own := s.projects[id], v.caller.project
	if p == nil || p != own && p.parent != own {
		a := s.refusal(v, http.StatusForbidden, "PERMISSION_DENIED", "Permission denied or no such project")
		return nil, &a
	}
	if p.deleted {
		a := s.refusal(v, http.StatusNotFound, "NOT_FOUND", "Project not found")
		return nil, &a
	}
	return p, nil
}

// usable is permitted for what a subproject that is still being made refuses:
// with 403 or 404, depending on the subproject.
func (s *Server) usable(v *visit, id string) (*project, *answer) {
	p, refused := s.permitted(v, id)
	if refused != nil || s.cfg.Now().UnixNano() >= p.ready {
		return p, refused
	}
	status := http.StatusForbidden
	if s.rank(id)%2 == 0 {
		status = http.StatusNotFound
	}
	a := s.refusal(v, status, states[status], "Project is not ready")
	return nil, &a
}
