package audit_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"

	"rotator/internal/audit"
)

// introduce writes a key's document, signed by itself and by the one before.
func introduce(t *testing.T, store audit.Store, n, before *notary, ref string) {
	t.Helper()
	text, by := "rotator audit signing key\n"+n.key+"\n"+ref+"\n", []note.Signer{n.signer}
	if before != nil {
		text, by = text+before.key+"\n", append(by, before.signer)
	}
	signed, err := note.Sign(&note.Note{Text: text}, by...)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Create(t.Context(), fmt.Sprintf("keys/%08x", n.signer.KeyHash()), map[string]string{"note": string(signed)}); err != nil {
		t.Fatal(err)
	}
}

// TestChain orders keys as they took over, whatever their names' order is.
func TestChain(t *testing.T) {
	t.Parallel()
	store, keys := newShelf(), make([]*notary, 6)
	var want []audit.ChainedKey
	var before *notary
	for i := range keys {
		keys[i] = newNotary(t, 0)
		introduce(t, store, keys[i], before, fmt.Sprint("kv ", i))
		key := audit.ChainedKey{Key: keys[i].key, Signer: fmt.Sprint("kv ", i)}
		if before != nil {
			key.Previous = before.key
		}
		want, before = append(want, key), keys[i]
	}
	for _, pins := range [][]string{nil, {keys[0].key}, {keys[5].key, keys[2].key}} {
		ring, err := audit.LoadKeyring(t.Context(), store, pins...)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, ring.Chain()); diff != "" {
			t.Errorf("pinned %d keys (-want +got):\n%s", len(pins), diff)
		}
	}
	stranger := newNotary(t, 0)
	ring, err := audit.LoadKeyring(t.Context(), store, stranger.key)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]audit.ChainedKey{{Key: stranger.key}}, ring.Chain()); diff != "" {
		t.Errorf("a pinned stranger (-want +got):\n%s", diff)
	}
	if got := ring.Strangers(); len(got) != len(keys) {
		t.Errorf("strangers to it: %v", got)
	}
}

// TestFind finds a checkpoint among those kept, and no other of its size.
func TestFind(t *testing.T) {
	t.Parallel()
	k, _, dir := grown(t, []int{3, 5}, 0)
	archive := &audit.Archive{Store: dir, Keys: k.keys}
	newest, _, err := archive.Newest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found, ok, err := archive.Find(t.Context(), newest.Checkpoint)
	if err != nil || !ok || !found.At.Equal(newest.At) || found.At.IsZero() {
		t.Errorf("found %+v, %t, %v; want %+v", found, ok, err, newest)
	}
	other, size, epoch, none := newest.Checkpoint, newest.Checkpoint, newest.Checkpoint, newest.Checkpoint
	other.Root[0]++
	size.Size = 4
	epoch.Origin = strings.TrimSuffix(epoch.Origin, "1") + "2"
	none.Origin = "no epoch"
	for name, c := range map[string]audit.Checkpoint{"another root": other, "another size": size, "another epoch": epoch} {
		if found, ok, err := archive.Find(t.Context(), c); ok || err != nil {
			t.Errorf("%s: found %+v, %v", name, found, err)
		}
	}
	if _, _, err := archive.Find(t.Context(), none); err == nil {
		t.Error("an origin without an epoch has no place")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := archive.Find(ctx, newest.Checkpoint); err == nil {
		t.Error("found under a context that has ended")
	}
}
