package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/hashicorp/vault/api"

	"rotator/internal/secret"
)

// Unwrapped remembers what a wrapping token held, because Vault says so only
// once. Let all the Stores of a process share one. The zero value is ready.
type Unwrapped struct {
	mu             sync.Mutex
	wrapping, held secret.Value
}

// appRole is the proof of method approle.
type appRole struct {
	mount, roleID string
	secretID      source
	wrapped       bool
	unwrapped     *Unwrapped
}

func (a *Auth) byAppRole() (method, error) {
	role := &appRole{
		mount: a.Mount, roleID: a.RoleID, secretID: fileOr("VAULT_SECRET_ID", a.SecretIDFile, a.SecretID),
		wrapped: a.Wrapped, unwrapped: a.Unwrapped,
	}
	if role.roleID == "" || !role.secretID.isSet() {
		return nil, fmt.Errorf("%w: method approle needs VAULT_ROLE_ID and VAULT_SECRET_ID", ErrConfig)
	}
	return &issued{name: a.Method, mount: a.Mount, proof: role.proof, remedy: role.remedy()}, nil
}

func (r *appRole) remedy() string {
	fresh := "`vault write -f auth/" + r.mount + "/role/ROLE/secret-id`"
	if r.wrapped {
		fresh = r.wrapAnew()
	}
	return "VAULT_ROLE_ID; the secret id may be used up or have ended: put another one into " + r.secretID.name() + ", " + fresh + " makes it"
}

func (r *appRole) wrapAnew() string {
	return "`vault write -wrap-ttl=10m -f auth/" + r.mount + "/role/ROLE/secret-id`"
}

func (r *appRole) proof(ctx context.Context, s *session) (map[string]any, error) {
	id, err := r.secretID.read()
	if err == nil && r.wrapped {
		id, err = r.unwrap(ctx, s, id)
	}
	if err != nil {
		return nil, err
	}
	s.hold(id)
	return map[string]any{"role_id": r.roleID, "secret_id": id.Reveal()}, nil
}

// unwrap returns the secret id that a wrapping token holds. It asks first where
// the token comes from: who has unwrapped the secret id on its way and wrapped
// it again cannot forge that.
func (r *appRole) unwrap(ctx context.Context, s *session, wrapping secret.Value) (secret.Value, error) {
	u := r.unwrapped
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.wrapping.Equal(wrapping) {
		return u.held, nil
	}
	s.hold(wrapping)
	answer, err := s.request(ctx, label{operation: opLogin}, s.bearing(secret.Value{}, http.MethodPut,
		"sys/wrapping/lookup", map[string]any{"token": wrapping.Reveal()}))
	if err != nil {
		return secret.Value{}, r.spoilt(err)
	}
	if from := text(answer, "creation_path"); !r.wraps(from) {
		return secret.Value{}, fmt.Errorf("%w: the wrapping token in %s does not come from auth/%s/role/ROLE/secret-id but from %q:"+
			" somebody may have unwrapped the secret id and wrapped it again; see VAULT_AUTH_MOUNT, else destroy that secret id, and make another with %s",
			ErrDenied, r.secretID.name(), r.mount, from, r.wrapAnew())
	}
	answer, err = s.request(ctx, label{operation: opLogin}, s.bearing(wrapping, http.MethodPut, "sys/wrapping/unwrap", nil))
	if err != nil {
		return secret.Value{}, r.spoilt(err)
	}
	held := secret.New(text(answer, "secret_id"))
	if held.IsZero() {
		return secret.Value{}, fmt.Errorf("%w: the wrapping token in %s held no secret id", ErrDenied, r.secretID.name())
	}
	u.wrapping, u.held = wrapping, held
	return held, nil
}

// wraps says whether a wrapping token made at that path holds one of our
// mount's secret ids. A namespace may stand before the path.
func (r *appRole) wraps(path string) bool {
	_, role, ours := strings.Cut("/"+path, "/auth/"+r.mount+"/role/")
	return ours && (strings.HasSuffix(role, "/secret-id") || strings.HasSuffix(role, "/custom-secret-id"))
}

// spoilt explains why a wrapping token is refused.
func (r *appRole) spoilt(err error) error {
	if !errors.Is(err, ErrDenied) {
		return fmt.Errorf("unwrapping the secret id: %w", err)
	}
	return fmt.Errorf("unwrapping the secret id: %w; the wrapping token in %s has ended, or has been unwrapped before, which goes only once."+
		" If no earlier start of rotator did it, somebody else has the secret id: look into Vault's audit log and destroy it."+
		" Then make another with %s", err, r.secretID.name(), r.wrapAnew())
}

// text is a text field of an answer's data.
func text(answer *api.Secret, field string) string {
	if answer == nil {
		return ""
	}
	value, _ := answer.Data[field].(string)
	return value
}
