package audit_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"rotator/internal/audit"
	"rotator/internal/postgres/pgtest"
)

// signingWith makes a keeper sign with a key in Transit.
func signingWith(k *transitKey, pins ...string) func(*audit.AnchorConfig) {
	return func(c *audit.AnchorConfig) {
		c.Signer, c.Pinned = "transit:transit/log", pins
		c.Transit = func(string) (audit.Transit, error) { return k, nil }
	}
}

func pinning(pins ...string) func(*audit.AnchorConfig) {
	return func(c *audit.AnchorConfig) { c.Pinned = pins }
}

// verifier is the key's newest version as auditors pin it.
func (k *transitKey) verifier(t *testing.T, store audit.Store, ref string) string {
	t.Helper()
	keys, err := audit.LoadKeyring(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range keys.Chain() {
		if c.Signer == ref {
			return c.Key
		}
	}
	return ""
}

// stranger is a notary whose key's document stands before all others.
func stranger(t *testing.T, store *shelf) *notary {
	t.Helper()
	names, err := store.List(t.Context(), "keys")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for {
		n := newNotary(t, 0)
		if fmt.Sprintf("%08x", n.signer.KeyHash()) < names[0] {
			return n
		}
	}
}

// TestKeyChangesUnderARunningProcess: another replica signs with the next key,
// for which the one before vouches.
func TestKeyChangesUnderARunningProcess(t *testing.T) {
	t.Parallel()
	for _, pinned := range []bool{false, true} {
		t.Run(fmt.Sprint("pinned ", pinned), func(t *testing.T) {
			t.Parallel()
			pool, store, vaulted := pgtest.New(t), newShelf(), &transitKey{}
			vaulted.rotate(t)
			old := keep(t, pool, store)
			if pinned {
				old = keep(t, pool, store, pinning(old.key))
			}
			old.logs(t, 2)
			old.anchor(t)
			next := keep(t, pool, store, signingWith(vaulted))
			for range 2 {
				next.logs(t, 1)
				next.anchor(t)
				if err := old.Check(t.Context()); err != nil {
					t.Fatalf("a checkpoint by the next key: %v", err)
				}
				old.logs(t, 1)
				old.anchor(t)
				if err := next.Check(t.Context()); err != nil {
					t.Fatalf("a checkpoint by the key before: %v", err)
				}
				vaulted.rotate(t)
				next = keep(t, pool, store, signingWith(vaulted))
			}
		})
	}
}

// TestKeyThatNobodyVouchesFor: the private half of the one before is lost.
// Only who pins both can go on, from the checkpoint that the old one signed.
func TestKeyThatNobodyVouchesFor(t *testing.T) {
	t.Parallel()
	pool, store, vaulted := pgtest.New(t), newShelf(), &transitKey{}
	k := keep(t, pool, store)
	k.logs(t, 2)
	k.anchor(t)
	store.drop("signing-key")
	vaulted.rotate(t)
	public, _, err := vaulted.PublicKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next, err := note.NewEd25519VerifierKey(get[string](t, pool, "select origin from audit.setting"), public[1])
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name        string
		pins        []string
		opens, then error
	}{
		{"nothing", nil, audit.ErrKeyChange, nil},
		{"the old one", []string{k.key}, audit.ErrKeyChange, nil},
		{"a third one", []string{newNotary(t, 0).key}, audit.ErrKeyChange, nil},
		{"the new one", []string{next}, nil, audit.ErrForged},
		{"both", []string{k.key, next}, nil, nil},
	} {
		cfg := audit.AnchorConfig{Log: k.log, Store: store, Prefix: "rotator-audit"}
		signingWith(vaulted, c.pins...)(&cfg)
		if _, err := audit.OpenAnchors(t.Context(), cfg); !errors.Is(err, c.opens) {
			t.Errorf("pinned is %s: opening: %v, want %v", c.name, err, c.opens)
		}
		if c.opens != nil {
			if names, err := store.List(t.Context(), "keys"); err != nil || len(names) != 1 {
				t.Errorf("pinned is %s: introduced are %v, %v", c.name, names, err)
			}
			continue
		}
		person := keep(t, pool, store, signingWith(vaulted, c.pins...))
		person.logs(t, 1)
		if err := person.Anchor(t.Context(), true); !errors.Is(err, c.then) {
			t.Errorf("pinned is %s: anchoring: %v, want %v", c.name, err, c.then)
		}
		store.drop("keys/" + hashOf(t, next))
	}
}

