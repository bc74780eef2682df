package audit

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// replayBatch is how many events of a spill file one transaction takes.
const replayBatch = 256

// replay is the work on one spill file. Each batch is a transaction of its
// own, the last one with the event that reports the whole: after a crash
// between them the next replay finds the first ones in the log.
type replay struct {
	log  *Log
	conn *pgx.Conn
	done Replayed // what is committed

	batch   []spilled
	torn    []byte // the last line, when it was cut off
	line    int    // number of the line last read, from 1
	damaged int    // lines that are no events
	damage  error  // the first of them
}

// spilled is one event of the file.
type spilled struct {
	id   uuid.UUID
	body []byte
}

// file reads the file to its end and commits its events. An error means that
// not all of it is in the log.
func (r *replay) file(ctx context.Context, f io.Reader) error {
	sum := sha256.New()
	in := bufio.NewReaderSize(io.TeeReader(f, sum), BodyLimit+len("\n"))
	for last := false; !last; {
		text, err := in.ReadSlice('\n')
		long := errors.Is(err, bufio.ErrBufferFull)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = in.ReadSlice('\n')
		}
		if last = errors.Is(err, io.EOF); err != nil && !last {
			return fmt.Errorf("reading: %w", err)
		}
		if len(r.batch) == replayBatch {
			if err := r.flush(ctx, false); err != nil {
				return err
			}
		}
		if r.line++; long {
			r.spoilt(fmt.Errorf("%w: longer than an event", ErrInvalid))
		} else {
			r.add(text, last)
		}
	}
	r.done.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return r.flush(ctx, true)
}

// add takes one line. The last has no newline: it is empty, or an event that
// lacks just that, or torn.
func (r *replay) add(text []byte, last bool) {
	body := bytes.Clone(bytes.TrimSuffix(text, []byte("\n")))
	id, err := parseLine(body)
	switch {
	case err == nil:
		r.batch = append(r.batch, spilled{id, body})
	case !last:
		r.spoilt(err)
	case len(body) > 0:
		r.torn, r.done.Torn = body, true
	}
}

func (r *replay) spoilt(err error) {
	if r.damaged++; r.damage == nil {
		r.damage = fmt.Errorf("line %d: %w", r.line, err)
	}
}

// flush commits the batch, and with the last one the report.
func (r *replay) flush(ctx context.Context, last bool) error {
	ctx, cancel := context.WithTimeout(ctx, r.log.cfg.Timeout)
	defer cancel()
	done, err := r.commit(ctx, last)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnwritable, err)
	}
	r.done, r.batch = done, r.batch[:0]
	return nil
}

// commit appends what the log does not have yet. The log only grows, so most
// of it is searched before its head is locked: others wait no longer than for
// a look at what came in between.
func (r *replay) commit(ctx context.Context, last bool) (Replayed, error) {
	before, _, err := readHead(ctx, r.conn)
	if err != nil {
		return Replayed{}, err
	}
	known := map[uuid.UUID]bool{}
	if err := r.find(ctx, r.conn, 0, before.size, known); err != nil {
		return Replayed{}, err
	}
	tx, err := r.conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}) // each statement sees the newest rows
	if err != nil {
		return Replayed{}, fmt.Errorf("beginning: %w", err)
	}
	defer tx.Rollback(ctx) //nolint:errcheck // after a commit there is nothing to roll back, after a failure nothing to save
	head, err := lockHead(ctx, tx)
	if err != nil {
		return Replayed{}, err
	}
	if err := r.find(ctx, tx, before.size, head.size, known); err != nil {
		return Replayed{}, err
	}
	it, done := r.missing(known)
	if last {
		body, err := r.log.Stamp(r.report(done)).Marshal()
		if err != nil {
			return Replayed{}, err
		}
		it.add(body)
	}
	if len(it.bodies) == 0 {
		return done, nil
	}
	if _, err := tx.Exec(ctx, appending, new(attempt).extend(head, []*item{it})...); err != nil {
		return Replayed{}, fmt.Errorf("appending: %w", err)
	}
	if err := tx.Commit(ctx); err != nil {
		return Replayed{}, fmt.Errorf("committing: %w", err)
	}
	return done, nil
}

// find adds to known the ids of the batch that stand in the log from one size
// to another. The range of ids is what an index helps with: they are ordered
// by time, and so is the log, nearly.
func (r *replay) find(ctx context.Context, db DB, from, to int64, known map[uuid.UUID]bool) error {
	if len(r.batch) == 0 || from == to {
		return nil
	}
	ids := make([]string, len(r.batch))
	for i, s := range r.batch {
		ids[i] = s.id.String()
	}
	slices.Sort(ids)
	const query = `select event_id::text from audit.event where seq >= $1 and seq < $2
		and event_id between $3::uuid and $4::uuid and event_id::text = any($5::text[])`
	rows, err := db.Query(ctx, query, from, to, ids[0], ids[len(ids)-1], ids)
	if err != nil {
		return fmt.Errorf("looking for spilled events: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("looking for spilled events: %w", err)
	}
	for _, id := range found {
		known[uuid.MustParse(id)] = true
	}
	return nil
}

// missing returns the events of the batch that are not known, each once, and
// what the file will have come to with them.
func (r *replay) missing(known map[uuid.UUID]bool) (*item, Replayed) {
	it, done := &item{}, r.done
	for _, s := range r.batch {
		if known[s.id] {
			done.Duplicates++
			continue
		}
		known[s.id] = true
		done.Events++
		it.add(s.body)
	}
	return it, done
}

// report is the event that tells of the replay.
func (r *replay) report(done Replayed) Event {
	e := Event{
		Type:     AuditSpillReplayed,
		Reason:   "spill file " + done.File + ", sha256 " + done.SHA256,
		Counters: map[string]int64{"events": int64(done.Events), "duplicates": int64(done.Duplicates)},
	}
	if r.damaged > 0 {
		e.Reason += ", damaged and moved aside"
		e.Counters["damaged"] = int64(r.damaged)
		e.Error = r.damage.Error()
	}
	if done.Torn {
		e.Reason += fmt.Sprintf(", torn last line of %d bytes dropped", len(r.torn))
		e.Error = strings.TrimPrefix(e.Error+"; torn: ", "; ") + string(r.torn)
	}
	return e
}
