package audit_test

import (
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"

	"rotator/internal/audit"
)

// TestTree restarts from the stored frontier at every size and compares the
// root with two other implementations.
func TestTree(t *testing.T) {
	t.Parallel()
	const sizes = 3000
	other := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		found := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			found[i] = stored[index]
		}
		return found, nil
	})
	var tree audit.Tree
	for n := range int64(sizes) {
		leaf := fmt.Appendf(nil, "event %d", n)
		var err error
		root := tree.Root()
		if tree, err = audit.RestoreTree(n, root[:], tree.Frontier()); err != nil {
			t.Fatalf("restoring at size %d: %v", n, err)
		}
		tree = tree.Append(tlog.RecordHash(leaf))

		if err := other.Append(rfc6962.DefaultHasher.HashLeaf(leaf), nil); err != nil {
			t.Fatal(err)
		}
		want, err := other.GetRootHash(nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := tree.Root(); string(got[:]) != string(want) {
			t.Fatalf("size %d: root %x, transparency-dev/merkle says %x", n+1, got, want)
		}
		hashes, err := tlog.StoredHashes(n, leaf, reader)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, hashes...)
		if want, err := tlog.TreeHash(n+1, reader); err != nil || tree.Root() != want {
			t.Fatalf("size %d: root %v, tlog says %v (%v)", n+1, tree.Root(), want, err)
		}
	}
}

// TestTreeAppendMany checks that leaves added at once give the same tree, and
// that the tree appended to stays as it was.
func TestTreeAppendMany(t *testing.T) {
	t.Parallel()
	leaves := make([]tlog.Hash, 300)
	for i := range leaves {
		leaves[i] = tlog.RecordHash([]byte{byte(i), byte(i >> 8)})
	}
	for split := range leaves {
		var single audit.Tree
		for _, h := range leaves[:split] {
			single = single.Append(h)
		}
		before := single.Root()
		all := single.Append(leaves[split:]...)
		if single.Root() != before {
			t.Fatalf("appending at %d changed the tree appended to", split)
		}
		if want := (audit.Tree{}).Append(leaves...); all.Root() != want.Root() {
			t.Fatalf("split at %d: root %v, want %v", split, all.Root(), want.Root())
		}
	}
}

func TestRestoreTreeRefusesDamage(t *testing.T) {
	t.Parallel()
	tree := audit.Tree{}.Append(tlog.RecordHash([]byte("a")), tlog.RecordHash([]byte("b")), tlog.RecordHash([]byte("c")))
	root, frontier, empty := tree.Root(), tree.Frontier(), sha256.Sum256(nil)
	swapped := append(append([]byte{}, frontier[32:]...), frontier[:32]...)
	for name, c := range map[string]struct {
		size           int64
		root, frontier []byte
	}{
		"other root":      {3, empty[:], frontier},
		"swapped":         {3, root[:], swapped},
		"short frontier":  {3, root[:], frontier[:32]},
		"other size":      {7, root[:], frontier},
		"negative size":   {-1, empty[:], nil},
		"short root":      {3, root[:31], frontier},
		"root of nothing": {0, root[:], nil},
	} {
		if _, err := audit.RestoreTree(c.size, c.root, c.frontier); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := audit.RestoreTree(3, root[:], frontier); err != nil {
		t.Errorf("undamaged: %v", err)
	}
}
