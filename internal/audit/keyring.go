package audit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// Keyring is the verifier keys that checkpoints may be signed with. A verifier
// key is a signed note's public key, "<name>+<hash>+<key>", as `rotator audit
// pubkey` prints it.
type Keyring struct {
	// Pinned says that trust begins with keys from outside: not with what
	// stands beside the checkpoints.
	Pinned bool

	trusted map[string]note.Verifier // by verifier key
	known   []introduction
}

// introduction is the document of a signing key, keys/<hash>: who signs from
// now on, said by itself and by who signed before.
type introduction struct {
	key      string // verifier key
	ref      string // where its private half is: kv, or transit:<mount>/<key>
	previous string // verifier key of the one before, "" for the first
	note     string
}

// NewKeyring returns a keyring that trusts the given verifier keys and nobody
// else. An error names the key that cannot be read.
func NewKeyring(pinned ...string) (*Keyring, error) {
	k := &Keyring{Pinned: len(pinned) > 0, trusted: map[string]note.Verifier{}}
	for _, key := range pinned {
		if err := k.trust(strings.TrimSpace(key)); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// LoadKeyring reads which keys have signed the log's checkpoints so far. With
// pinned keys, it trusts those and every key that is tied to one of them by a
// change that both have signed. Without, it trusts the keys that it finds, as
// long as such changes connect them all.
func LoadKeyring(ctx context.Context, store Store, pinned ...string) (*Keyring, error) {
	k, err := NewKeyring(pinned...)
	if err != nil {
		return nil, err
	}
	names, err := store.List(ctx, keyFolder)
	if err != nil {
		return nil, fmt.Errorf("listing signing keys: %w", err)
	}
	for _, name := range names {
		fields, err := store.Read(ctx, keyFolder+"/"+name, 0)
		if errors.Is(err, ErrAbsent) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading signing key %s: %w", name, err)
		}
		if in, err := parseIntroduction(fields[noteField]); err == nil { // who is not introduced is not trusted
			if path, err := in.path(); err == nil && path == keyFolder+"/"+name {
				k.known = append(k.known, in)
			}
		}
	}
	if !k.Pinned {
		for _, in := range k.known {
			if in.previous == "" {
				if err := k.trust(in.key); err != nil {
					return nil, err
				}
				break // one beginning: a second one needs somebody to vouch for it
			}
		}
	}
	return k, k.connect()
}

// own begins trust with the key that signs here, unless keys are pinned:
// whoever holds its private half need not guess where trust begins.
func (k *Keyring) own(key string) error {
	if k.Pinned {
		return nil
	}
	k.trusted = map[string]note.Verifier{}
	return errors.Join(k.trust(key), k.connect())
}

// ShownKey is how text that should be a verifier key, and is none, may be shown:
// it may be a private key whose beginning is lost.
func ShownKey(text string) string {
	if parts := strings.SplitN(text, "+", 3); len(parts) == 3 {
		return parts[0] + "+" + parts[1] + "+…"
	}
	return text
}

// connect trusts who is tied to a trusted key, until nobody is left.
func (k *Keyring) connect() error {
	for again := true; again; {
		again = false
		for _, in := range k.known {
			_, one := k.trusted[in.key]
			_, other := k.trusted[in.previous]
			if in.previous == "" || one == other {
				continue
			}
			if err := errors.Join(k.trust(in.key), k.trust(in.previous)); err != nil {
				return err
			}
			again = true
		}
	}
	return nil
}

func (k *Keyring) trust(key string) error {
	v, err := note.NewVerifier(key)
	if err != nil {
		shown := ShownKey(key)
		if strings.Contains(key, privatePrefix) { // in quotes, too
			shown = "(a private key, which belongs in Vault alone)"
		}
		return fmt.Errorf("verifier key %q: %w; `rotator audit pubkey` prints one", shown, err)
	}
	k.trusted[key] = v
	return nil
}

// Open returns the text of a note that a trusted key has signed. Its error
// matches ErrForged.
func (k *Keyring) Open(signed string) (string, error) {
	n, err := note.Open([]byte(signed), note.VerifierList(slices.Collect(maps.Values(k.trusted))...))
	var unknown *note.UnverifiedNoteError
	switch {
	case err == nil:
		return n.Text, nil
	case errors.As(err, &unknown):
		return "", fmt.Errorf("%w: signed by %s, who is not among the verifier keys", ErrForged, signers(unknown.Note))
	}
	return "", fmt.Errorf("%w: %w", ErrForged, err)
}

// signers names who claims to have signed.
func signers(n *note.Note) string {
	names := make([]string, 0, len(n.UnverifiedSigs))
	for _, s := range n.UnverifiedSigs {
		names = append(names, fmt.Sprintf("%s+%08x", s.Name, s.Hash))
	}
	if len(names) == 0 {
		return "nobody"
	}
	return strings.Join(names, " and ")
}

// Trusted returns the verifier keys, sorted.
func (k *Keyring) Trusted() []string { return slices.Sorted(maps.Keys(k.trusted)) }

// Strangers returns the keys that were introduced beside the checkpoints, but
// that nobody who is trusted vouches for.
func (k *Keyring) Strangers() []string {
	var out []string
	for _, in := range k.known {
		if _, ok := k.trusted[in.key]; !ok {
			out = append(out, in.key)
		}
	}
	return out
}

// newest is the key that nobody has followed yet, among the trusted ones.
func (k *Keyring) newest() (introduction, bool) {
	for _, in := range k.known {
		followed := slices.ContainsFunc(k.known, func(o introduction) bool { return o.previous == in.key })
		if _, ok := k.trusted[in.key]; ok && !followed {
			return in, true
		}
	}
	return introduction{}, false
}

// text is what is signed to introduce a key.
func (in introduction) text() string {
	lines := []string{keyTitle, in.key, in.ref}
	if in.previous != "" {
		lines = append(lines, in.previous)
	}
	return strings.Join(lines, "\n") + "\n"
}

// path is where the introduction is kept: keys/<hash>.
func (in introduction) path() (string, error) {
	v, err := note.NewVerifier(in.key)
	if err != nil {
		return "", fmt.Errorf("verifier key %q: %w", in.key, err)
	}
	return fmt.Sprintf("%s/%08x", keyFolder, v.KeyHash()), nil
}

// privatePrefix is how a note's private key begins.
const privatePrefix = "PRIVATE+KEY+"

const keyTitle = "rotator audit signing key"

// parseIntroduction reads a key's document: it must be signed by the key
// itself and by the one before.
func parseIntroduction(signed string) (introduction, error) {
	text, _, _ := strings.Cut(signed, "\n\n")
	lines := strings.Split(text, "\n")
	if len(lines) < 3 || len(lines) > 4 || lines[0] != keyTitle {
		return introduction{}, fmt.Errorf("%w: no introduction of a key", ErrForged)
	}
	in := introduction{key: lines[1], ref: lines[2], note: signed}
	if len(lines) == 4 {
		in.previous = lines[3]
	}
	for _, key := range slices.DeleteFunc([]string{in.key, in.previous}, func(k string) bool { return k == "" }) {
		ring, err := NewKeyring(key)
		if err != nil {
			return introduction{}, fmt.Errorf("%w: %w", ErrForged, err)
		}
		if _, err := ring.Open(signed); err != nil {
			return introduction{}, err
		}
	}
	return in, nil
}