// hashOf is a verifier key's hash, as its document is named.
func hashOf(t *testing.T, key string) string {
	t.Helper()
	v, err := note.NewVerifier(key)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%08x", v.KeyHash())
}

// TestHostileIntroductions lets somebody who can write below the prefix, but
// holds no key that signs, introduce one and sign with it.
func TestHostileIntroductions(t *testing.T) {
	t.Parallel()
	pool, store, vaulted := pgtest.New(t), newShelf(), &transitKey{}
	vaulted.rotate(t)
	k := keep(t, pool, store, signingWith(vaulted))
	k.logs(t, 2)
	k.anchor(t)
	mallory := stranger(t, store)
	head := headOf(t, pool)
	origin := get[string](t, pool, "select origin from audit.setting")
	k.logs(t, 1)
	more := headOf(t, pool)
	text := audit.Checkpoint{Origin: origin + "/1", Size: more.size, Root: more.root}.Text()
	store.fake(more.path(), map[string]string{"note": mallory.sign(t, text)})
	introduce(t, store, mallory, nil, "kv")
	for who, k := range map[string]*keeper{"running": k, "starting": keep(t, pool, store, signingWith(vaulted)), "pinned": keep(t, pool, store, signingWith(vaulted, k.key))} {
		for range 2 {
			if err := k.Check(t.Context()); !errors.Is(err, audit.ErrForged) {
				t.Errorf("a %s process trusts a stranger's checkpoint: %v", who, err)
			}
		}
	}
	store.drop(more.path())
	next := keep(t, pool, store, signingWith(vaulted))
	next.anchor(t)
	if err := k.Check(t.Context()); err != nil || head.size == more.size {
		t.Errorf("once that is gone, checkpoints by its own key: %v", err)
	}
}

