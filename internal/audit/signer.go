package audit

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"rotator/internal/secret"
)

// Transit is an Ed25519 key that signs where it is and never leaves there.
type Transit interface {
	// PublicKeys returns its public halves by version, and the newest.
	PublicKeys(ctx context.Context) (keys map[int]ed25519.PublicKey, newest int, err error)
	Sign(ctx context.Context, version int, message []byte) (signature []byte, err error)
}

// TransitOf returns the key that a "transit:" reference names.
type TransitOf func(ref string) (Transit, error)

// Signer signs checkpoints with one key.
type Signer struct {
	key  string // verifier key
	ref  string
	sign func(ctx context.Context, message []byte) ([]byte, error)
}

// SignerConfig says which key signs.
type SignerConfig struct {
	Store  Store
	Origin string // the log's name, which becomes the keys'
	// Ref is where the private key is: "kv" (in Store, made at first use) or
	// "transit:<mount>/<key>".
	Ref     string
	Transit TransitOf
}

// ErrKeyChange means that the signing key is a new one and that the one
// before is not there to vouch for it. A person has to bring the old one back,
// or to vouch for the new one by pinning both.
var ErrKeyChange = errors.New("the signing key of the audit log has changed, and the one before is not there to vouch for it; bring that back, or name both in AUDIT_VERIFIER_KEYS")

// OpenSigner finds the key, makes it at first use, and introduces it beside
// the checkpoints, signed by itself and by the key before it. It returns
// ErrKeyChange when the keyring would not trust what it signs.
func OpenSigner(ctx context.Context, cfg SignerConfig, keys *Keyring) (*Signer, error) {
	s, err := cfg.newest(ctx, cfg.Ref)
	if err != nil {
		return nil, err
	}
	introduced := slices.ContainsFunc(keys.known, func(in introduction) bool { return in.key == s.key })
	if introduced {
		if err := keys.own(s.key); err != nil {
			return nil, err
		}
	}
	if !introduced {
		if err := cfg.introduce(ctx, s, keys); err != nil {
			return nil, err
		}
	}
	if _, ok := keys.trusted[s.key]; !ok {
		return nil, fmt.Errorf("%w: it is now %s", ErrKeyChange, s.key)
	}
	return s, nil
}

// introduce writes the key's document, and lets the keyring know it.
func (c SignerConfig) introduce(ctx context.Context, s *Signer, keys *Keyring) error {
	in := introduction{key: s.key, ref: s.ref}
	by := []*Signer{s}
	if before, ok := keys.newest(); ok {
		old, err := c.find(ctx, before)
		switch {
		case err == nil:
			in.previous, by = before.key, append(by, old)
		case !errors.Is(err, ErrKeyChange) || !keys.Pinned || keys.trusted[s.key] == nil:
			return err // only a person who pins the new key can stand in for the one before
		}
	}
	if _, ok := keys.trusted[s.key]; !ok && keys.Pinned && in.previous == "" {
		return fmt.Errorf("%w: AUDIT_VERIFIER_KEYS does not name %s", ErrKeyChange, s.key)
	}
	var err error
	if in.note, err = signNote(ctx, in.text(), by...); err != nil {
		return fmt.Errorf("introducing the signing key: %w", err)
	}
	path, err := in.path()
	if err != nil {
		return err
	}
	err = c.Store.Create(ctx, path, map[string]string{noteField: in.note})
	if errors.Is(err, ErrExists) { // another replica was first
		in, err = c.introduced(ctx, path)
	}
	if err != nil {
		return fmt.Errorf("introducing the signing key: %w", err)
	}
	keys.known = append(keys.known, in)
	return keys.trust(s.key)
}

// introduced reads a key's document that is there already.
func (c SignerConfig) introduced(ctx context.Context, path string) (introduction, error) {
	fields, err := c.Store.Read(ctx, path, 0)
	if err != nil {
		return introduction{}, err //nolint:wrapcheck // wrapped by the caller
	}
	in, err := parseIntroduction(fields[noteField])
	if err != nil {
		return in, fmt.Errorf("%s: %w", path, err)
	}
	return in, nil
}

// VerifierKey is the public key, as auditors pin it.
func (s *Signer) VerifierKey() string { return s.key }

// newest returns the signer that a reference stands for today.
func (c SignerConfig) newest(ctx context.Context, ref string) (*Signer, error) {
	if ref != "kv" {
		signers, err := c.transit(ctx, ref)
		if err != nil {
			return nil, err
		}
		return signers[0], nil
	}
	fields, err := c.Store.Read(ctx, signingKeyPath, 0)
	if errors.Is(err, ErrAbsent) {
		if fields, err = c.generate(ctx); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, fmt.Errorf("reading the signing key: %w", err)
	}
	return kvSigner(fields)
}

const privateKeyField = "private_key"

// generate makes the key, once: whoever comes second takes the first one's.
func (c SignerConfig) generate(ctx context.Context) (map[string]string, error) {
	private, _, err := note.GenerateKey(rand.Reader, c.Origin)
	if err != nil {
		return nil, fmt.Errorf("making the signing key: %w", err)
	}
	fields := map[string]string{privateKeyField: private}
	err = c.Store.Create(ctx, signingKeyPath, fields)
	switch {
	case errors.Is(err, ErrExists):
		return c.Store.Read(ctx, signingKeyPath, 0) //nolint:wrapcheck // wrapped by the caller
	case err != nil:
		return nil, fmt.Errorf("storing the signing key: %w", err)
	}
	return fields, nil
}

