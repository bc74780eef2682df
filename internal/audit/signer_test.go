package audit_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"rotator/internal/audit"
)

// transitKey signs as Vault Transit does: by versions, and keeps the private
// halves to itself.
type transitKey []ed25519.PrivateKey

func (k *transitKey) rotate(t *testing.T) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	*k = append(*k, private)
}

func (k *transitKey) PublicKeys(context.Context) (map[int]ed25519.PublicKey, int, error) {
	keys := map[int]ed25519.PublicKey{}
	for i, p := range *k {
		keys[i+1], _ = p.Public().(ed25519.PublicKey)
	}
	return keys, len(*k), nil
}

func (k *transitKey) Sign(_ context.Context, version int, message []byte) ([]byte, error) {
	return ed25519.Sign((*k)[version-1], message), nil
}

// TestKeyChangesAreCrossSigned goes from a key in KV to Transit, through its
// versions, and back: whoever trusts any of the keys trusts them all.
func TestKeyChangesAreCrossSigned(t *testing.T) {
	t.Parallel()
	store, vaulted := newShelf(), &transitKey{}
	vaulted.rotate(t)
	cfg := audit.SignerConfig{
		Store: store, Origin: "rotator-audit/x",
		Transit: func(string) (audit.Transit, error) { return vaulted, nil },
	}
	signer := func(ref string, pins ...string) (*audit.Signer, error) {
		keys, err := audit.LoadKeyring(t.Context(), store, pins...)
		if err != nil {
			t.Fatal(err)
		}
		c := cfg
		c.Ref = ref
		return audit.OpenSigner(t.Context(), c, keys)
	}
	var keys []string
	for _, ref := range []string{"kv", "transit:transit/log", "transit:transit/log", "kv"} {
		s, err := signer(ref)
		if err != nil {
			t.Fatalf("%s: %v", ref, err)
		}
		keys = append(keys, s.VerifierKey())
		if len(keys) == 2 {
			vaulted.rotate(t)
		}
	}
	if keys[0] != keys[3] || keys[1] == keys[2] {
		t.Fatalf("keys %v", keys)
	}
	for _, pin := range keys {
		ring, err := audit.LoadKeyring(t.Context(), store, pin)
		if err != nil {
			t.Fatal(err)
		}
		if got := ring.Trusted(); len(got) != 3 {
			t.Errorf("who trusts %s trusts %v", pin, got)
		}
	}
	// A key that nobody vouches for: the old one's private half is gone.
	store.docs["signing-key"] = nil
	*vaulted = nil
	vaulted.rotate(t)
	if _, err := signer("transit:transit/log"); !errors.Is(err, audit.ErrKeyChange) {
		t.Errorf("a new key without the old one: %v", err)
	}
	public, _ := (*vaulted)[0].Public().(ed25519.PublicKey)
	strange, err := note.NewEd25519VerifierKey("rotator-audit/x", public)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signer("transit:transit/log", strange); err != nil {
		t.Errorf("a person vouches for it: %v", err)
	}
	ring, err := audit.LoadKeyring(t.Context(), store, keys[0])
	if err != nil {
		t.Fatal(err)
	}
	if got := ring.Strangers(); len(got) != 1 || len(ring.Trusted()) != 3 {
		t.Errorf("strangers %v, trusted %v", got, ring.Trusted())
	}
	if _, err := audit.NewKeyring("rotator-audit/y+00000000+AAAA"); err == nil {
		t.Error("a pinned key that cannot be read is taken")
	}
}
