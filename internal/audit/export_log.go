package audit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Disclosure is something that was taken out of the log for others to see: an
// export or a report. It is logged as audit.exported, so that the log also
// tells who has read it out.
type Disclosure struct {
	// ID is the id of the event, from NewDisclosureID: what was written can
	// name it before it is logged.
	ID string
	// What says in a few words what was written: `export as csv`.
	What string
	// Filter says in words what was asked for, see Filter.String.
	Filter string
	// Written is what was written; its SHA256 finds the event of a file.
	Written Written
	// Counters are further figures, such as events left out.
	Counters map[string]int64
}

// Written is the size and the digest of what was written.
type Written struct {
	Rows   int64  // events, or keys, without a header
	Bytes  int64  //
	SHA256 string // of all bytes, hexadecimal
}

// NewDisclosureID returns the id that a disclosure's event will have.
func NewDisclosureID() string { return uuid.Must(uuid.NewV7()).String() }

// Event is what is appended to the log. Who it was is added by the log: actor,
// database user, host and build.
func (d Disclosure) Event() Event {
	counters := map[string]int64{"rows": d.Written.Rows, "bytes": d.Written.Bytes}
	for name, n := range d.Counters {
		counters[name] = n
	}
	return Event{
		ID: d.ID, Type: AuditExported,
		Reason: d.What + ", sha256 " + d.Written.SHA256, Policy: d.Filter, Counters: counters,
	}
}

// MayAppend reports whether the role of this session may write to the log
// where it is: an auditor's may not, and nobody's may on a standby.
func MayAppend(ctx context.Context, db DB) (bool, error) {
	const query = `select current_setting('transaction_read_only') = 'off' and coalesce(has_function_privilege(
		to_regprocedure('audit.append(bigint,text[],bytea[],bytea,bytea)'), 'execute'), false)`
	rows, err := db.Query(ctx, query)
	if err != nil {
		return false, fmt.Errorf("asking whether the audit log may be written: %w", err)
	}
	may, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[bool])
	if err != nil {
		return false, fmt.Errorf("asking whether the audit log may be written: %w", err)
	}
	return may, nil
}

// Tally passes bytes on to a writer, counts and hashes them.
type Tally struct {
	w     io.Writer
	bytes int64
	hash  hash.Hash
}

// NewTally returns a Tally before w.
func NewTally(w io.Writer) *Tally { return &Tally{w: w, hash: sha256.New()} }

// Write implements io.Writer. What w did not take does not count.
func (t *Tally) Write(p []byte) (int, error) {
	n, err := t.w.Write(p)
	t.bytes += int64(n)
	t.hash.Write(p[:n])
	return n, err //nolint:wrapcheck // a writer in between says nothing of its own
}

// Written is what has passed so far, which stands for so many rows.
func (t *Tally) Written(rows int64) Written {
	return Written{Rows: rows, Bytes: t.bytes, SHA256: hex.EncodeToString(t.hash.Sum(nil))}
}
