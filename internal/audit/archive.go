package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"path"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
)

// Archive reads the checkpoints that stand outside the database.
type Archive struct {
	Store Store
	Keys  *Keyring
}

// anchorsAtOnce is how many checkpoints are read at the same time.
const anchorsAtOnce = 16

// Epochs returns the epochs that have checkpoints, ascending.
func (a *Archive) Epochs(ctx context.Context) ([]int, error) {
	names, err := a.Store.List(ctx, checkpointFolder)
	if err != nil {
		return nil, fmt.Errorf("listing epochs: %w", err)
	}
	var epochs []int
	for _, name := range names {
		n, err := strconv.Atoi(name)
		if err != nil || n < 1 || strconv.Itoa(n) != name {
			return nil, fmt.Errorf("%w: %s/%s is no epoch", ErrForged, checkpointFolder, name)
		}
		epochs = append(epochs, n)
	}
	slices.Sort(epochs)
	return epochs, nil
}

// place is where an anchor is kept:
// checkpoints/<epoch>/<yyyy-mm-dd>/<size, 16 digits>.
type place struct {
	size int64
	day  string
}

func (p place) path(epoch int) string {
	return path.Join(checkpointFolder, strconv.Itoa(epoch), p.day, fmt.Sprintf("%016d", p.size))
}

// Anchors returns an epoch's checkpoints of at least a size, in the order of
// their sizes. One that is not what it should be comes with an error that
// matches ErrForged, and the others follow; after any other error it ends.
func (a *Archive) Anchors(ctx context.Context, epoch int, from int64) iter.Seq2[Anchor, error] {
	return func(yield func(Anchor, error) bool) {
		places, err := a.places(ctx, epoch, from)
		if err != nil {
			yield(Anchor{}, err)
			return
		}
		for chunk := range slices.Chunk(places, anchorsAtOnce) {
			anchors, errs := a.readAll(ctx, epoch, chunk)
			for i := range chunk {
				if !yield(anchors[i], errs[i]) || errs[i] != nil && !errors.Is(errs[i], ErrForged) {
					return
				}
			}
		}
	}
}

// places lists where an epoch's checkpoints are. Sixteen bytes each and a
// shared day: a year of one a minute is some ten megabytes.
func (a *Archive) places(ctx context.Context, epoch int, from int64) ([]place, error) {
	folder := path.Join(checkpointFolder, strconv.Itoa(epoch))
	days, err := a.Store.List(ctx, folder)
	if err != nil {
		return nil, fmt.Errorf("listing checkpoints of epoch %d: %w", epoch, err)
	}
	var places []place
	for _, day := range days {
		found, err := a.day(ctx, epoch, day)
		if err != nil {
			return nil, err
		}
		for _, p := range found {
			if p.size >= from {
				places = append(places, p)
			}
		}
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Or(cmp.Compare(a.size, b.size), cmp.Compare(a.day, b.day)) })
	return places, nil
}

// day lists one day's checkpoints.
func (a *Archive) day(ctx context.Context, epoch int, day string) ([]place, error) {
	names, err := a.Store.List(ctx, path.Join(checkpointFolder, strconv.Itoa(epoch), day))
	if err != nil {
		return nil, fmt.Errorf("listing checkpoints of %s: %w", day, err)
	}
	var places []place
	for _, name := range names {
		size, err := strconv.ParseInt(name, 10, 64)
		if err != nil || size < 0 || fmt.Sprintf("%016d", size) != name {
			return nil, fmt.Errorf("%w: %s is no checkpoint", ErrForged, path.Join(checkpointFolder, strconv.Itoa(epoch), day, name))
		}
		places = append(places, place{size, day})
	}
	return places, nil
}

func (a *Archive) readAll(ctx context.Context, epoch int, places []place) ([]Anchor, []error) {
	anchors, errs := make([]Anchor, len(places)), make([]error, len(places))
	var g errgroup.Group
	for i, p := range places {
		g.Go(func() error {
			anchors[i], errs[i] = a.read(ctx, epoch, p)
			return nil
		})
	}
	_ = g.Wait() // no goroutine returns an error
	return anchors, errs
}

// read reads one anchor and checks that it is the one of its place.
func (a *Archive) read(ctx context.Context, epoch int, p place) (Anchor, error) {
	fields, err := a.Store.Read(ctx, p.path(epoch), 0)
	if err != nil {
		return Anchor{Epoch: epoch}, fmt.Errorf("reading checkpoint %s: %w", p.path(epoch), err)
	}
	anchor, err := parseAnchor(a.Keys, fields)
	if err == nil && (anchor.Size != p.size || anchor.Epoch != epoch) {
		err = fmt.Errorf("%w: it is the checkpoint of another place, size %d of epoch %d", ErrForged, anchor.Size, anchor.Epoch)
	}
	if err != nil {
		return anchor, fmt.Errorf("checkpoint %s: %w", p.path(epoch), err)
	}
	anchor.day = p.day
	return anchor, nil
}

// Newest returns the largest checkpoint of the newest epoch. Found is false
// when there is none at all.
func (a *Archive) Newest(ctx context.Context) (newest Anchor, found bool, err error) {
	return a.newestSince(ctx, Anchor{})
}

// newestSince is Newest for who knows one already: that is not read again.
func (a *Archive) newestSince(ctx context.Context, known Anchor) (Anchor, bool, error) {
	epochs, err := a.Epochs(ctx)
	if err != nil {
		return Anchor{}, false, err
	}
	for _, epoch := range slices.Backward(epochs) {
		since := ""
		if epoch == known.Epoch {
			since = known.day
		}
		p, found, err := a.newestPlace(ctx, epoch, since)
		switch {
		case err != nil:
			return Anchor{}, false, err
		case !found:
			continue
		case epoch == known.Epoch && p.size == known.Size:
			return known, true, nil
		}
		anchor, err := a.read(ctx, epoch, p)
		return anchor, err == nil, err
	}
	return Anchor{}, false, nil
}

// lookBack is how many days' folders are looked at by who knows no checkpoint
// yet. The newest is in the last one: whoever makes a checkpoint never dates
// it before the one it continues. The others are for what a person, or a
// clock, has put there; verification looks at every day.
const lookBack = 7

// newestPlace looks at an epoch's days from one on, or at the last ones.
func (a *Archive) newestPlace(ctx context.Context, epoch int, since string) (place, bool, error) {
	days, err := a.Store.List(ctx, path.Join(checkpointFolder, strconv.Itoa(epoch)))
	if err != nil {
		return place{}, false, fmt.Errorf("listing checkpoints of epoch %d: %w", epoch, err)
	}
	if since == "" {
		days = days[max(0, len(days)-lookBack):]
	}
	var newest place
	found := false
	for _, day := range days {
		if _, err := time.Parse(time.DateOnly, day); err != nil {
			return place{}, false, fmt.Errorf("%w: %s is no day of epoch %d", ErrForged, day, epoch)
		}
		if day < since {
			continue
		}
		places, err := a.day(ctx, epoch, day)
		if err != nil {
			return place{}, false, err
		}
		for _, p := range places {
			if !found || p.size > newest.size {
				newest, found = p, true
			}
		}
	}
	return newest, found, nil
}
