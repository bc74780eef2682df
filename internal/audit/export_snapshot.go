package audit

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/jackc/pgx/v5"
)

// Beginner starts transactions: a pool or a connection.
type Beginner interface {
	BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error)
}

const (
	// fetched is how many rows one round trip brings; with the largest bodies
	// they are 8 MiB.
	fetched = 512
	// readPatience replaces the pool's limits while a snapshot is read: the
	// first rows of a large report take longer to find than any other
	// statement, and who reads a pipe may stop to think. It ends what hangs.
	readPatience = 15 * time.Minute
)

// Snapshot is the log as it was at one moment: all that is read from it
// agrees, however long reading takes. It holds one connection and nothing that
// a writer would wait for. Close it.
type Snapshot struct {
	tx   pgx.Tx
	size int64
	at   time.Time
}

// Look takes a snapshot of the log.
func Look(ctx context.Context, db Beginner) (*Snapshot, error) {
	tx, err := db.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, fmt.Errorf("beginning to read the audit log: %w", err)
	}
	s := &Snapshot{tx: tx}
	if err := s.begin(ctx); err != nil {
		s.Close(ctx)
		return nil, err
	}
	return s, nil
}

func (s *Snapshot) begin(ctx context.Context) error {
	const limits = `select set_config('statement_timeout', $1, true), set_config('idle_in_transaction_session_timeout', $1, true)`
	if _, err := s.tx.Exec(ctx, limits, milliseconds(readPatience)); err != nil {
		return fmt.Errorf("setting deadlines: %w", err)
	}
	if err := s.tx.QueryRow(ctx, `select size, now() from audit.head`).Scan(&s.size, &s.at); err != nil {
		return fmt.Errorf("reading the log's size: %w", err)
	}
	return nil
}

// Close ends the snapshot, also under a context that has ended.
func (s *Snapshot) Close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = s.tx.Rollback(ctx) // nothing was changed, so nothing is lost
}

// Size is how many events the log has.
func (s *Snapshot) Size() int64 { return s.size }

// At is when the snapshot was taken, by the database's clock.
func (s *Snapshot) At() time.Time { return s.at }

// Query asks something else of the same snapshot, also between two batches.
func (s *Snapshot) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return s.tx.Query(ctx, sql, args...) //nolint:wrapcheck // its caller knows what was asked
}

// Events returns the events that pass the filter, in their order. It streams,
// as List does, but for as long as it takes. After an error it ends.
func (s *Snapshot) Events(ctx context.Context, f Filter) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for batch, err := range s.Batches(ctx, f) {
			if err != nil {
				yield(Record{}, err)
				return
			}
			for _, r := range batch {
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

// Batches is Events, some hundred at a time. Between two the snapshot may be
// asked other things.
func (s *Snapshot) Batches(ctx context.Context, f Filter) iter.Seq2[[]Record, error] {
	return s.batches(ctx, f, scan)
}

// bodies is Batches of records that are not decoded.
func (s *Snapshot) bodies(ctx context.Context, f Filter) iter.Seq2[[]Record, error] {
	return s.batches(ctx, f, func(row pgx.CollectableRow) (r Record, err error) {
		if err := row.Scan(&r.Seq, (*[]byte)(&r.Body)); err != nil {
			return r, fmt.Errorf("reading an audit event: %w", err)
		}
		return r, nil
	})
}

func (s *Snapshot) batches(ctx context.Context, f Filter, scan pgx.RowToFunc[Record]) iter.Seq2[[]Record, error] {
	return func(yield func([]Record, error) bool) {
		sql, args, err := f.query()
		if err != nil {
			yield(nil, err)
			return
		}
		for batch, err := range cursor(ctx, s.tx, sql, args, scan) {
			if err != nil {
				err = fmt.Errorf("listing audit events: %w", err)
			}
			if !yield(batch, err) {
				return
			}
		}
	}
}

// cursor runs a query behind a cursor of the server, which makes rows as they
// are fetched. One can be open in a transaction at a time.
func cursor[T any](ctx context.Context, tx pgx.Tx, sql string, args []any, scan pgx.RowToFunc[T]) iter.Seq2[[]T, error] {
	return func(yield func([]T, error) bool) {
		if _, err := tx.Exec(ctx, "declare reading no scroll cursor for "+sql, args...); err != nil {
			yield(nil, err)
			return
		}
		for {
			// Not prepared: what a fetch returns depends on the cursor.
			rows, err := tx.Query(ctx, fmt.Sprintf("fetch %d from reading", fetched), pgx.QueryExecModeExec)
			if err != nil {
				yield(nil, err)
				return
			}
			batch, err := pgx.CollectRows(rows, scan)
			if err != nil {
				yield(nil, err)
				return
			}
			if len(batch) > 0 && !yield(batch, nil) || len(batch) < fetched {
				_, _ = tx.Exec(ctx, "close reading") // if this fails the transaction has, and says so at the next query
				return
			}
		}
	}
}
