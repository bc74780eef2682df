package audit

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"
)

// ErrNotDroppable means that a partition has to stay: it is not the oldest,
// still being written, or a call in it has not been settled. Permanent until
// that changes.
var ErrNotDroppable = errors.New("the partition has to stay")

// Partition is a stretch of the log that can be dropped as one.
type Partition struct {
	Name   string // of the table, in schema audit
	First  int64  // seq of its first event
	End    int64  // seq after its last one, when it is full
	Events int64
	From   time.Time // of its first and last event; zero when it has none
	Until  time.Time
	Bytes  int64 // on disk, with indexes
}

// listPartitions finds the partitions with their ranges, oldest first.
const listPartitions = `
	select c.relname as name, bounds[1]::bigint as first, bounds[2]::bigint as "end",
		greatest(least(bounds[2]::bigint, h.size) - bounds[1]::bigint, 0) as events,
		coalesce((select occurred_at from audit.event where seq = bounds[1]::bigint), 'epoch') as "from",
		coalesce((select occurred_at from audit.event where seq = least(bounds[2]::bigint, h.size) - 1 and seq >= bounds[1]::bigint), 'epoch') as until,
		pg_total_relation_size(c.oid) as bytes
	from pg_inherits i
	join pg_class c on c.oid = i.inhrelid
	cross join audit.head h
	cross join regexp_match(pg_get_expr(c.relpartbound, c.oid), '\(''(\d+)''\).*\(''(\d+)''\)') as bounds
	where i.inhparent = 'audit.event'::regclass
	order by first`