// TestHostileKeyDocuments holds what stands below keys/ against what vouches
// for a key: it must be signed by both, and stand in its own place.
func TestHostileKeyDocuments(t *testing.T) {
	t.Parallel()
	pool, store := pgtest.New(t), newShelf()
	k := keep(t, pool, store)
	mallory := newNotary(t, 0)
	hash := fmt.Sprintf("keys/%08x", mallory.signer.KeyHash())
	genuine := "keys/" + hashOf(t, k.key)
	half := mallory.sign(t, "rotator audit signing key\n"+mallory.key+"\nkv\n"+k.key+"\n") // not by the one before
	for name, fake := range map[string]func(){
		"half signed":             func() { store.fake(hash, map[string]string{"note": half}) },
		"self signed":             func() { introduce(t, store, mallory, nil, "kv") },
		"a genuine one elsewhere": func() { store.copyTo(t, genuine, "keys/00000000") },
		"junk":                    func() { store.fake("keys/00000000", map[string]string{"note": "junk"}) },
		"no note":                 func() { store.fake("keys/00000000", nil) },
	} {
		fake()
		ring, err := audit.LoadKeyring(t.Context(), store, k.key)
		if err != nil || !slices.Equal(ring.Trusted(), []string{k.key}) || slices.Contains(ring.Strangers(), k.key) {
			t.Errorf("%s: trusted are %v, %v", name, ring.Trusted(), err)
		}
		if err := keep(t, pool, store).Check(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		store.drop("keys/00000000")
		store.drop(hash)
	}
	introduce(t, store, mallory, nil, "kv")
	store.move(hash, "keys/00000000") // before all others
	if ring, err := audit.LoadKeyring(t.Context(), store); err != nil || !slices.Equal(ring.Trusted(), []string{k.key}) {
		t.Errorf("trust begins with a document in another's place: %v, %v", ring.Trusted(), err)
	}
	store.drop("keys/00000000")
	// What stands where the next key's document should go is not taken for it.
	vaulted := &transitKey{}
	vaulted.rotate(t)
	cfg := audit.AnchorConfig{Log: k.log, Store: store, Prefix: "rotator-audit"}
	signingWith(vaulted)(&cfg)
	if _, err := audit.OpenAnchors(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	place := "keys/" + hashOf(t, vaulted.verifier(t, store, cfg.Signer))
	store.fake(place, map[string]string{"note": half})
	if _, err := audit.OpenAnchors(t.Context(), cfg); !errors.Is(err, audit.ErrForged) {
		t.Errorf("another's document stands where its own should: %v", err)
	}
}

// TestOutageIsNoKeyChange: while the key before cannot be looked up, nobody
// knows whether it vouches for the new one.
func TestOutageIsNoKeyChange(t *testing.T) {
	t.Parallel()
	reset := errors.New("connection reset by peer")
	pool, store, vaulted := pgtest.New(t), &faulty{shelf: newShelf()}, &transitKey{}
	k := keep(t, pool, store.shelf)
	vaulted.rotate(t)
	cfg := audit.AnchorConfig{Log: k.log, Store: store, Prefix: "rotator-audit"}
	signingWith(vaulted)(&cfg)
	for version := range 3 { // the key is in the first
		store.read = func(path string, v int) error {
			if path == "signing-key" && v == version+1 {
				return reset
			}
			return nil
		}
		if _, err := audit.OpenAnchors(t.Context(), cfg); !errors.Is(err, reset) || errors.Is(err, audit.ErrKeyChange) {
			t.Errorf("version %d of the key before cannot be read: %v", version+1, err)
		}
	}
	store.read = nil
	if _, err := audit.OpenAnchors(t.Context(), cfg); err != nil {
		t.Fatalf("when it can: %v", err)
	}
	cfg.Signer, cfg.Transit = "kv", func(string) (audit.Transit, error) { return nil, reset }
	private, _, err := note.GenerateKey(nil, "rotator-audit/x")
	if err != nil {
		t.Fatal(err)
	}
	store.fake("signing-key", map[string]string{"private_key": private})
	if _, err := audit.OpenAnchors(t.Context(), cfg); !errors.Is(err, reset) || errors.Is(err, audit.ErrKeyChange) {
		t.Errorf("Transit cannot be asked for the key before: %v", err)
	}
}

// TestPrivateKeyIsNeverShown: somebody pins the wrong half, or damages it.
func TestPrivateKeyIsNeverShown(t *testing.T) {
	t.Parallel()
	private, _, err := note.GenerateKey(nil, "rotator-audit/x")
	if err != nil {
		t.Fatal(err)
	}
	seed := private[strings.LastIndexByte(private[:len(private)-44], '+')+1:][:20]
	for _, pasted := range []string{private, " " + private + "\n", `"` + private, `{"private_key":"` + private + `"}`, strings.TrimPrefix(private, "PRIVATE+KEY+")} {
		_, err := audit.NewKeyring(pasted)
		if err == nil || strings.Contains(err.Error(), seed) {
			t.Errorf("pinning %q: %v", pasted, err)
		}
	}
	pool := pgtest.New(t)
	log := open(t, pool)
	for _, damaged := range []string{private + "A", private[:len(private)-2], "x" + private, private + private, strings.ReplaceAll(private, "+", "-")} {
		store := newShelf()
		store.fake("signing-key", map[string]string{"private_key": damaged})
		_, err := audit.OpenAnchors(t.Context(), audit.AnchorConfig{Log: log, Store: store, Signer: "kv"})
		if err == nil || strings.Contains(err.Error(), seed) {
			t.Errorf("with the key %q: %v", damaged, err)
		}
	}
}
