package audit

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"
)

// Checkpoint returns the checkpoint of a size, to verify from. Epoch 0 is the
// newest. It returns ErrAbsent where there is none, and ErrForged.
func (a *Archive) Checkpoint(ctx context.Context, epoch int, size int64) (Anchor, error) {
	epochs, err := a.Epochs(ctx)
	if err != nil {
		return Anchor{}, err
	}
	if epoch == 0 && len(epochs) > 0 {
		epoch = epochs[len(epochs)-1]
	}
	for anchor, err := range a.Anchors(ctx, epoch, size) {
		if err == nil && anchor.Size != size {
			break
		}
		return anchor, err
	}
	return Anchor{}, fmt.Errorf("checkpoint %d of epoch %d: %w", size, epoch, ErrAbsent)
}

// ReadCheckpoint reads a checkpoint from a file, as a directory of checkpoints
// holds it: the signed note, and beside it the tree's right edge in a file of
// the same name with ".frontier". Its error matches ErrForged if nobody who is
// trusted has signed it.
func ReadCheckpoint(keys *Keyring, path string) (Anchor, error) {
	fields := map[string]string{}
	for field, file := range map[string]string{noteField: path, frontierField: path + "." + frontierField, timeField: path + "." + timeField} {
		text, err := os.ReadFile(file)
		if err != nil && (field == noteField || !errors.Is(err, os.ErrNotExist)) {
			return Anchor{}, fmt.Errorf("reading checkpoint %s: %w", path, err)
		}
		fields[field] = unended(string(text))
	}
	fields[noteField] += "\n"
	a, err := parseAnchor(keys, fields)
	if err != nil {
		return a, fmt.Errorf("checkpoint %s: %w", path, err)
	}
	return a, nil
}

// checkFrom makes sure that the log can be verified from the checkpoint that
// was given.
func (v *verification) checkFrom() error {
	from := v.cfg.From
	switch {
	case from == nil:
		return nil
	case !v.known(from):
		return fmt.Errorf("%s, to resume from, is of the log %s, this one is %s", from.name(), from.Origin, v.origin)
	case v.newest > 0 && from.Epoch != v.newest:
		return fmt.Errorf("%s, to resume from, is of epoch %d, the log is in epoch %d: resume from one of that, or verify all of it", from.name(), from.Epoch, v.newest)
	case !from.Resumable():
		return fmt.Errorf("%s comes without the tree's right edge (%s), so nothing can be resumed from it", from.name(), frontierField)
	}
	return nil
}

// begins prepares for a log whose first events are gone: the tree of those is
// with a checkpoint of just that size, or with the event that tells of their
// dropping.
func (v *verification) begins(ctx context.Context, tx pgx.Tx, first int64) {
	v.beginAt(first, tree{size: -1}, nil)
	if v.cfg.Archive == nil {
		return
	}
	a, ok := v.cfg.Archive.sized(ctx, first)
	if !ok {
		a, ok = v.droppedUpTo(ctx, tx, first)
	}
	if ok {
		v.beginAt(first, a.tree, &a)
	}
}

// sized finds a checkpoint of a size that keeps its tree's right edge.
func (a *Archive) sized(ctx context.Context, size int64) (Anchor, bool) {
	epochs, err := a.Epochs(ctx)
	if err != nil {
		return Anchor{}, false
	}
	for _, e := range epochs {
		for anchor, err := range a.Anchors(ctx, e, size) {
			if err == nil && anchor.Size == size && anchor.Resumable() {
				return anchor, true
			}
			if err == nil && anchor.Size > size {
				break
			}
		}
	}
	return Anchor{}, false
}

// droppedUpTo finds the signed checkpoint in an audit.partition_dropped.
func (v *verification) droppedUpTo(ctx context.Context, tx pgx.Tx, size int64) (Anchor, bool) {
	for r, err := range List(ctx, tx, Filter{Type: AuditPartitionDropped}) {
		if err != nil {
			return Anchor{}, false
		}
		a, err := parseAnchor(v.cfg.Archive.Keys, map[string]string{noteField: r.Event.Note, frontierField: r.Event.Frontier})
		if err == nil && a.Size == size && a.Resumable() {
			return a, true
		}
	}
	return Anchor{}, false
}
