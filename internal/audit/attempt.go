package audit

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/mod/sumdb/tlog"
)

// attempt is one try at committing a batch.
type attempt struct {
	base    int64 // size of the log before it
	hashes  []tlog.Hash
	tree    tree    // of the log after it
	results []error // of each item, should it have committed
	sent    bool    // the append has left: from here on it may have committed
}

// try makes one attempt. Without a state change and without a quarrel it is
// one statement against the head as we know it. Otherwise the head's lock
// comes first in the transaction, always: whoever holds state rows that an
// Update wants never waits for the head, so there is no deadlock, and two
// processes with contended appends wait instead of failing.
//
// An attempt that came back beside its error and was sent may be in the log.
func (l *Log) try(ctx context.Context, batch []*item, lost *attempt) (*attempt, error) {
	conn, fresh, err := l.session.connect(ctx)
	if err != nil {
		return nil, &lostError{err}
	}
	if fresh {
		if err := l.continues(ctx, conn); err != nil {
			l.session.drop(ctx)
			return nil, err
		}
	}
	var a *attempt
	if lost == nil && !l.session.contended && !updates(batch) {
		a, err = l.tryKnown(ctx, conn, batch)
	} else {
		a, err = l.tryLocked(ctx, conn, batch, lost)
	}
	if err == nil {
		return a, nil
	}
	if unfit(err) {
		l.session.drop(ctx)
	}
	if conn.IsClosed() {
		return a, &lostError{err}
	}
	l.session.contended = true
	return nil, err // the server has refused: nothing was committed
}

// continues makes sure, on a new connection, that the log still has all that
// this process knows of it: behind the same name there may be a standby now
// that had not caught up.
func (l *Log) continues(ctx context.Context, conn *pgx.Conn) error {
	head, err := queryHead(ctx, conn)
	if err != nil {
		return lostOr(conn, err)
	}
	known := l.known()
	if head.size < known.size {
		return l.estranged(behind("it has %d events, this process has seen %d", head.size, known.size))
	}
	got, err := follow(ctx, conn, known, head.size, "")
	if err != nil {
		return lostOr(conn, err)
	}
	if got.head.root() != head.root() {
		return l.estranged(behind("its %d events do not continue the %d that this process has seen", head.size, known.size))
	}
	return nil
}

// estranged notes that the log is another one than this process knows.
func (l *Log) estranged(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.strange = true
	return err
}

// lostOr is the error of a query, as that of a lost connection if it is one.
func lostOr(conn *pgx.Conn, err error) error {
	if conn.IsClosed() {
		return &lostError{err}
	}
	return err
}

func updates(batch []*item) bool {
	for _, it := range batch {
		if it.update != nil {
			return true
		}
	}
	return false
}

// tryKnown appends to the head as last seen, in a single round trip.
func (l *Log) tryKnown(ctx context.Context, conn *pgx.Conn, batch []*item) (*attempt, error) {
	a := &attempt{results: make([]error, len(batch))}
	if _, err := conn.Exec(ctx, appending, a.extend(l.known(), batch)...); err != nil {
		return a, fmt.Errorf("appending: %w", err)
	}
	return a, nil
}

// tryLocked takes the head's lock, looks whether the lost attempt committed
// after all, and if not, makes the state changes and appends. Looking under
// the lock is what makes it final: nobody can append behind our back, and the
// lost attempt's own append would find the head moved. It takes two round trips,
// and two more after a lost attempt.
func (l *Log) tryLocked(ctx context.Context, conn *pgx.Conn, batch []*item, lost *attempt) (*attempt, error) {
	defer l.session.rollback(ctx)
	changing := batch
	if lost != nil {
		changing = nil
	}
	head, applied, err := locked(ctx, conn, changing)
	if err != nil {
		return nil, err
	}
	l.session.contended = head.size != l.known().size
	if lost != nil {
		there, err := lost.committed(ctx, conn)
		if err != nil {
			return lost, err
		}
		if there {
			lost.tree = head
			return lost, nil
		}
		if applied, err = changed(ctx, conn, batch); err != nil {
			return nil, err
		}
	}
	a := &attempt{tree: head, results: make([]error, len(batch))}
	if kept := a.keep(batch, applied); len(kept) > 0 {
		return a, a.commit(ctx, conn, kept)
	}
	return a, nil
}

// locked begins a transaction, locks the head and makes a batch's state changes.
func locked(ctx context.Context, conn *pgx.Conn, batch []*item) (head tree, applied []func() bool, err error) {
	var b pgx.Batch
	var is bool
	b.Queue(`begin`)
	b.Queue(lockingHead).QueryRow(func(row pgx.Row) (err error) {
		head, err = scanHead(row)
		is = err == nil
		return err
	})
	applied = queue(&b, batch)
	if err := conn.SendBatch(ctx, &b).Close(); err != nil {
		// A statement that cannot even be prepared fails before all others.
		if pg := (*pgconn.PgError)(nil); is || errors.As(err, &pg) && pg.Code[:2] == "42" && updates(batch) {
			return tree{}, nil, &itemError{fmt.Errorf("updating state with the audit log: %w", err)}
		}
		return tree{}, nil, fmt.Errorf("locking the head: %w", err)
	}
	return head, applied, nil
}