// Partitions lists the log's partitions, oldest first.
func Partitions(ctx context.Context, db DB) ([]Partition, error) {
	rows, err := db.Query(ctx, listPartitions)
	if err != nil {
		return nil, fmt.Errorf("listing partitions: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[Partition])
	if err != nil {
		return nil, fmt.Errorf("listing partitions: %w", err)
	}
	for i := range list {
		if list[i].Events == 0 {
			list[i].From, list[i].Until = time.Time{}, time.Time{}
		}
	}
	return list, nil
}

// Cut is a partition that has been exported and may be dropped now.
type Cut struct {
	Partition

	Written Written // the export
	Anchor  Anchor  // the signed checkpoint where it ends

	anchors *Anchors
}

// ExportPartition writes the oldest partition's events, their exact bytes, one
// a line, and signs a checkpoint where it ends, so that the rest can be
// verified alone. It checks every event against its hash, and the whole
// against the newest checkpoint: what was tampered with is not dropped, which
// would hide it (ErrBehind). Nothing is dropped yet.
func (a *Anchors) ExportPartition(ctx context.Context, name string, w io.Writer) (*Cut, error) {
	unlock, err := a.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if _, err := a.look(ctx); err != nil {
		return nil, err
	}
	part, err := a.oldest(ctx, name)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	newest := a.last
	a.mu.Unlock()
	if newest.Size < part.End {
		return nil, fmt.Errorf("%w: the newest checkpoint is at event %d, before its end", ErrNotDroppable, newest.Size)
	}
	before, err := a.beginning(ctx, newest.Epoch)
	if err != nil {
		return nil, err
	}
	c := &Cut{Partition: part, anchors: a}
	end, err := c.export(ctx, before, w)
	if err != nil {
		return nil, err
	}
	got, err := follow(ctx, a.cfg.Log.cfg.Pool, end, newest.Size, a.cfg.Prefix)
	if err == nil && got.head.root() != newest.Root {
		err = behind("its events up to checkpoint %d are not those that it signs", newest.Size)
	}
	if err != nil {
		return nil, err
	}
	c.Anchor, err = a.boundary(ctx, newest.Epoch, end)
	return c, err
}

// oldest returns the partition of that name if it may be dropped.
func (a *Anchors) oldest(ctx context.Context, name string) (Partition, error) {
	pool := a.cfg.Log.cfg.Pool
	list, err := Partitions(ctx, pool)
	switch {
	case err != nil:
		return Partition{}, err
	case len(list) == 0 || list[0].Name != name:
		return Partition{}, fmt.Errorf("%w: %s is not the oldest one, which goes first", ErrNotDroppable, name)
	case list[0].Events < list[0].End-list[0].First:
		return Partition{}, fmt.Errorf("%w: %s is still being written", ErrNotDroppable, name)
	}
	var open int
	if err := pool.QueryRow(ctx, `select count(*) from audit.open_intents o
		join audit.event e on e.call_id = o.call_id where e.seq < $1`, list[0].End).Scan(&open); err != nil {
		return Partition{}, fmt.Errorf("looking for open intents: %w", err)
	}
	if open > 0 {
		return Partition{}, fmt.Errorf("%w: %d calls in %s have neither outcome nor resolution; the next run settles them", ErrNotDroppable, open, name)
	}
	return list[0], nil
}

// export writes the partition and returns the tree at its end.
func (c *Cut) export(ctx context.Context, t tree, w io.Writer) (tree, error) {
	tally := NewTally(w)
	out := bufio.NewWriter(tally)
	for t.size < c.End {
		var err error
		if t, err = c.page(ctx, t, min(c.End, t.size+followPage), out); err != nil {
			return t, err
		}
	}
	if err := out.Flush(); err != nil {
		return t, fmt.Errorf("exporting partition %s: %w", c.Name, err)
	}
	c.Written = tally.Written(c.End - c.First)
	return t, nil
}

// page writes the events up to a sequence number, which it does not include.
func (c *Cut) page(ctx context.Context, t tree, end int64, out *bufio.Writer) (tree, error) {
	rows, err := c.anchors.cfg.Log.cfg.Pool.Query(ctx,
		`select seq, body::text, leaf_hash from audit.event where seq >= $1 and seq < $2 order by seq`, t.size, end)
	if err != nil {
		return t, fmt.Errorf("reading partition %s: %w", c.Name, err)
	}
	var (
		seq  int64
		body string
		leaf []byte
	)
	_, err = pgx.ForEachRow(rows, []any{&seq, &body, &leaf}, func() error {
		hash := tlog.RecordHash([]byte(body))
		if seq != t.size || string(hash[:]) != string(leaf) {
			return behind("event %d is missing or is not what its hash says", t.size)
		}
		t = t.append(hash)
		_, err := out.WriteString(body + "\n")
		return err //nolint:wrapcheck // wrapped below
	})
	if err != nil {
		return t, fmt.Errorf("exporting partition %s: %w", c.Name, err)
	}
	if t.size != end {
		return t, behind("events from %d on are missing", t.size)
	}
	return t, nil
}

// boundary returns the checkpoint of a size that the log has passed already,
// and makes it where there is none.
func (a *Anchors) boundary(ctx context.Context, epoch int, at tree) (Anchor, error) {
	now := a.cfg.Now().UTC()
	anchor := Anchor{
		Checkpoint: Checkpoint{Origin: epochOrigin(a.origin, epoch), Size: at.size, Root: at.root()},
		Epoch:      epoch, At: now, tree: at,
	}
	var err error
	if anchor.Note, err = signNote(ctx, anchor.Text(), a.signer); err != nil {
		return anchor, fmt.Errorf("signing the checkpoint at the boundary: %w", err)
	}
	a.mu.Lock()
	anchor.day = a.last.day // beside the newest, so that no folder holds old ones alone
	a.mu.Unlock()
	path := place{at.size, anchor.day}.path(epoch)
	for _, store := range []Store{a.cfg.Store, a.cfg.Mirror} {
		if store == nil {
			continue
		}
		if err := a.store(ctx, store, path, anchor); err != nil {
			return anchor, err
		}
	}
	return anchor, nil
}

// Drop drops the partition and logs that, in one transaction. The log is one
// opened with a database role that owns the table, or may become its owner.
func (c *Cut) Drop(ctx context.Context, owner *Log, reason string) error {
	e := Event{
		Type: AuditPartitionDropped, Reason: reason, Policy: c.Name + ", exported with sha256 " + c.Written.SHA256,
		Note: c.Anchor.Note, Frontier: base64.StdEncoding.EncodeToString(c.Anchor.tree.bytes()),
		Counters: map[string]int64{"first": c.First, "last": c.End - 1, "rows": c.Written.Rows, "bytes": c.Written.Bytes},
	}
	err := owner.Commit(ctx, Entry{Events: []Event{e}, Update: func(b *pgx.Batch) func() bool {
		b.Queue(`drop table audit.` + pgx.Identifier{c.Name}.Sanitize())
		return func() bool { return true }
	}})
	if err != nil {
		return fmt.Errorf("dropping partition %s: %w", c.Name, err)
	}
	return nil
}