// errSigningKey is a signing key that is damaged. It never shows the key.
var errSigningKey = fmt.Errorf("the signing key cannot be read: field %s of %s is not a note's private key", privateKeyField, signingKeyPath)

// kvSigner signs with a private key in the form that note.GenerateKey writes.
func kvSigner(fields map[string]string) (*Signer, error) {
	private := secret.New(fields[privateKeyField])
	n, err := note.NewSigner(private.Reveal())
	if err != nil {
		return nil, errSigningKey // without the library's text, which may hold the key
	}
	key, err := verifierKey(private)
	if err != nil {
		return nil, err
	}
	return &Signer{key: key, ref: "kv", sign: func(_ context.Context, message []byte) ([]byte, error) {
		return n.Sign(message)
	}}, nil
}

// verifierKey derives the public half of a private key, whose text is
// "PRIVATE+KEY+<name>+<hash>+<algorithm and seed, base64>".
func verifierKey(private secret.Value) (string, error) {
	parts := strings.Split(private.Reveal(), "+")
	if len(parts) < 5 {
		return "", errSigningKey
	}
	seed, err := base64.StdEncoding.DecodeString(strings.Join(parts[4:], "+")) // base64 has a plus too
	if err != nil || len(seed) != 1+ed25519.SeedSize {
		return "", errSigningKey
	}
	public, ok := ed25519.NewKeyFromSeed(seed[1:]).Public().(ed25519.PublicKey)
	if !ok {
		return "", errSigningKey
	}
	return note.NewEd25519VerifierKey(parts[2], public) //nolint:wrapcheck // it names the key
}

// find returns the signer of a key that was in use before.
func (c SignerConfig) find(ctx context.Context, before introduction) (*Signer, error) {
	all := func() ([]*Signer, error) { return c.transit(ctx, before.ref) }
	if before.ref == "kv" {
		all = func() ([]*Signer, error) { return c.versions(ctx) }
	}
	signers, err := all()
	if err != nil && !errors.Is(err, ErrKeyChange) {
		return nil, err
	}
	for _, s := range signers {
		if s.key == before.key {
			return s, nil
		}
	}
	return nil, errors.Join(fmt.Errorf("%w: it was %s, kept at %s", ErrKeyChange, before.key, before.ref), err)
}

// maxKeyVersions is how many older versions of the signing key are looked at:
// KV keeps ten unless told otherwise.
const maxKeyVersions = 100

// versions are all signing keys that the store still has.
func (c SignerConfig) versions(ctx context.Context) ([]*Signer, error) {
	var out []*Signer
	for n, missed := 1, 0; n <= maxKeyVersions && missed < 10; n++ {
		fields, err := c.Store.Read(ctx, signingKeyPath, n)
		if errors.Is(err, ErrAbsent) {
			missed++ // an old one that was cut off, or past the newest
			continue
		}
		if err != nil {
			return out, fmt.Errorf("reading older signing keys: %w", err)
		}
		if s, err := kvSigner(fields); err == nil {
			out = append(out, s)
		}
	}
	return out, nil
}

// transit are the versions of a key in Vault Transit, the newest first.
func (c SignerConfig) transit(ctx context.Context, ref string) ([]*Signer, error) {
	if c.Transit == nil || !strings.HasPrefix(ref, "transit:") {
		return nil, fmt.Errorf("%w: nobody signs for %s", ErrKeyChange, ref)
	}
	t, err := c.Transit(ref)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", ref, err)
	}
	keys, newest, err := t.PublicKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking %s for its public keys: %w", ref, err)
	}
	var out []*Signer
	for n := newest; n > 0; n-- {
		public, ok := keys[n]
		if !ok {
			continue
		}
		key, err := note.NewEd25519VerifierKey(c.Origin, public)
		if err != nil {
			return nil, fmt.Errorf("version %d of %s: %w", n, ref, err)
		}
		out = append(out, &Signer{key: key, ref: ref, sign: func(ctx context.Context, message []byte) ([]byte, error) {
			return t.Sign(ctx, n, message)
		}})
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s has no key that signs", ref)
	}
	return out, nil
}

// signNote signs a text and makes sure that the signatures are good.
func signNote(ctx context.Context, text string, by ...*Signer) (string, error) {
	n := &note.Note{Text: text}
	signers := make([]note.Signer, 0, len(by))
	verifiers := make([]note.Verifier, 0, len(by))
	for _, s := range by {
		v, err := note.NewVerifier(s.key)
		if err != nil {
			return "", fmt.Errorf("signing: %w", err)
		}
		signers = append(signers, signing{v, ctx, s})
		verifiers = append(verifiers, v)
	}
	signed, err := note.Sign(n, signers...)
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	opened, err := note.Open(signed, note.VerifierList(verifiers...))
	if err != nil || len(opened.Sigs) != len(by) {
		return "", fmt.Errorf("signing: %w: the signature does not fit the key", ErrForged)
	}
	return string(signed), nil
}

// signing is a Signer during one signature, as package note wants it.
type signing struct {
	note.Verifier

	ctx    context.Context //nolint:containedctx // note.Signer's Sign takes none
	signer *Signer
}

// Sign signs within the context.
func (s signing) Sign(message []byte) ([]byte, error) { return s.signer.sign(s.ctx, message) }
