package audit

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"
)

// ahead is what the log has beyond a checkpoint.
type ahead struct {
	head    tree      // at its end
	changes bool      // something was changed, or decided
	reads   bool      // something was read
	oldest  time.Time // of the first of those; zero: there is none
}

// counts reports whether a checkpoint is worth making: because of changes, or
// of reads, too.
func (a ahead) counts(reads bool) bool { return a.changes || reads && a.reads }

// What an event is to a checkpoint: its own business (logins, renewals, what
// makes checkpoints), which never counts; reading, for which the end of a run
// is soon enough; everything else.
const (
	ownBusiness = iota
	reading
	changing
)

// leavesBetween reads what follow needs of a stretch of the log.
const leavesBetween = `select seq, leaf_hash, occurred_at,
	case
		when operation in ('vault.login', 'vault.renew', 'vault.transit') or starts_with(body ->> 'vault_path', $3) then 0
		when type in ('run.started', 'run.finished', 'inventory.snapshot') then 1
		when type = 'api.call' and phase = 'outcome' and not audit.mutates(operation) then 1
		else 2
	end
	from audit.event where seq >= $1 and seq < $2 order by seq`

// follow extends a tree by the log's leaves up to a size. It trusts the hash
// that stands beside each event: whether it is the event's own, `audit verify`
// checks. It returns ErrBehind when an event is missing.
func follow(ctx context.Context, db DB, from tree, size int64, prefix string) (ahead, error) {
	got := ahead{head: from}
	for got.head.size < size {
		end := min(size, got.head.size+followPage)
		if err := got.page(ctx, db, end, prefix); err != nil {
			return got, err
		}
	}
	return got, nil
}

// followPage is how many events one statement reads: few enough for its
// timeout, whatever the size of the log.
const followPage = 50_000

// page extends the tree up to a size.
func (got *ahead) page(ctx context.Context, db DB, size int64, prefix string) error {
	rows, err := db.Query(ctx, leavesBetween, got.head.size, size, prefix+"/")
	if err != nil {
		return fmt.Errorf("following the audit log: %w", err)
	}
	var (
		seq  int64
		leaf []byte
		at   time.Time
		kind int
	)
	_, err = pgx.ForEachRow(rows, []any{&seq, &leaf, &at, &kind}, func() error {
		if seq != got.head.size || len(leaf) != tlog.HashSize {
			return behind("event %d is missing", got.head.size)
		}
		got.head = got.head.append(tlog.Hash(leaf))
		got.changes, got.reads = got.changes || kind == changing, got.reads || kind == reading
		if kind != ownBusiness && got.oldest.IsZero() {
			got.oldest = at
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("following the audit log: %w", err)
	}
	if got.head.size != size {
		return behind("events from %d on are missing", got.head.size)
	}
	return nil
}

// queryHead reads and checks the head.
func queryHead(ctx context.Context, db DB) (tree, error) {
	rows, err := db.Query(ctx, `select size, root, frontier from audit.head`)
	if err != nil {
		return tree{}, fmt.Errorf("reading the head: %w", err)
	}
	type row struct {
		Size           int64
		Root, Frontier []byte
	}
	head, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[row])
	if err != nil {
		return tree{}, fmt.Errorf("reading the head: %w", err)
	}
	return parseTree(head.Size, head.Root, head.Frontier)
}
