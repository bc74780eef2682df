package audit

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Anchor makes a checkpoint of all that is committed now, if something was
// changed since the last one or, with reads, if anything happened at all.
// What it returns besides ErrBehind and ErrForged is worth another try.
func (a *Anchors) Anchor(ctx context.Context, reads bool) error { return a.anchor(ctx, reads, 0) }

// anchor is Anchor, unless the last checkpoint is younger than that.
func (a *Anchors) anchor(ctx context.Context, reads bool, atLeast time.Duration) error {
	unlock, err := a.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if age := a.Age(); 0 <= age && age < atLeast {
		return nil
	}
	got, err := a.look(ctx)
	if err != nil || !got.counts(reads) {
		return err
	}
	a.mu.Lock()
	epoch := a.last.Epoch
	a.mu.Unlock()
	return a.make(ctx, epoch, got.head)
}

// make signs and stores the checkpoint of a tree that the caller has seen to
// continue the last one.
func (a *Anchors) make(ctx context.Context, epoch int, head tree) error {
	now := a.cfg.Now().UTC()
	anchor := Anchor{
		Checkpoint: Checkpoint{Origin: epochOrigin(a.origin, epoch), Size: head.size, Root: head.root()},
		Epoch:      epoch, At: now, tree: head,
	}
	var err error
	if anchor.Note, err = signNote(ctx, anchor.Text(), a.signer); err != nil {
		return fmt.Errorf("making a checkpoint: %w", err)
	}
	anchor.day = a.dayOf(epoch, now)
	path := place{head.size, anchor.day}.path(epoch)
	if err := a.store(ctx, a.cfg.Store, path, anchor); err != nil {
		return err
	}
	a.mu.Lock()
	a.last, a.at, a.pending = anchor, now, time.Time{}
	a.mu.Unlock()
	a.cfg.Logger.InfoContext(ctx, "audit checkpoint", "epoch", epoch, "size", head.size, "root", head.root().String(), "path", a.cfg.Prefix+"/"+path)
	if a.cfg.Mirror == nil {
		return nil
	}
	if err := a.store(ctx, a.cfg.Mirror, path, anchor); err != nil {
		return fmt.Errorf("copying a checkpoint to AUDIT_CHECKPOINT_DIR: %w", err)
	}
	return nil
}

// dayOf is the folder of a checkpoint made now: never one before the last
// one's, whatever the clock does, or nobody would look for it there.
func (a *Anchors) dayOf(epoch int, now time.Time) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	day := now.UTC().Format(time.DateOnly)
	if a.last.Epoch == epoch {
		day = max(day, a.last.day)
	}
	return day
}

// store writes the anchor where nothing is yet. What is there already must
// say the same: another replica was first, or an answer was lost.
func (a *Anchors) store(ctx context.Context, to Store, path string, anchor Anchor) error {
	err := to.Create(ctx, path, anchor.fields())
	if err == nil {
		return nil
	}
	if !errors.Is(err, ErrExists) {
		return fmt.Errorf("storing checkpoint %s: %w", path, err)
	}
	fields, err := to.Read(ctx, path, 0)
	if err != nil {
		return fmt.Errorf("reading checkpoint %s, which is there already: %w", path, err)
	}
	other, err := parseAnchor(a.archive.Keys, fields)
	if err == nil && other.Checkpoint != anchor.Checkpoint {
		err = behind("checkpoint %s is there already and signs another history", path)
	}
	if err != nil {
		return a.judge(fmt.Errorf("checkpoint %s: %w", path, err))
	}
	return nil
}

// mirrorKeys copies to the mirror who signs, so that it can be read alone.
func (a *Anchors) mirrorKeys(ctx context.Context) error {
	if a.cfg.Mirror == nil {
		return nil
	}
	for _, in := range a.archive.Keys.known {
		path, err := in.path()
		if err != nil {
			return err
		}
		err = a.cfg.Mirror.Create(ctx, path, map[string]string{noteField: in.note})
		if err != nil && !errors.Is(err, ErrExists) {
			return fmt.Errorf("copying signing keys to AUDIT_CHECKPOINT_DIR: %w", err)
		}
	}
	return nil
}
