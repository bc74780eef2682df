package audit_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"

	"rotator/internal/audit"
)

// grove is a log's leaves with the tree of every size, and the hashes that
// package tlog stores: the second implementation's way to make proofs. The
// third, transparency-dev/merkle, checks them.
type grove struct {
	leaves []tlog.Hash
	trees  []audit.Tree
	roots  []tlog.Hash
	stored []tlog.Hash
}

func newGrove(t testing.TB, size int) *grove {
	t.Helper()
	g := &grove{trees: []audit.Tree{{}}, roots: []tlog.Hash{audit.Tree{}.Root()}}
	for n := range size {
		leaf := tlog.RecordHash(binary.BigEndian.AppendUint64(nil, uint64(n)))
		hashes, err := tlog.StoredHashesForRecordHash(int64(n), leaf, g)
		if err != nil {
			t.Fatal(err)
		}
		g.stored = append(g.stored, hashes...)
		g.leaves = append(g.leaves, leaf)
		next := g.trees[n].Append(leaf)
		g.trees, g.roots = append(g.trees, next), append(g.roots, next.Root())
	}
	return g
}

// ReadHashes makes a grove a tlog.HashReader.
func (g *grove) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		found[i] = g.stored[index]
	}
	return found, nil
}

func plainBytes(hashes []tlog.Hash) [][]byte {
	var out [][]byte
	for _, h := range hashes {
		out = append(out, slices.Clone(h[:]))
	}
	return out
}

// accepts asks the two other implementations about an inclusion proof.
func (g *grove) accepts(hashes []tlog.Hash, index, size int64) (tlogSays, merkleSays error) {
	return tlog.CheckRecord(hashes, size, g.roots[size], index, g.leaves[index]),
		proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(index), uint64(size), g.leaves[index][:], plainBytes(hashes), g.roots[size][:])
}

// continues asks them about a consistency proof.
func (g *grove) continues(hashes []tlog.Hash, older, newer int64) (tlogSays, merkleSays error) {
	return tlog.CheckTree(hashes, newer, g.roots[newer], older, g.roots[older]),
		proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(older), uint64(newer), plainBytes(hashes), g.roots[older][:], g.roots[newer][:])
}

// included makes one inclusion proof, from a base, and checks it.
func (g *grove) included(t testing.TB, base, index, size int64, atOnce int) []tlog.Hash {
	t.Helper()
	hashes, complete := audit.Fold(g.leaves, g.trees[base], index, size, atOnce)
	want, err := tlog.ProveRecord(size, index, g)
	if err != nil || !complete || !slices.Equal(hashes, want) {
		t.Fatalf("event %d in %d, from %d: %v (%t), tlog says %v (%v)", index, size, base, hashes, complete, want, err)
	}
	if one, other := g.accepts(hashes, index, size); one != nil || other != nil {
		t.Fatalf("event %d in %d: tlog says %v, merkle says %v", index, size, one, other)
	}
	return hashes
}

// consistent makes one consistency proof, from a base, and checks it.
func (g *grove) consistent(t testing.TB, base, older, newer int64, atOnce int) []tlog.Hash {
	t.Helper()
	hashes, complete := audit.FoldConsistency(g.leaves, g.trees[base], older, newer, atOnce)
	want, err := tlog.ProveTree(newer, older, g)
	if err != nil || !complete || !slices.Equal(hashes, want) {
		t.Fatalf("%d to %d, from %d: %v (%t), tlog says %v (%v)", older, newer, base, hashes, complete, want, err)
	}
	if one, other := g.continues(hashes, older, newer); one != nil || other != nil {
		t.Fatalf("%d to %d: tlog says %v, merkle says %v", older, newer, one, other)
	}
	return hashes
}

