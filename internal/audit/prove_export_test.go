package audit

import "golang.org/x/mod/sumdb/tlog"

// Fold computes an inclusion proof's hashes as a Prover does: from a tree of
// the size base on, from leaves that come some at a time.
func Fold(leaves []tlog.Hash, base Tree, index, size int64, atOnce int) ([]tlog.Hash, bool) {
	return fold(leaves, base.t, inclusionSpans(index, size), size, atOnce)
}

// FoldConsistency is Fold for a consistency proof.
func FoldConsistency(leaves []tlog.Hash, base Tree, older, newer int64, atOnce int) ([]tlog.Hash, bool) {
	return fold(leaves, base.t, consistencySpans(older, newer), newer, atOnce)
}

func fold(leaves []tlog.Hash, base tree, spans []span, size int64, atOnce int) ([]tlog.Hash, bool) {
	f := newFolding(base, spans)
	for first := base.size; first < size; first += int64(atOnce) {
		f.add(first, leaves[first:min(first+int64(atOnce), size)])
	}
	return f.roots()
}
