package audit

import (
	"crypto/sha256"
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// errHead marks a head row that contradicts itself.
var errHead = fmt.Errorf("%w: its head is damaged", ErrBehind)

// tree is a Merkle tree of which only the right edge is kept: enough to append
// and to know the root, at most 63 hashes whatever the size.
type tree struct {
	size int64
	// frontier holds the roots of the complete subtrees that size's binary
	// digits stand for, the largest first.
	frontier []tlog.Hash
}

// parseTree restores a tree from its head row and checks it against the root.
func parseTree(size int64, root, frontier []byte) (tree, error) {
	t := tree{size: size}
	if size < 0 || len(frontier) != tlog.HashSize*bits.OnesCount64(uint64(size)) || len(root) != tlog.HashSize {
		return tree{}, fmt.Errorf("%w: size %d, frontier of %d bytes", errHead, size, len(frontier))
	}
	for ; len(frontier) > 0; frontier = frontier[tlog.HashSize:] {
		t.frontier = append(t.frontier, tlog.Hash(frontier[:tlog.HashSize]))
	}
	if t.root() != tlog.Hash(root) {
		return tree{}, fmt.Errorf("%w: its frontier does not give its root at size %d", errHead, size)
	}
	return t, nil
}

// append returns the tree with leaves added; t itself stays as it is.
func (t tree) append(leaves ...tlog.Hash) tree {
	frontier := make([]tlog.Hash, len(t.frontier), len(t.frontier)+bits.Len(uint(len(leaves)))+1)
	copy(frontier, t.frontier)
	for _, h := range leaves {
		// Each trailing 1 of the size is a complete subtree as large as
		// the one that h has grown to: they become one.
		for s := t.size; s&1 == 1; s >>= 1 {
			h = tlog.NodeHash(frontier[len(frontier)-1], h)
			frontier = frontier[:len(frontier)-1]
		}
		frontier = append(frontier, h)
		t.size++
	}
	t.frontier = frontier
	return t
}

// root returns the tree's hash; that of the empty tree is SHA-256 of nothing.
func (t tree) root() tlog.Hash {
	if len(t.frontier) == 0 {
		return sha256.Sum256(nil)
	}
	last := len(t.frontier) - 1
	h := t.frontier[last]
	for i := last - 1; i >= 0; i-- {
		h = tlog.NodeHash(t.frontier[i], h)
	}
	return h
}

// bytes returns the frontier as the head row keeps it.
func (t tree) bytes() []byte {
	b := make([]byte, 0, len(t.frontier)*tlog.HashSize)
	for _, h := range t.frontier {
		b = append(b, h[:]...)
	}
	return b
}
