package audit

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"

	"rotator/internal/call"
)

// ErrNotBehind means that the log continues its newest checkpoint: there is
// nothing to rebase.
var ErrNotBehind = errors.New("the audit log continues its newest checkpoint; there is nothing to rebase")

// Rebased is what a rebase stated: the log goes on, in a new epoch, from what
// a restored or failed-over database still had.
type Rebased struct {
	Epoch    int        // the new one
	Anchored Checkpoint // the newest of the epoch before
	Actual   Checkpoint // the log as it was found
	// Common is the size of the largest checkpoint of the epoch before that
	// the log still continues. What was lost lies between it and Anchored.
	Common   int64
	CommonAt time.Time // when that was made; zero when there is none
	LostAt   time.Time // when the newest was made: nothing before that was lost later
	Note     string    // the statement, signed

	tree tree // of Actual
}

// Rebase lets a log go on that is behind its newest checkpoint. It appends a
// signed audit.rebased and opens the next epoch with a checkpoint that covers
// it. It is a person's decision: what was lost stays lost, and every later
// verification names it.
//
// It returns ErrNotBehind when there is nothing to do, and ErrBehind when the
// log contradicts itself, which no restored database does.
func (a *Anchors) Rebase(ctx context.Context, actor, reason string) (Rebased, error) {
	unlock, err := a.lock(ctx)
	if err != nil {
		return Rebased{}, err
	}
	defer unlock()
	newest, err := a.newest(ctx, Anchor{})
	if err != nil {
		return Rebased{}, err
	}
	switch _, err := a.compare(ctx, &newest); {
	case err == nil:
		return Rebased{}, ErrNotBehind
	case !errors.Is(err, ErrBehind):
		return Rebased{}, err
	}
	r, err := a.survey(ctx, newest)
	if err != nil {
		return Rebased{}, err
	}
	if err := a.state(ctx, &r, actor, reason); err != nil {
		return Rebased{}, err
	}
	return r, a.reopen(ctx, r)
}

// survey finds out what the log still has in common with the checkpoints of
// the epoch that ends: the largest from which its events lead to its head.
func (a *Anchors) survey(ctx context.Context, newest Anchor) (Rebased, error) {
	r := Rebased{Epoch: newest.Epoch + 1, Anchored: newest.Checkpoint, LostAt: newest.At}
	head, err := queryHead(ctx, a.cfg.Log.cfg.Pool)
	if err != nil {
		return r, err
	}
	r.Actual, r.tree = Checkpoint{Origin: newest.Origin, Size: head.size, Root: head.root()}, head
	places, err := a.archive.places(ctx, newest.Epoch, 0)
	if err != nil {
		return r, err
	}
	for _, p := range slices.Backward(places) {
		if p.size > head.size {
			continue
		}
		anchor, err := a.archive.read(ctx, newest.Epoch, p)
		if err != nil {
			return r, err
		}
		switch _, err := a.compare(ctx, &anchor); {
		case err == nil:
			r.Common, r.CommonAt = anchor.Size, anchor.At
			return r, nil
		case !errors.Is(err, ErrBehind):
			return r, err
		}
	}
	return r, a.selfConsistent(ctx, newest.Epoch, head)
}

// selfConsistent makes sure that the head is that of the events, where no
// checkpoint says so.
func (a *Anchors) selfConsistent(ctx context.Context, epoch int, head tree) error {
	begin, err := a.beginning(ctx, epoch)
	if err != nil {
		return err
	}
	got, err := follow(ctx, a.cfg.Log.cfg.Pool, begin, head.size, a.cfg.Prefix)
	if err == nil && got.head.root() != head.root() {
		err = behind("its head is not that of its %d events, so it was not just restored", head.size)
	}
	return err
}

// beginning is the tree before the first event that the log still holds.
func (a *Anchors) beginning(ctx context.Context, epoch int) (tree, error) {
	rows, err := a.cfg.Log.cfg.Pool.Query(ctx, `select coalesce(min(seq), 0) from audit.event`)
	if err != nil {
		return tree{}, fmt.Errorf("finding the first event: %w", err)
	}
	first, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[int64])
	if err != nil {
		return tree{}, fmt.Errorf("finding the first event: %w", err)
	}
	if first == 0 {
		return tree{}, nil
	}
	for e := epoch; e > 0; e-- { // events before it were dropped, in this epoch or an earlier one
		for anchor, err := range a.archive.Anchors(ctx, e, first) {
			if err == nil && anchor.Size == first && anchor.Resumable() {
				return anchor.tree, nil
			}
			break
		}
	}
	return tree{}, behind("it begins with event %d, and no checkpoint says what was before", first)
}

// state signs the statement and appends it to the log.
func (a *Anchors) state(ctx context.Context, r *Rebased, actor, reason string) error {
	system, timeline, err := a.identify(ctx)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%s rebased\nepoch %d\nanchored %d %s\nactual %d %s\ncommon %d\ndatabase %s timeline %d\nactor %s\nreason %s\nat %s\n",
		a.origin, r.Epoch, r.Anchored.Size, root64(r.Anchored.Root), r.Actual.Size, root64(r.Actual.Root), r.Common,
		system, timeline, call.Clean(actor, nameLimit), call.Clean(reason, proseLimit), a.cfg.Now().UTC().Format(time.RFC3339))
	if r.Note, err = signNote(ctx, text, a.signer); err != nil {
		return fmt.Errorf("stating the rebase: %w", err)
	}
	e := Event{
		Type: AuditRebased, Actor: actor, Reason: reason, Epoch: r.Epoch, Note: r.Note,
		Counters: map[string]int64{"anchored_size": r.Anchored.Size, "actual_size": r.Actual.Size, "common_size": r.Common},
	}
	if err := a.cfg.Log.Append(ctx, e); err != nil {
		return fmt.Errorf("stating the rebase: %w", err)
	}
	return nil
}

// identify says which database this is: Postgres's system identifier, and the
// timeline, which grows with every promotion of a standby.
func (a *Anchors) identify(ctx context.Context) (system string, timeline int, err error) {
	const query = `select (select system_identifier::text from pg_control_system()), (select timeline_id from pg_control_checkpoint())`
	if err := a.cfg.Log.cfg.Pool.QueryRow(ctx, query).Scan(&system, &timeline); err != nil {
		return "", 0, fmt.Errorf("asking which database this is: %w", err)
	}
	return system, timeline, nil
}

// reopen makes the first checkpoint of the new epoch, over what the log holds
// with the statement in it.
func (a *Anchors) reopen(ctx context.Context, r Rebased) error {
	got, err := a.compare(ctx, &Anchor{Checkpoint: r.Actual, Epoch: r.Epoch, At: a.cfg.Now(), tree: r.tree})
	if err != nil {
		return err
	}
	if err := a.make(ctx, r.Epoch, got.head); err != nil {
		return fmt.Errorf("opening epoch %d: %w", r.Epoch, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.broken = nil
	return nil
}

func root64(h tlog.Hash) string { return base64.StdEncoding.EncodeToString(h[:]) }
