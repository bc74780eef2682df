package audit

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

// rowsOfLog reads the log in its order, the columns in that of columns.
const rowsOfLog = `select seq, leaf_hash, body, occurred_at, day, http_status, event_id, call_id, run_id,
	type, phase, outcome, operation, rotation_id, credential, project_id, key_id
	from audit.event where seq >= $1 order by seq`

// sessionOfVerify lets one statement take as long as it must, and refuses to
// read through row security, which could hide events. Without sorting, the
// server walks the partitions' keys and keeps nothing.
const sessionOfVerify = `set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0;
	set local row_security = off; set local enable_sort = off`

// database verifies a log in its database, in one snapshot: head, rows and
// leases are of the same moment.
func (v *verification) database(ctx context.Context, pool *pgxpool.Pool) error {
	tx, err := pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return fmt.Errorf("beginning to read the audit log: %w", err)
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // nothing was changed
	if _, err := tx.Exec(ctx, sessionOfVerify); err != nil {
		return fmt.Errorf("beginning to read the audit log: %w", err)
	}
	head, err := v.prologue(ctx, tx)
	if err != nil {
		return err
	}
	if err := v.rows(ctx, tx, head); err != nil {
		return err
	}
	v.finish(head)
	leased, known := leases(ctx, tx, v.calls.open)
	v.tellCalls(leased, known)
	if err := v.findLate(ctx, tx); err != nil {
		return err
	}
	if err := v.findStrangers(ctx, tx); err != nil {
		return err
	}
	v.defences(ctx, tx)
	return nil
}

// prologue reads what is not an event, and finds where the events begin.
func (v *verification) prologue(ctx context.Context, tx pgx.Tx) (*headRow, error) {
	origin, err := Origin(ctx, tx)
	if err != nil {
		return nil, err
	}
	v.origin = origin
	var first, last *int64
	err = tx.QueryRow(ctx, `select pg_is_in_recovery(), min(seq), max(seq) from audit.event`).Scan(&v.standby, &first, &last)
	if err != nil {
		return nil, hidden(fmt.Errorf("finding the first event: %w", err))
	}
	rows, err := tx.Query(ctx, `select size, root, frontier, covered from audit.head`)
	if err != nil {
		return nil, fmt.Errorf("reading the head: %w", err)
	}
	heads, err := pgx.CollectRows(rows, pgx.RowToStructByPos[headRow])
	if err != nil {
		return nil, fmt.Errorf("reading the head: %w", err)
	}
	if len(heads) != 1 {
		v.find(Finding{Kind: FoundHead, Text: fmt.Sprintf("audit.head has %d rows instead of one", len(heads))})
		heads = append(heads, headRow{})
	}
	if v.cfg.From == nil && first != nil && *first > 0 {
		v.begins(ctx, tx, *first)
	}
	return &heads[0], v.checkFrom()
}

// rows streams the events, in one statement and without a copy of each.
func (v *verification) rows(ctx context.Context, tx pgx.Tx, head *headRow) error {
	from := v.start
	if from == 0 {
		from = -1 << 63 // what stands before the beginning shall be seen, too
	}
	results := tx.Conn().PgConn().ExecParams(ctx, rowsOfLog, [][]byte{[]byte(strconv.FormatInt(from, 10))},
		[]uint32{pgtype.Int8OID}, nil, []int16{pgx.BinaryFormatCode})
	var r row
	var cols columns
	r.cols = &cols
	for results.NextRow() {
		values := results.Values()
		if len(values) != 3+len(cols) || len(values[0]) != 8 {
			break // Close says what is wrong, or the next check
		}
		r.seq, r.leaf, r.body = int64(binary.BigEndian.Uint64(values[0])), values[1], values[2] // #nosec G115 -- as Postgres sends it
		copy(cols[:], values[3:])
		v.row(&r, max(head.Size-v.start, 0))
	}
	if _, err := results.Close(); err != nil {
		return hidden(fmt.Errorf("reading the audit log: %w", err))
	}
	return nil
}

// hidden says in words what row security does to a query that will not have
// it.
func hidden(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "42501" && strings.Contains(pg.Message, "row-level security") {
		return fmt.Errorf("row security was put on audit.event, which hides events from this login: %w", err)
	}
	return err
}

// leases returns which of the open calls' projects somebody works on, if that
// may be read.
func leases(ctx context.Context, tx pgx.Tx, open map[[16]byte]OpenCall) (leased map[string]bool, known bool) {
	if len(open) == 0 {
		return nil, true
	}
	projects := make([]string, 0, len(open))
	for _, o := range open {
		projects = append(projects, o.Project)
	}
	part, err := tx.Begin(ctx) // a savepoint: an auditor may not read this
	if err != nil {
		return nil, false
	}
	defer part.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // nothing was changed
	rows, err := part.Query(ctx, `select id from rotator.project where id = any($1) and lease_owner is not null and lease_expires_at > clock_timestamp()`, projects)
	if err != nil {
		return nil, false
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, false
	}
	leased = make(map[string]bool, len(ids))
	for _, id := range ids {
		leased[id] = true
	}
	return leased, true
}

// findLate looks up the ids that came late: each must stand once. They are
// found by the column, which has been compared with the bodies.
func (v *verification) findLate(ctx context.Context, tx pgx.Tx) error {
	late := v.ids.lateIDs()
	if len(late) == 0 {
		return nil
	}
	const all = `select event_id::text, min(seq), max(seq) from audit.event`
	sql, args := all+` where event_id = any($1::uuid[]) group by 1 having count(*) > 1`, []any{late}
	if v.ids.more {
		sql, args = all+` group by 1 having count(*) > 1`, nil
	}
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return fmt.Errorf("looking for repeated events: %w", err)
	}
	var id string
	var first, last int64
	_, err = pgx.ForEachRow(rows, []any{&id, &first, &last}, func() error {
		v.find(between(first, last, FoundExtra, "events %d and %d have the same id %s: one event stands in the log twice", first, last, id))
		return nil
	})
	if err != nil {
		return fmt.Errorf("looking for repeated events: %w", err)
	}
	return nil
}
