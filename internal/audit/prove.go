package audit

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"
)

// ErrUnprovable means that there is no checkpoint for what was asked, yet or
// any more; its text says why.
var ErrUnprovable = errors.New("not provable")

// ErrAltered means that the log's rows do not give what a checkpoint signs.
var ErrAltered = errors.New("the audit log's rows are not what its checkpoints sign; `rotator audit verify` says more")

// Prover makes proofs. It writes nothing. Its errors match ErrUnprovable,
// ErrAltered, ErrForged or ErrNotFound, or are those of the database and the
// store.
type Prover struct {
	DB      DB
	Archive *Archive
	// Progress is told how many of the events that have to be read were; nil
	// for nobody.
	Progress func(done, total int64)

	records map[int]*record // by epoch
}

// Event proves that an event is in the log. It is found by its id or its
// sequence number. The proof is against the smallest checkpoint of the newest
// epoch that covers it.
func (p *Prover) Event(ctx context.Context, id string) (*Proof, error) {
	event, err := p.find(ctx, id)
	if err != nil {
		return nil, err
	}
	r, err := p.open(ctx, 0)
	if err != nil {
		return nil, err
	}
	to, found, err := r.smallest(ctx, event.Seq+1)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, fmt.Errorf("%w yet: event %d has no checkpoint over it; the next comes within AUDIT_CHECKPOINT_INTERVAL while keys are changed, else at the end of the next run", ErrUnprovable, event.Seq)
	}
	proof := &Proof{Body: event.Body, Index: event.Seq, Newer: signedBy(to)}
	base, err := r.base(ctx, event.Seq)
	if err != nil {
		return nil, err
	}
	return p.complete(ctx, proof, base, inclusionSpans(event.Seq, to.Size))
}

// Consistency proves that the log of a later checkpoint begins with the log of
// an earlier one: that nothing was changed or removed between them.
func (p *Prover) Consistency(ctx context.Context, from, to Mark) (*Proof, error) {
	older, err := p.anchorAt(ctx, from, true)
	if err != nil {
		return nil, err
	}
	newer, err := p.anchorAt(ctx, to, false)
	if err != nil {
		return nil, err
	}
	switch {
	case older.Epoch != newer.Epoch:
		return nil, fmt.Errorf("%w: the log was rebased between checkpoint %d of epoch %d and checkpoint %d of epoch %d: the later one does not continue the earlier; take two of the same epoch, as EPOCH/SIZE",
			ErrUnprovable, older.Size, older.Epoch, newer.Size, newer.Epoch)
	case older.Size == newer.Size:
		return nil, fmt.Errorf("%w: the range begins and ends with the same checkpoint, %d", ErrUnprovable, older.Size)
	case older.Size > newer.Size:
		return nil, fmt.Errorf("%w: the range ends with checkpoint %d, before %d, with which it begins", ErrUnprovable, newer.Size, older.Size)
	}
	r, err := p.open(ctx, older.Epoch)
	if err != nil {
		return nil, err
	}
	base, err := r.base(ctx, older.Size)
	if err != nil {
		return nil, err
	}
	proof := &Proof{Older: signedBy(older), Newer: signedBy(newer)}
	return p.complete(ctx, proof, base, consistencySpans(older.Size, newer.Size))
}

func signedBy(a Anchor) Signed { return Signed{Checkpoint: a.Checkpoint, Note: a.Note} }

// find returns the event itself, not the other rows of its call.
func (p *Prover) find(ctx context.Context, id string) (Record, error) {
	rows, err := Show(ctx, p.DB, id)
	if err != nil {
		return Record{}, err
	}
	for _, r := range rows {
		if strings.EqualFold(r.Event.ID, id) || strconv.FormatInt(r.Seq, 10) == id {
			return r, nil
		}
	}
	return Record{}, fmt.Errorf("%w: %s is a call's id; want an event's id or its sequence number, as `rotator audit show %s` lists them", ErrNotFound, id, id)
}

// complete fills in the hashes, from the leaves behind the base on, and checks
// the proof before anybody gets it.
func (p *Prover) complete(ctx context.Context, proof *Proof, base tree, spans []span) (*Proof, error) {
	f := newFolding(base, spans)
	if err := p.leaves(ctx, base.size, proof.Newer.Size, f.add); err != nil {
		return nil, err
	}
	var complete bool
	if proof.Hashes, complete = f.roots(); !complete {
		return nil, fmt.Errorf("%w: leaves are missing", ErrAltered)
	}
	if err := proof.Check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAltered, err)
	}
	return proof, nil
}

// leavesAtOnce is how many leaf hashes one statement brings: short enough for
// any statement_timeout, and the memory that a proof needs.
const leavesAtOnce = 1 << 14

// leaves goes through the stored hashes of events [from, to). That they are
// their events' own is not looked at: the proof is, against what is signed.
func (p *Prover) leaves(ctx context.Context, from, to int64, add func(first int64, leaves []tlog.Hash)) error {
	for first := from; first < to; first += leavesAtOnce {
		end := min(first+leavesAtOnce, to)
		rows, err := p.DB.Query(ctx, `select seq, leaf_hash from audit.event where seq >= $1 and seq < $2 order by seq`, first, end)
		if err != nil {
			return fmt.Errorf("reading leaf hashes: %w", err)
		}
		hashes := make([]tlog.Hash, 0, end-first)
		var seq int64
		var leaf []byte
		_, err = pgx.ForEachRow(rows, []any{&seq, &leaf}, func() error {
			if seq != first+int64(len(hashes)) || len(leaf) != tlog.HashSize {
				return fmt.Errorf("%w: event %d is missing or has no hash", ErrAltered, first+int64(len(hashes)))
			}
			hashes = append(hashes, tlog.Hash(leaf))
			return nil
		})
		if err != nil {
			return fmt.Errorf("reading leaf hashes: %w", err)
		}
		if int64(len(hashes)) != end-first {
			return fmt.Errorf("%w: event %d is missing", ErrAltered, first+int64(len(hashes)))
		}
		add(first, hashes)
		if p.Progress != nil {
			p.Progress(end-from, to-from)
		}
	}
	return nil
}

// Mark names a checkpoint: by its size, or by a time near it.
type Mark struct {
	Epoch int   // of Size; 0 is the newest
	Size  int64 // 0 where Time says it, or nothing does
	// Time finds the first checkpoint at or after it, where it begins a
	// range, and the last one at or before it, where it ends one. Zero, with
	// Size 0, ends the range at the newest checkpoint.
	Time time.Time
}
