package audit

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
)

// anchored is a checkpoint as the archive gave it; with an error, one that is
// not what it should be, or the end of them.
type anchored struct {
	Anchor

	err error
}

// feed gives the checkpoints of all epochs in the order of their sizes, read
// ahead of the rows.
type feed struct {
	items chan anchored
	next  anchored
	more  bool
}

// feedAhead is how many checkpoints wait to be compared.
const feedAhead = 4 * anchorsAtOnce

// openFeed lists the checkpoints before it returns: what is read from the log
// afterwards must hold all that they cover.
func openFeed(ctx context.Context, archive *Archive, epochs []int, from int64) *feed {
	f := &feed{items: make(chan anchored, feedAhead)}
	listed := make(chan struct{})
	go f.fill(ctx, archive, epochs, from, listed)
	<-listed
	f.take()
	return f
}

// fill merges the epochs' checkpoints.
func (f *feed) fill(ctx context.Context, archive *Archive, epochs []int, from int64, listed chan<- struct{}) {
	defer close(f.items)
	var streams []*stream
	for _, e := range epochs {
		next, stop := iter.Pull2(archive.Anchors(ctx, e, from))
		defer stop()
		s := &stream{pull: next}
		if s.advance() {
			streams = append(streams, s)
		}
	}
	close(listed)
	for len(streams) > 0 {
		s := slices.MinFunc(streams, func(a, b *stream) int { return cmp.Compare(a.head.Size, b.head.Size) })
		select {
		case f.items <- s.head:
		case <-ctx.Done():
			return
		}
		if !s.advance() {
			streams = slices.DeleteFunc(streams, func(o *stream) bool { return o == s })
		}
	}
}

// stream is one epoch's checkpoints.
type stream struct {
	pull func() (Anchor, error, bool)
	head anchored
}

func (s *stream) advance() (more bool) {
	s.head.Anchor, s.head.err, more = s.pull()
	return more
}

// has reports whether a checkpoint of at most that size comes next. One that
// cannot be trusted, whatever size it claims, comes at once.
func (f *feed) has(size int64) bool {
	return f != nil && f.more && (f.next.err != nil || f.next.Size <= size)
}

// take returns the next checkpoint.
func (f *feed) take() anchored {
	got := f.next
	f.next, f.more = <-f.items
	if got.err != nil {
		got.Size = 0 // nobody vouches for it
	}
	return got
}

// openAnchors finds out which epochs there are and lists their checkpoints.
func (v *verification) openAnchors(ctx context.Context) error {
	epochs, err := v.cfg.Archive.Epochs(ctx)
	if err != nil {
		return err
	}
	for _, e := range slices.Backward(epochs) {
		found, err := v.opens(ctx, e)
		if err != nil {
			return err
		}
		if found {
			v.newest = e
			break
		}
	}
	v.anchors = openFeed(ctx, v.cfg.Archive, epochs, v.start)
	return nil
}

// opens reports whether an epoch has a checkpoint at all that can be trusted:
// a folder alone makes no epoch.
func (v *verification) opens(ctx context.Context, epoch int) (bool, error) {
	for _, err := range v.cfg.Archive.Anchors(ctx, epoch, v.start) {
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, ErrForged) {
			return false, err
		}
	}
	return false, nil
}
