package vault

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/hashicorp/vault/api"
)

// TransitKey is an Ed25519 key of a Transit engine, whose private half does
// not leave Vault.
type TransitKey struct {
	Mount string // of the engine, such as "transit"
	Name  string // of the key
}

// TransitPublicKeys returns the key's public halves by version, from 1 on, and
// which is the newest. Versions that have been trimmed in Vault are not among
// them.
//
// ErrConfig means that the key is of another kind or the engine is not there,
// ErrNotFound that there is no such key; both name the remedy.
func (s *Store) TransitPublicKeys(ctx context.Context, k TransitKey) (keys map[int]ed25519.PublicKey, latest int, err error) {
	answer, err := s.transit(ctx, k, "keys", `"read"`, func(ctx context.Context, l *api.Logical, path string) (*api.Secret, error) {
		return l.ReadWithContext(ctx, path)
	})
	if err == nil {
		keys, latest, err = k.parse(answer.Data)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("reading the public keys of %s: %w", k, err)
	}
	return keys, latest, nil
}

// TransitSign signs a message with one version of the key, from 1 on, and
// returns the 64 bytes of an Ed25519 signature. It does not check them: the
// caller does, with a public key that it trusts. It changes nothing in Vault,
// so it is repeated like a read.
//
// Errors are those of TransitPublicKeys, and ErrRejected where the key has no
// such version, or none that still signs.
func (s *Store) TransitSign(ctx context.Context, k TransitKey, version int, message []byte) (signature []byte, err error) {
	if version < 1 {
		return nil, fmt.Errorf("signing with %s: %w: there is no version %d of a key", k, ErrRejected, version)
	}
	answer, err := s.transit(ctx, k, "sign", `"update"`, func(ctx context.Context, l *api.Logical, path string) (*api.Secret, error) {
		return l.WriteWithContext(ctx, path, map[string]any{
			"input": base64.StdEncoding.EncodeToString(message), "key_version": version,
		})
	})
	if err == nil {
		signature, err = k.signature(answer.Data, version)
	}
	if err != nil {
		return nil, fmt.Errorf("signing with version %d of %s: %w", version, k, err)
	}
	return signature, nil
}

// transit sends a request about the key and adds the remedy to what a person
// has to set right.
func (s *Store) transit(ctx context.Context, k TransitKey, endpoint, capabilities string, req func(context.Context, *api.Logical, string) (*api.Secret, error)) (*api.Secret, error) {
	if !plainPath(k.Mount) || !plain.MatchString(k.Name) {
		return nil, fmt.Errorf("%w: Transit mount %q and key %q must be plain path components", ErrConfig, k.Mount, k.Name)
	}
	l := label{operation: opTransit, api: k.Mount + "/" + endpoint + "/" + k.Name, capabilities: capabilities}
	answer, err := s.read(ctx, l, func(ctx context.Context, lg *api.Logical) (*api.Secret, error) {
		return req(ctx, lg, l.api)
	})
	if err == nil && (answer == nil || answer.Data == nil) {
		err = fmt.Errorf("%w: the answer is not Transit's", errNoTransit)
	}
	switch {
	case errors.Is(err, errNoTransit):
		return nil, fmt.Errorf("%w; enable it with: vault secrets enable -path=%s transit; then make the key with: %s", err, k.Mount, k.remedy())
	case errors.Is(err, errNotEd25519):
		return nil, k.otherKind(err)
	case errors.Is(err, ErrNotFound):
		return nil, fmt.Errorf("%w; make the key with: %s", err, k.remedy())
	}
	return answer, err
}

var (
	errNoTransit  = fmt.Errorf("%w: there is no Transit engine", ErrConfig)
	errNotEd25519 = fmt.Errorf("%w: the key is not an Ed25519 key", ErrConfig)
)

// transitRefusal is the kind of error that Transit's own words stand for, nil
// if they say nothing new. Its status codes do not tell: a key that is not
// there is a 400, a version that is not there a 500 (seen with Vault 1.21.2).
func transitRefusal(text string) error {
	for _, known := range []struct {
		words string
		kind  error
	}{
		{"signing key not found", ErrNotFound},
		{"requested version for signing", ErrRejected},
		{"does not support signing", errNotEd25519},
		{"for key derivation", errNotEd25519}, // asks for a context
		{"no handler for route", errNoTransit},
	} {
		if strings.Contains(text, known.words) {
			return known.kind
		}
	}
	return nil
}

// parse reads Transit's description of the key.
func (k TransitKey) parse(data map[string]any) (map[int]ed25519.PublicKey, int, error) {
	kind, _ := data["type"].(string)
	if kind != "ed25519" {
		return nil, 0, k.otherKind(fmt.Errorf("%w but of type %q", errNotEd25519, kind))
	}
	if derived, _ := data["derived"].(bool); derived {
		return nil, 0, k.otherKind(fmt.Errorf("%w of its own but derives others", errNotEd25519))
	}
	versions, _ := data["keys"].(map[string]any)
	keys := make(map[int]ed25519.PublicKey, len(versions))
	for number, raw := range versions {
		n, err := strconv.Atoi(number)
		fields, _ := raw.(map[string]any)
		text, _ := fields["public_key"].(string)
		public, decodeErr := base64.StdEncoding.DecodeString(text)
		if err != nil || decodeErr != nil || len(public) != ed25519.PublicKeySize {
			return nil, 0, k.otherKind(fmt.Errorf("%w in its version %q", errNotEd25519, number))
		}
		keys[n] = public
	}
	latest := integer(data["latest_version"])
	if _, ok := keys[latest]; !ok {
		return nil, 0, fmt.Errorf("%w: its newest version %d is not listed", ErrRejected, latest)
	}
	return keys, latest, nil
}

// signature reads "vault:v<version>:<base64>".
func (k TransitKey) signature(data map[string]any, version int) ([]byte, error) {
	text, _ := data["signature"].(string)
	encoded, ok := strings.CutPrefix(text, fmt.Sprintf("vault:v%d:", version))
	if !ok {
		return nil, fmt.Errorf("%w: the signature is not of version %d", ErrRejected, version)
	}
	signature, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(signature) != ed25519.SignatureSize {
		return nil, k.otherKind(fmt.Errorf("%w: it signs otherwise", errNotEd25519))
	}
	return signature, nil
}

// otherKind adds the remedy to the error of a key that is not Ed25519. Making
// it anew would change nothing: Vault keeps the type of a key that exists.
func (k TransitKey) otherKind(err error) error {
	return fmt.Errorf("%w; checkpoints need one, under a name that is not taken: %s", err, k.remedy())
}

func (k TransitKey) remedy() string {
	return "vault write -f " + k.Mount + "/keys/" + k.Name + " type=ed25519"
}

// String is the key's path in Vault, as AUDIT_SIGNER names it.
func (k TransitKey) String() string { return k.Mount + "/" + k.Name }
