package audit

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
)

// ChainedKey is a key that checkpoints are signed with.
type ChainedKey struct {
	Key string // as auditors pin it
	// Signer is where its private half is: kv, or transit:<mount>/<key>;
	// empty when it is pinned, but has never signed here.
	Signer   string
	Previous string // the key that it took over from, which vouches for it; empty for the first
}

// Chain returns the trusted keys in the order in which they took over, the
// newest last.
func (k *Keyring) Chain() []ChainedKey {
	keys, previous := map[string]ChainedKey{}, map[string]string{}
	for key := range k.trusted {
		keys[key] = ChainedKey{Key: key}
	}
	for _, in := range k.known {
		if _, ok := keys[in.key]; ok {
			keys[in.key], previous[in.key] = ChainedKey{in.key, in.ref, in.previous}, in.previous
		}
	}
	generation := func(key string) (n int) {
		for n < len(keys) && previous[key] != "" { // a circle ends, too
			key, n = previous[key], n+1
		}
		return n
	}
	return slices.SortedFunc(maps.Values(keys), func(a, b ChainedKey) int {
		return cmp.Or(cmp.Compare(generation(a.Key), generation(b.Key)), cmp.Compare(a.Key, b.Key))
	})
}

// Find returns the document of a checkpoint, if it is among those kept.
func (a *Archive) Find(ctx context.Context, c Checkpoint) (found Anchor, ok bool, err error) {
	epoch, err := c.Epoch()
	if err != nil {
		return Anchor{}, false, err
	}
	for anchor, err := range a.Anchors(ctx, epoch, c.Size) {
		switch {
		case err != nil && !errors.Is(err, ErrForged):
			return Anchor{}, false, err
		case anchor.Size > c.Size:
			return Anchor{}, false, nil
		case err == nil && anchor.Checkpoint == c:
			return anchor, true, nil
		}
	}
	return Anchor{}, false, nil
}
