package audit

import (
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// span is a range of leaves, [from, to), that a proof needs the root of. It
// begins where a subtree of its size does, so that its root is that of a tree
// of its own.
type span struct{ from, to int64 }

// inclusionSpans are what proves a leaf to be in a tree of a size: from the
// leaf's sibling up to the root's child (RFC 6962, section 2.1.1).
func inclusionSpans(index, size int64) []span {
	return inclusionWithin(span{0, size}, index)
}

func inclusionWithin(s span, index int64) []span {
	if s.to-s.from == 1 {
		return nil
	}
	left, right := s.split()
	if index < left.to {
		return append(inclusionWithin(left, index), right)
	}
	return append(inclusionWithin(right, index), left)
}

// consistencySpans are what proves that a tree of the newer size begins with
// that of the older one (RFC 6962, section 2.1.2).
func consistencySpans(older, newer int64) []span {
	if older == 0 {
		return nil // every tree begins with the empty one
	}
	return consistencyWithin(span{0, newer}, older)
}

func consistencyWithin(s span, older int64) []span {
	if s.to == older {
		if s.from == 0 {
			return nil // the older tree itself: its root is known
		}
		return []span{s}
	}
	left, right := s.split()
	if older <= left.to {
		return append(consistencyWithin(left, older), right)
	}
	return append(consistencyWithin(right, older), left)
}

// split parts a span of at least two leaves as a Merkle tree does: the left
// half is the largest complete subtree that is smaller than the whole.
func (s span) split() (left, right span) {
	middle := s.from + 1<<(bits.Len64(uint64(s.to-s.from-1))-1) // #nosec G115 -- positive
	return span{s.from, middle}, span{middle, s.to}
}

// folding computes the roots of spans while leaves go by, each once, in
// memory that does not grow with them.
type folding struct {
	spans []span
	trees []tree // of spans, as far as the leaves have come
}

// newFolding begins with a tree that stands for the leaves before: those of a
// span are known if it ends after them, or is one of the tree's complete
// subtrees. It is for proofs about leaves from the tree's size on, or about
// the tree itself: their spans are of no other kind.
func newFolding(base tree, spans []span) *folding {
	f := &folding{spans: spans, trees: make([]tree, len(spans))}
	for i, s := range spans {
		f.trees[i] = base.within(s)
	}
	return f
}

// within is the part of a tree that lies in a span.
func (t tree) within(s span) tree {
	end := min(t.size, s.to)
	if end <= s.from {
		return tree{}
	}
	before := bits.OnesCount64(uint64(s.from & t.size)) // #nosec G115 -- sizes are positive
	return tree{
		size:     end - s.from,
		frontier: t.frontier[before : before+bits.OnesCount64(uint64(end-s.from))], // #nosec G115 -- as above
	}
}

// add takes the leaves that follow, of which first is the first one's index.
func (f *folding) add(first int64, leaves []tlog.Hash) {
	end := first + int64(len(leaves))
	for i, s := range f.spans {
		if from, to := max(first, s.from), min(end, s.to); from < to {
			f.trees[i] = f.trees[i].append(leaves[from-first : to-first]...)
		}
	}
}

// roots are the spans' roots, in their order. Complete is false when leaves
// are missing.
func (f *folding) roots() (hashes []tlog.Hash, complete bool) {
	for i, s := range f.spans {
		if f.trees[i].size != s.to-s.from {
			return nil, false
		}
		hashes = append(hashes, f.trees[i].root())
	}
	return hashes, true
}
