package audit

import "golang.org/x/mod/sumdb/tlog"

// growing is a tree that grows by single leaves. They wait and are added many
// at once, since adding copies the right edge.
type growing struct {
	tree

	waiting []tlog.Hash
}

// waitingLeaves is how many leaves wait at most.
const waitingLeaves = 1024

func (g *growing) add(leaf tlog.Hash) {
	if g.waiting = append(g.waiting, leaf); len(g.waiting) == waitingLeaves {
		g.now()
	}
}

// now is the tree with all its leaves.
func (g *growing) now() tree {
	if len(g.waiting) > 0 {
		g.tree, g.waiting = g.tree.append(g.waiting...), g.waiting[:0]
	}
	return g.tree
}

// length is the size of the tree with all its leaves.
func (g *growing) length() int64 { return g.size + int64(len(g.waiting)) }

// fork is a copy that grows by itself.
func (g *growing) fork() *growing { return &growing{tree: g.now()} }
