package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// record is the checkpoints of one epoch, by size.
type record struct {
	prover *Prover
	epoch  int
	origin string // that they must have
	places []place
}

// open lists the checkpoints of an epoch; 0 is the newest that has any.
func (p *Prover) open(ctx context.Context, epoch int) (*record, error) {
	epochs, err := p.Archive.Epochs(ctx)
	if err != nil {
		return nil, err
	}
	if epoch > 0 && !slices.Contains(epochs, epoch) {
		return nil, fmt.Errorf("%w: there is no epoch %d; there are %v", ErrUnprovable, epoch, epochs)
	}
	for _, e := range slices.Backward(epochs) {
		if epoch > 0 && e != epoch {
			continue
		}
		r, err := p.list(ctx, e)
		if err != nil || e == epoch || len(r.places) > 0 {
			return r, err
		}
	}
	return nil, fmt.Errorf("%w: there are no checkpoints", ErrUnprovable)
}

// list lists the checkpoints of an epoch, once.
func (p *Prover) list(ctx context.Context, epoch int) (*record, error) {
	if known, ok := p.records[epoch]; ok {
		return known, nil
	}
	origin, err := Origin(ctx, p.DB)
	if err != nil {
		return nil, err
	}
	r := &record{prover: p, epoch: epoch, origin: epochOrigin(origin, epoch)}
	if r.places, err = p.Archive.places(ctx, epoch, 0); err != nil {
		return nil, err
	}
	if p.records == nil {
		p.records = map[int]*record{}
	}
	p.records[epoch] = r
	return r, nil
}

// read reads a checkpoint, which must be of this log.
func (r *record) read(ctx context.Context, at place) (Anchor, error) {
	a, err := r.prover.Archive.read(ctx, r.epoch, at)
	if err == nil && a.Origin != r.origin {
		err = fmt.Errorf("%w: checkpoint %s is of the log %s, this one is %s", ErrForged, at.path(r.epoch), a.Origin, r.origin)
	}
	return a, err
}

// smallest returns the smallest checkpoint of at least a size.
func (r *record) smallest(ctx context.Context, size int64) (a Anchor, found bool, err error) {
	i, _ := slices.BinarySearchFunc(r.places, size, bySize)
	if i == len(r.places) {
		return Anchor{}, false, nil
	}
	a, err = r.read(ctx, r.places[i])
	return a, err == nil, err
}

// base returns a tree of at most a size from which proofs can begin, so that
// the leaves before need not be read: that of the last checkpoint until there,
// where it keeps its tree; else the empty one or, where events were dropped,
// what they left.
func (r *record) base(ctx context.Context, size int64) (tree, error) {
	first, err := r.prover.first(ctx)
	if err != nil {
		return tree{}, err
	}
	if first > size {
		return tree{}, fmt.Errorf("%w any more: events before %d were dropped", ErrUnprovable, first)
	}
	if i, _ := slices.BinarySearchFunc(r.places, size+1, bySize); i > 0 && r.places[i-1].size >= first {
		a, err := r.read(ctx, r.places[i-1])
		if err != nil || a.Resumable() {
			return a.tree, err
		}
	}
	if first == 0 {
		return tree{}, nil
	}
	return r.prover.dropped(ctx, r.epoch, first)
}

func bySize(p place, size int64) int { return int(min(max(p.size-size, -1), 1)) }

// first is the first event that the log still holds, 0 in an empty one.
func (p *Prover) first(ctx context.Context) (int64, error) {
	return one[int64](ctx, p.DB, "finding the first event", `select coalesce(min(seq), 0) from audit.event`)
}

// dropped is the tree of the events before the first, which a checkpoint of
// their size keeps, or the event that says that they were dropped.
func (p *Prover) dropped(ctx context.Context, epoch int, first int64) (tree, error) {
	for e := epoch; e > 0; e-- {
		for a, err := range p.Archive.Anchors(ctx, e, first) {
			if err == nil && a.Size == first && a.Resumable() {
				return a.tree, nil
			}
			if err != nil && !errors.Is(err, ErrForged) {
				return tree{}, err
			}
			break
		}
	}
	for r, err := range List(ctx, p.DB, Filter{Type: AuditPartitionDropped}) {
		if err != nil {
			return tree{}, err
		}
		a, err := parseAnchor(p.Archive.Keys, map[string]string{noteField: r.Event.Note, frontierField: r.Event.Frontier})
		if err == nil && a.Size == first && a.Resumable() {
			return a.tree, nil
		}
	}
	return tree{}, fmt.Errorf("%w any more: the log begins with event %d, and no checkpoint says what was before", ErrUnprovable, first)
}

