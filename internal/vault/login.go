package vault

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"rotator/internal/secret"
)

// Auth says how to log in. What comes from a file is read again at every login,
// because others replace it: a Vault Agent, Kubernetes, a person.
type Auth struct {
	Method string // "token" (default), "approle", "kubernetes", "jwt" or "cert"
	Mount  string // of the login method; default its name
	Role   string // of methods kubernetes and jwt; of cert, where it may be empty

	Token     secret.Value // of method token
	TokenFile string       // instead of Token

	RoleID       string       // of method approle
	SecretID     secret.Value // of method approle
	SecretIDFile string       // instead of SecretID
	// Wrapped says that the secret id is a wrapping token that holds it, and
	// Unwrapped remembers what it held; nil forgets it with the Store.
	Wrapped   bool
	Unwrapped *Unwrapped

	JWTFile string // of methods jwt and kubernetes; of the latter, default the pod's
}

func (a *Auth) defaults() {
	if a.Method == "" {
		a.Method = "token"
	}
	if a.Mount = strings.Trim(a.Mount, "/"); a.Mount == "" {
		a.Mount = a.Method
	}
	if a.Unwrapped == nil {
		a.Unwrapped = new(Unwrapped)
	}
}

// method is a way to get a token.
type method interface {
	// next returns the login that is to follow the present one: the same token
	// with more life, or another one. The present one may be dead, or the zero
	// login at the start.
	next(ctx context.Context, s *session, now login) (login, error)
	// replaces says whether another token can follow one that is dead.
	replaces() bool
}

// login is a token and what Vault says of it.
type login struct {
	token     secret.Value
	entity    string        // who Vault says it is
	start     time.Time     // before it was asked for
	life      time.Duration // from start; 0: for ever
	full      time.Duration // the life that it was given when it was new
	renewable bool
	dead      bool // Vault has said so
}

// expires is when the token ends; zero: never.
func (l login) expires() time.Time {
	if l.life <= 0 {
		return time.Time{}
	}
	return l.start.Add(l.life)
}

// method returns the chosen one, or ErrConfig with what it lacks.
func (a *Auth) method() (method, error) {
	switch a.Method {
	case "token":
		return a.byToken()
	case "approle":
		return a.byAppRole()
	case "kubernetes", "jwt":
		return a.byJWT()
	case "cert":
		return a.byCert(), nil
	}
	return nil, fmt.Errorf("%w: unknown VAULT_AUTH_METHOD %q, write token, approle, kubernetes, jwt or cert", ErrConfig, a.Method)
}

// source is where a secret comes from.
type source struct {
	variable string // that names the secret, or its file
	value    secret.Value
	file     string // counts before value
}

func (s source) isSet() bool { return s.file != "" || !s.value.IsZero() }

// name is what a person has to look at.
func (s source) name() string {
	if s.file == "" {
		return s.variable
	}
	return s.variable + " " + s.file
}

// read returns the secret as it is now.
func (s source) read() (secret.Value, error) {
	if s.file == "" {
		return s.value, nil
	}
	text, err := os.ReadFile(s.file)
	if err != nil {
		return secret.Value{}, fmt.Errorf("%w: %s cannot be read: %w", ErrConfig, s.variable, err)
	}
	v := secret.New(strings.TrimSpace(string(text)))
	if v.IsZero() {
		return secret.Value{}, fmt.Errorf("%w: %s is empty", ErrConfig, s.name())
	}
	return v, nil
}

// fileOr is a source whose file, if there is one, stands in NAME_FILE.
func fileOr(variable, file string, value secret.Value) source {
	if file != "" {
		variable += "_FILE"
	}
	return source{variable, value, file}
}
