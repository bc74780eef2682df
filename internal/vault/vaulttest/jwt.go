package vaulttest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"
)

// podNamespace is where the service accounts of PodToken live.
const podNamespace = "apps"

// Issuer signs JSON web tokens (ES256).
type Issuer struct {
	PublicKey string // PEM

	key *ecdsa.PrivateKey
}

// NewIssuer makes an issuer with a key of its own.
func NewIssuer(t testing.TB) *Issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return &Issuer{PublicKey: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), key: key}
}

// Token is a token for the subject, to be shown to Vault.
func (i *Issuer) Token(t testing.TB, subject string) string {
	t.Helper()
	return i.sign(t, map[string]any{"sub": subject, "aud": "vault"})
}

// PodToken is a service account's token, as Kubernetes gives it to a pod.
func (i *Issuer) PodToken(t testing.TB, account string) string {
	t.Helper()
	return i.sign(t, map[string]any{
		"sub": "system:serviceaccount:" + podNamespace + ":" + account,
		"kubernetes.io/serviceaccount/service-account.name": account,
		"kubernetes.io/serviceaccount/service-account.uid":  "uid-of-" + account,
		"kubernetes.io/serviceaccount/namespace":            podNamespace,
	})
}

func (i *Issuer) sign(t testing.TB, claims map[string]any) string {
	t.Helper()
	claims["iss"], claims["iat"], claims["exp"] = "vaulttest", time.Now().Unix(), time.Now().Add(time.Hour).Unix()
	body, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	text := encode([]byte(`{"alg":"ES256","typ":"JWT"}`)) + "." + encode(body)
	hash := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, i.key, hash[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + encode(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

// verify returns the claims of a token that the issuer has signed.
func (i *Issuer) verify(token string) (claims map[string]any, ok bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, false
	}
	body, _ := base64.RawURLEncoding.DecodeString(parts[1])
	signature, _ := base64.RawURLEncoding.DecodeString(parts[2])
	hash := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if len(signature) != 64 || !ecdsa.Verify(&i.key.PublicKey, hash[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		return nil, false
	}
	return claims, json.Unmarshal(body, &claims) == nil
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