// anchorAt finds the checkpoint that a mark names, as the beginning or the end
// of a range.
func (p *Prover) anchorAt(ctx context.Context, m Mark, begins bool) (Anchor, error) {
	if !m.Time.IsZero() {
		return p.anchorNear(ctx, m.Time, begins)
	}
	r, err := p.open(ctx, m.Epoch)
	if err != nil {
		return Anchor{}, err
	}
	if m.Size == 0 && len(r.places) > 0 {
		return r.read(ctx, r.places[len(r.places)-1])
	}
	i, found := slices.BinarySearchFunc(r.places, m.Size, bySize)
	if found {
		return r.read(ctx, r.places[i])
	}
	return Anchor{}, fmt.Errorf("%w: epoch %d has no checkpoint of size %d; %s", ErrUnprovable, r.epoch, m.Size, r.around(i))
}

// around names the checkpoints before and behind a place in the list.
func (r *record) around(i int) string {
	switch {
	case len(r.places) == 0:
		return "it has none"
	case i == 0:
		return fmt.Sprintf("the first is %d", r.places[0].size)
	case i == len(r.places):
		return fmt.Sprintf("the last is %d", r.places[i-1].size)
	}
	return fmt.Sprintf("there are %d and %d", r.places[i-1].size, r.places[i].size)
}

// anchorNear finds the last checkpoint at or before a time or, to begin a
// range, the first one that covers all that was logged before it: what comes
// behind the last one before it. A checkpoint's own time does not say that: one
// that was made when a partition was dropped is younger than larger ones.
func (p *Prover) anchorNear(ctx context.Context, at time.Time, begins bool) (Anchor, error) {
	epochs, err := p.Archive.Epochs(ctx)
	if err != nil {
		return Anchor{}, err
	}
	var behind *record // the epoch after, and its first checkpoint
	for _, epoch := range slices.Backward(epochs) {
		r, err := p.list(ctx, epoch)
		if err != nil {
			return Anchor{}, err
		}
		a, found, err := r.last(ctx, at, begins)
		switch {
		case err != nil:
			return Anchor{}, err
		case !found && len(r.places) > 0:
			behind = r
		case !found:
		case !begins:
			return a, nil
		case a.Size < r.places[len(r.places)-1].size:
			next, _ := slices.BinarySearchFunc(r.places, a.Size+1, bySize)
			return r.read(ctx, r.places[next])
		case behind != nil:
			return behind.read(ctx, behind.places[0])
		default:
			return Anchor{}, fmt.Errorf("%w: there is no checkpoint at or after %s; the last is %d of epoch %d", ErrUnprovable, instant(at), a.Size, epoch)
		}
	}
	if begins && behind != nil {
		return behind.read(ctx, behind.places[0])
	}
	return Anchor{}, fmt.Errorf("%w: there is no checkpoint at or before %s", ErrUnprovable, instant(at))
}

// last returns the largest checkpoint at or before a time, with strictly only
// before it. Days of which it is clear by themselves are not read. Where the
// time is not known, as in a copy of the notes alone, the day has to do: what
// may be before counts as such only with strictly.
func (r *record) last(ctx context.Context, at time.Time, strictly bool) (a Anchor, found bool, err error) {
	for _, candidate := range slices.Backward(r.places) {
		day, err := time.Parse(time.DateOnly, candidate.day)
		if err != nil || day.After(at) {
			continue
		}
		if a, err = r.read(ctx, candidate); err != nil {
			return a, false, err
		}
		made := a.At
		switch {
		case made.IsZero() && strictly:
			made = day
		case made.IsZero():
			made = day.AddDate(0, 0, 1)
		}
		if made.Before(at) || !strictly && made.Equal(at) {
			return a, true, nil
		}
	}
	return Anchor{}, false, nil
}

// one returns one value.
func one[T any](ctx context.Context, db DB, what, sql string) (v T, err error) {
	rows, err := db.Query(ctx, sql)
	if err == nil {
		v, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	}
	if err != nil {
		return v, fmt.Errorf("%s: %w", what, err)
	}
	return v, nil
}