// TestProofsOfEveryEvent makes every inclusion and every consistency proof of
// trees up to some hundred leaves, each from a base drawn at random; up to
// some dozen, from every base.
func TestProofsOfEveryEvent(t *testing.T) {
	t.Parallel()
	const sizes, allBases = 200, 30
	g, draw := newGrove(t, sizes), rand.New(rand.NewPCG(1, 2))
	for size := int64(1); size <= sizes; size++ {
		for index := range size {
			g.included(t, draw.Int64N(index+1), index, size, 1+draw.IntN(50))
			g.consistent(t, draw.Int64N(index+2), index+1, size, 1+draw.IntN(50))
			for base := int64(0); size <= allBases && base <= index+1; base++ {
				if base <= index {
					g.included(t, base, index, size, 7)
				}
				g.consistent(t, base, index+1, size, 7)
			}
		}
	}
}

// TestProofsOfLargerTrees does so at random up to some thousand.
func TestProofsOfLargerTrees(t *testing.T) {
	t.Parallel()
	const sizes = 5000
	g, seed := newGrove(t, sizes), rand.Uint64()
	draw := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	for range 500 {
		size := 1 + draw.Int64N(sizes)
		index := draw.Int64N(size)
		g.included(t, draw.Int64N(index+1), index, size, 1+draw.IntN(1000))
		g.consistent(t, draw.Int64N(index+2), index+1, size, 1+draw.IntN(1000))
	}
}

// TestMutatedProofsAreRefused changes proofs in every place: both other
// implementations and ours must refuse each.
func TestMutatedProofsAreRefused(t *testing.T) {
	t.Parallel()
	const sizes = 45
	g := newGrove(t, sizes)
	refused := 0
	for size := int64(1); size <= sizes; size++ {
		for index := range size {
			good := g.included(t, 0, index, size, 100)
			for what, bad := range mutations(good) {
				one, other := g.accepts(bad, index, size)
				ours := g.proof(bad, index, size).Check()
				if one == nil || other == nil || ours == nil {
					t.Fatalf("event %d in %d, %s: tlog %v, merkle %v, ours %v", index, size, what, one, other, ours)
				}
				refused++
			}
			good = g.consistent(t, 0, index+1, size, 100)
			for what, bad := range mutations(good) {
				one, other := g.continues(bad, index+1, size)
				ours := g.continuity(bad, index+1, size).Check()
				if one == nil || other == nil || ours == nil {
					t.Fatalf("%d to %d, %s: tlog %v, merkle %v, ours %v", index+1, size, what, one, other, ours)
				}
				refused++
			}
		}
	}
	t.Logf("%d mutated proofs refused", refused)
}

// mutations are proofs that differ from a good one.
func mutations(good []tlog.Hash) map[string][]tlog.Hash {
	bad := map[string][]tlog.Hash{"a hash more": append(slices.Clone(good), tlog.Hash{1})}
	for i := range good {
		flipped := slices.Clone(good)
		flipped[i][i%32] ^= 1 << (i % 8)
		bad[fmt.Sprint("a bit of hash ", i)] = flipped
		bad[fmt.Sprint("without hash ", i)] = slices.Delete(slices.Clone(good), i, i+1)
		if i > 0 {
			swapped := slices.Clone(good)
			swapped[i], swapped[i-1] = swapped[i-1], swapped[i]
			bad[fmt.Sprint("hashes swapped before ", i)] = swapped
		}
	}
	return bad
}

func (g *grove) checkpoint(size int64) audit.Signed {
	return audit.Signed{Checkpoint: audit.Checkpoint{Origin: "rotator-audit/x/1", Size: size, Root: g.roots[size]}}
}

// proof is an inclusion proof of a leaf's own text.
func (g *grove) proof(hashes []tlog.Hash, index, size int64) *audit.Proof {
	return &audit.Proof{Body: binary.BigEndian.AppendUint64(nil, uint64(index)), Index: index, Newer: g.checkpoint(size), Hashes: hashes}
}

func (g *grove) continuity(hashes []tlog.Hash, older, newer int64) *audit.Proof {
	return &audit.Proof{Older: g.checkpoint(older), Newer: g.checkpoint(newer), Hashes: hashes}
}
