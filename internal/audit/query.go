package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// DB is what queries read from: a pool, a connection or a transaction.
type DB interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// ErrNotFound means that no event has the id asked for.
var ErrNotFound = errors.New("no such audit event")

// Record is an event as it stands in the log.
type Record struct {
	Seq   int64           // its leaf's index in the tree, from 0
	Body  json.RawMessage // the bytes that are hashed
	Event Event           // the body, decoded
}

// List returns the events that pass the filter, in their order. It streams:
// memory does not grow with the log. After an error it ends. The connection is
// busy until the loop is left.
func List(ctx context.Context, db DB, f Filter) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		sql, args, err := f.query()
		if err != nil {
			yield(Record{}, err)
			return
		}
		rows, err := db.Query(ctx, sql, args...)
		if err != nil {
			yield(Record{}, fmt.Errorf("listing audit events: %w", err))
			return
		}
		defer rows.Close()
		for rows.Next() {
			r, err := scan(rows)
			if !yield(r, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(Record{}, fmt.Errorf("listing audit events: %w", err))
		}
	}
}

// Show returns one event, found by its id, its sequence number or its call's
// id, together with the other rows of its call (the intent of an outcome, or
// the reverse), in their order. It returns ErrNotFound where there is none.
func Show(ctx context.Context, db DB, id string) ([]Record, error) {
	where, arg, err := showBy(id)
	if err != nil {
		return nil, err
	}
	found, err := collect(ctx, db, where, arg)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	if c := found[0].Event.Call; c != "" && found[0].Event.Phase != "" {
		return collect(ctx, db, "call_id = $1", c)
	}
	return found, nil
}

func showBy(id string) (where string, arg any, err error) {
	if seq, err := strconv.ParseInt(id, 10, 64); err == nil {
		return "seq = $1", seq, nil
	}
	u, err := uuid.Parse(id)
	if err != nil {
		return "", nil, fmt.Errorf("%w: %q is neither a sequence number nor a UUID", ErrNotFound, id)
	}
	return "event_id = $1 or call_id = $1", u.String(), nil
}

func collect(ctx context.Context, db DB, where string, arg any) ([]Record, error) {
	rows, err := db.Query(ctx, "select seq, body::text from audit.event where "+where+" order by seq", arg)
	if err != nil {
		return nil, fmt.Errorf("finding an audit event: %w", err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Record, error) { return scan(row) })
	if err != nil {
		return nil, fmt.Errorf("finding an audit event: %w", err)
	}
	return found, nil
}

// scan reads seq and body. A body that a newer version wrote has fields that
// Event lacks: they stay in Body.
func scan(row pgx.CollectableRow) (Record, error) {
	var r Record
	var body string
	if err := row.Scan(&r.Seq, &body); err != nil {
		return Record{}, fmt.Errorf("reading an audit event: %w", err)
	}
	r.Body = json.RawMessage(body)
	if err := json.Unmarshal(r.Body, &r.Event); err != nil {
		return r, fmt.Errorf("decoding audit event %d: %w", r.Seq, err)
	}
	return r, nil
}