// changed makes a batch's state changes.
func changed(ctx context.Context, conn *pgx.Conn, batch []*item) (applied []func() bool, err error) {
	var b pgx.Batch
	applied = queue(&b, batch)
	if err := conn.SendBatch(ctx, &b).Close(); err != nil {
		return nil, &itemError{fmt.Errorf("updating state with the audit log: %w", err)}
	}
	return applied, nil
}

// queue queues the state changes of a batch and returns what says which have
// applied, nil where there is none.
func queue(b *pgx.Batch, batch []*item) []func() bool {
	applied := make([]func() bool, len(batch))
	for i, it := range batch {
		if it.update != nil {
			applied[i] = it.update(b)
		}
	}
	return applied
}

// keep returns the items that are to be written: one whose Update changed
// nothing is dropped before hashing, so that a stale worker does not abort the
// others' batch.
func (a *attempt) keep(batch []*item, applied []func() bool) []*item {
	kept := make([]*item, 0, len(batch))
	for i, it := range batch {
		if applied[i] != nil && !applied[i]() {
			a.results[i] = ErrNotApplied
			continue
		}
		kept = append(kept, it)
	}
	return kept
}

// commit appends the items to the locked head and ends the transaction.
func (a *attempt) commit(ctx context.Context, conn *pgx.Conn, items []*item) error {
	var b pgx.Batch
	b.Queue(appending, a.extend(a.tree, items)...)
	b.Queue(`commit`)
	if err := conn.SendBatch(ctx, &b).Close(); err != nil {
		return fmt.Errorf("appending: %w", err)
	}
	return nil
}

const appending = `select audit.append($1, $2, $3, $4, $5)`

// extend makes the attempt one to extend head by the items, and returns what
// audit.append wants.
func (a *attempt) extend(head tree, items []*item) []any {
	var bodies []string
	var leaves [][]byte
	for _, it := range items {
		bodies = append(bodies, it.bodies...)
		a.hashes = append(a.hashes, it.hashes...)
		for i := range it.hashes {
			leaves = append(leaves, it.hashes[i][:])
		}
	}
	a.base, a.tree, a.sent = head.size, head.append(a.hashes...), true
	root := a.tree.root()
	return []any{head.size, bodies, leaves, root[:], a.tree.bytes()}
}

// committed reports whether the attempt stands in the log. It is atomic and
// was bound to its base: it stands exactly there or nowhere.
func (a *attempt) committed(ctx context.Context, conn *pgx.Conn) (bool, error) {
	leaves := make([][]byte, len(a.hashes))
	for i := range a.hashes {
		leaves[i] = a.hashes[i][:]
	}
	var found int
	const query = `select count(*) from unnest($2::bytea[]) with ordinality as l (hash, n)
		join audit.event e on e.seq = $1::bigint + l.n - 1 and e.leaf_hash = l.hash`
	if err := conn.QueryRow(ctx, query, a.base, leaves).Scan(&found); err != nil {
		return false, fmt.Errorf("looking for a lost batch: %w", err)
	}
	return found == len(a.hashes), nil
}

const lockingHead = `select size, root, frontier from audit.lock_head()`

func lockHead(ctx context.Context, tx pgx.Tx) (tree, error) {
	t, err := scanHead(tx.QueryRow(ctx, lockingHead))
	if err != nil {
		return tree{}, fmt.Errorf("locking the head: %w", err)
	}
	return t, nil
}

func scanHead(row pgx.Row) (tree, error) {
	var size int64
	var root, frontier []byte
	if err := row.Scan(&size, &root, &frontier); err != nil {
		return tree{}, err //nolint:wrapcheck // by those who lock
	}
	return parseTree(size, root, frontier)
}

// itemError is the fault of one item of a batch.
type itemError struct{ err error }

func (e *itemError) Error() string { return e.err.Error() }
func (e *itemError) Unwrap() error { return e.err }

// lostError means that the connection was lost: whether the attempt was
// committed is unknown.
type lostError struct{ err error }

func (e *lostError) Error() string { return e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

// verdict says what to do about a failed attempt.
type verdict int

const (
	refused   verdict = iota // by the server, for all: give up
	stale                    // another process was first: again, at once
	retryable                // connection lost, or a deadlock: again, after a pause
	guilty                   // an item's own fault
)

// judge sorts the errors of try.
func judge(err error) verdict {
	var (
		item *itemError
		lost *lostError
		pg   *pgconn.PgError
	)
	if errors.As(err, &lost) {
		return retryable
	}
	if errors.As(err, &pg) {
		switch {
		case pg.Code == "40P01": // deadlock_detected
			return retryable
		case pg.Code == "40001" && !errors.As(err, &item):
			return stale
		case pg.Code == "40001": // an Update under a stricter isolation level
			return retryable
		case pg.Code[:2] == "22", pg.Code[:2] == "23": // bad data, broken constraint
			return guilty
		}
	}
	if errors.As(err, &item) {
		return guilty
	}
	return refused
}

// unfit reports that the server cannot write (it has become a standby), so
// that another connection may find the one that can.
func unfit(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "25006" // read_only_sql_transaction
}
