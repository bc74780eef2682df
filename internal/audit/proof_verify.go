package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// ErrDisproved means that a proof's hashes do not lead from what it shows to
// the checkpoint that it names: it was altered, or never held.
var ErrDisproved = errors.New("the proof does not hold")

// ErrUnknownSigner means that a proof is consistent in itself, but that there
// is no verifier key to say who signed it: anybody could have made it up.
var ErrUnknownSigner = errors.New("consistent in itself, but who signed it is not known; pin a key (--verifier-key, AUDIT_VERIFIER_KEYS)")

// VerifyProof reads a proof and checks all that it says, without the log. It
// returns ErrProof if it cannot be read; ErrDisproved if it does not hold;
// ErrForged if none of the trusted keys has signed a checkpoint of it; and
// ErrUnknownSigner, with the proof, if there are no trusted keys. With nil,
// what the proof shows is so, on the word of who signed.
func VerifyProof(r io.Reader, keys *Keyring) (*Proof, error) {
	text, err := io.ReadAll(io.LimitReader(r, proofLimit+1))
	if err != nil {
		return nil, fmt.Errorf("reading the proof: %w", err)
	}
	p, err := ParseProof(string(text))
	if err != nil {
		return nil, err
	}
	if err := p.Check(); err != nil {
		return nil, err
	}
	unknown := false
	for _, s := range p.signed() {
		switch err := s.checkSignature(keys); {
		case errors.Is(err, ErrUnknownSigner):
			unknown = true
		case err != nil:
			return nil, fmt.Errorf("checkpoint %d: %w", s.Size, err)
		}
	}
	if unknown {
		return p, ErrUnknownSigner
	}
	return p, nil
}

// signed are the proof's checkpoints.
func (p *Proof) signed() []Signed {
	if p.Inclusion() {
		return []Signed{p.Newer}
	}
	return []Signed{p.Older, p.Newer}
}

// Check computes from the proof's hashes what its checkpoints say. Signatures
// are not looked at. Its error matches ErrDisproved.
func (p *Proof) Check() error {
	if p.Inclusion() {
		return p.checkInclusion()
	}
	return p.checkConsistency()
}

func (p *Proof) checkInclusion() error {
	to := p.Newer
	if p.Index >= to.Size {
		return fmt.Errorf("%w: event %d is not among the %d of its checkpoint", ErrDisproved, p.Index, to.Size)
	}
	if err := tlog.CheckRecord(p.Hashes, to.Size, to.Root, p.Index, tlog.RecordHash(p.Body)); err != nil {
		return fmt.Errorf("%w: event %d and the hashes do not give the root of checkpoint %d", ErrDisproved, p.Index, to.Size)
	}
	return nil
}

func (p *Proof) checkConsistency() error {
	from, to := p.Older, p.Newer
	var err error
	switch {
	case from.Origin != to.Origin:
		return fmt.Errorf("%w: its checkpoints are of different logs or epochs, %s and %s", ErrDisproved, from.Origin, to.Origin)
	case from.Size > to.Size:
		return fmt.Errorf("%w: the older checkpoint is the larger one, %d and %d", ErrDisproved, from.Size, to.Size)
	case from.Size == 0: // every log goes on from the empty one
		if from.Root != (tree{}).root() || len(p.Hashes) > 0 || to.Size == 0 && to.Root != from.Root {
			err = ErrDisproved
		}
	default:
		err = tlog.CheckTree(p.Hashes, to.Size, to.Root, from.Size, from.Root)
	}
	if err != nil {
		return fmt.Errorf("%w: the hashes do not lead from the root of checkpoint %d to that of checkpoint %d", ErrDisproved, from.Size, to.Size)
	}
	return nil
}

// checkSignature checks that a trusted key has signed, if there is any.
func (s Signed) checkSignature(keys *Keyring) error {
	if len(keys.trusted) == 0 {
		return ErrUnknownSigner
	}
	text, err := keys.Open(s.Note)
	if err != nil {
		return err
	}
	if c, err := ParseCheckpoint(text); err != nil || c != s.Checkpoint {
		return fmt.Errorf("%w: what is signed is another checkpoint", ErrForged)
	}
	return nil
}

// Signers are the trusted keys, sorted, that have signed a checkpoint.
func (k *Keyring) Signers(s Signed) []string {
	n, err := note.Open([]byte(s.Note), note.VerifierList(slices.Collect(maps.Values(k.trusted))...))
	if err != nil {
		return nil
	}
	var by []string
	for _, key := range k.Trusted() {
		v := k.trusted[key]
		if slices.ContainsFunc(n.Sigs, func(g note.Signature) bool { return g.Name == v.Name() && g.Hash == v.KeyHash() }) {
			by = append(by, key)
		}
	}
	return by
}

// Event is the body, decoded; what it lacks is zero.
func (p *Proof) Event() (e Event) {
	_ = json.Unmarshal(p.Body, &e) // what a later version has written is still there in part
	return e
}
