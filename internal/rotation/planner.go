package rotation

import "slices"

// Decide says what should happen in a project now, in which order, and why.
// It is a pure function: the same facts, in whatever order, give the same
// plan, and a plan of which nothing is carried out is made again.
//
// Steps come in the order in which they should be taken: orphans and then
// retirements, which free slots, then rotations, the most urgent first; all
// for rotator's own credential comes last. Each Rotate, Retire and
// DeleteOrphan is safe whatever becomes of the steps before it: none relies
// on an earlier one having succeeded. What does is a Skip for now; look again
// after a deletion, and the next plan has it.
func Decide(f Facts) Plan {
	b := open(f)
	s := b.slots()
	wants := b.wants(s)
	deletions := b.deletions()
	steps := append(slices.Clone(deletions), b.rotations(wants, s, deletions)...)
	p := Plan{Steps: b.ownLast(steps), Keys: b.views(), NextCheck: b.nextCheck(wants, s)}
	if warning := s.forecast(b); warning != "" {
		p.Warnings = append(p.Warnings, warning)
	}
	p.Warnings = append(p.Warnings, b.unnamed()...)
	return p
}

// ownLast moves all steps for rotator's own credential to the end.
func (b *book) ownLast(steps []Step) []Step {
	slices.SortStableFunc(steps, func(x, y Step) int { return b.isOwn(x) - b.isOwn(y) })
	return steps
}

func (b *book) isOwn(s Step) int {
	if b.SelfName != "" && s.Credential == b.SelfName {
		return 1
	}
	return 0
}

// views are all listed keys, by credential, then the newest first.
func (b *book) views() []KeyView {
	var views []KeyView
	for _, l := range b.lines {
		for _, v := range l.keys {
			views = append(views, *v)
		}
	}
	return views
}
