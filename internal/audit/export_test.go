package audit

import (
	"context"

	"golang.org/x/mod/sumdb/tlog"
)

// Tree is the frontier tree, for tests.
type Tree struct{ t tree }

// Append returns the tree with leaves added.
func (t Tree) Append(leaves ...tlog.Hash) Tree { return Tree{t.t.append(leaves...)} }

// Root returns the tree's hash.
func (t Tree) Root() tlog.Hash { return t.t.root() }

// Frontier returns what the head row keeps.
func (t Tree) Frontier() []byte { return t.t.bytes() }

// RestoreTree is parseTree.
func RestoreTree(size int64, root, frontier []byte) (Tree, error) {
	t, err := parseTree(size, root, frontier)
	return Tree{t}, err
}

// ParseStatus is parseStatus.
var ParseStatus = parseStatus

// Queued is how many entries wait for the writer.
func (l *Log) Queued() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue)
}

// SignForTest signs a text with the signing key that a store holds.
func SignForTest(ctx context.Context, store Store, text string) (string, error) {
	fields, err := store.Read(ctx, signingKeyPath, 0)
	if err != nil {
		return "", err
	}
	s, err := kvSigner(fields)
	if err != nil {
		return "", err
	}
	return signNote(ctx, text, s)
}
