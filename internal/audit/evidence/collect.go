package evidence

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"rotator/internal/audit"
)

// ErrPeriod means that the period is empty or has not begun.
var ErrPeriod = errors.New("invalid period")

// ErrArchive means that the checkpoints outside the database could not be
// read. It may help to try again.
var ErrArchive = errors.New("reading the newest checkpoint")

// Config says what a report is about.
type Config struct {
	Pool     *pgxpool.Pool
	From, To time.Time // To that is zero or in the future becomes now
	// Framework narrows the criteria: PCI, SOC2, ISO27001, or "" for all.
	Framework Framework

	// Archive is where the newest checkpoint is read; nil for nowhere, for
	// the reason that NoArchive gives. Source names it for readers.
	Archive   *audit.Archive
	Source    string
	NoArchive string

	Actor, Host, Build string // who makes the report

	// LongestGap is how far apart two scheduled runs may start,
	// LongestUnlisted how far apart two lists of a project's keys may be.
	LongestGap      time.Duration
	LongestUnlisted time.Duration

	TempDir  string                // for the rows, until Close; "" for the system's
	Progress func(done, total int) // tables; may be nil
}

// listingSlack is how much older than its event a list of keys may be: a key
// that was made meanwhile cannot be in it.
const listingSlack = 5 * time.Minute

// Collect asks all questions. The newest checkpoint is read before the
// transaction begins, so that the log must have grown past it.
func Collect(ctx context.Context, cfg Config) (_ *Pack, err error) {
	p := &Pack{Criteria: criteria(cfg.Framework)}
	newest, err := p.readCheckpoint(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if p.spool, err = newSpool(cfg.TempDir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	err = pgx.BeginTxFunc(ctx, cfg.Pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if err := p.open(ctx, tx, cfg); err != nil {
			return err
		}
		return p.ask(ctx, tx, cfg, newest)
	})
	switch {
	case errors.Is(err, ErrPeriod):
		return nil, err //nolint:wrapcheck // it says all there is to say
	case err != nil:
		return nil, fmt.Errorf("collecting the report: %w", err)
	}
	p.judge(newest)
	return p, nil
}

// readCheckpoint reads the newest checkpoint; its size is 0 where there is
// none.
func (p *Pack) readCheckpoint(ctx context.Context, cfg Config) (audit.Anchor, error) {
	if cfg.Archive == nil {
		p.Header.NoCheckpoint = cfg.NoArchive
		return audit.Anchor{}, nil
	}
	newest, found, err := cfg.Archive.Newest(ctx)
	if errors.Is(err, audit.ErrForged) { // a finding, not a failure: the report says so
		p.Header.NoCheckpoint = fmt.Sprintf("the newest one in %s cannot be relied on: %v", cfg.Source, err)
		return audit.Anchor{}, nil
	}
	if err != nil {
		return newest, fmt.Errorf("%w from %s: %w", ErrArchive, cfg.Source, err)
	}
	if !found {
		p.Header.NoCheckpoint = "there is none in " + cfg.Source
		return newest, nil
	}
	c := &Checkpoint{
		Source: cfg.Source, Origin: newest.Origin, Epoch: newest.Epoch, Size: newest.Size,
		Root: base64.StdEncoding.EncodeToString(newest.Root[:]), Note: newest.Note,
		Keys: cfg.Archive.Keys.Trusted(), Pinned: cfg.Archive.Keys.Pinned,
	}
	if at := newest.At.UTC(); !at.IsZero() {
		c.At = &at
	}
	p.Header.Checkpoint = c
	return newest, nil
}

// open fits the session to a few statements that may take minutes each, and
// reads what the header says of log and database.
func (p *Pack) open(ctx context.Context, tx pgx.Tx, cfg Config) error {
	const settings = `SELECT set_config('statement_timeout', '0', true), set_config('idle_in_transaction_session_timeout', '5min', true),
		set_config('work_mem', '64MB', true), set_config('jit', 'off', true)`
	if _, err := tx.Exec(ctx, settings); err != nil {
		return fmt.Errorf("setting the session's limits: %w", err)
	}
	h := &p.Header
	h.MadeBy = Maker{Actor: cfg.Actor, Host: cfg.Host, Build: cfg.Build}
	var root []byte
	err := tx.QueryRow(ctx, `SELECT now(), session_user || CASE WHEN session_user <> current_user THEN ' as ' || current_user ELSE '' END,
			current_database(), current_setting('server_version'), s.origin, h.size, h.root
		FROM audit.head h, audit.setting s`,
	).Scan(&h.GeneratedAt, &h.MadeBy.DatabaseRole, &h.MadeBy.Database, &h.MadeBy.Server, &h.Log.Origin, &h.Log.Size, &root)
	if err != nil {
		return fmt.Errorf("reading the log's head: %w", err)
	}
	h.GeneratedAt, h.Log.Root = h.GeneratedAt.UTC(), base64.StdEncoding.EncodeToString(root)
	err = tx.QueryRow(ctx, `SELECT first.seq, first.occurred_at, last.occurred_at
		FROM (SELECT 1) one
		LEFT JOIN (SELECT seq, occurred_at FROM audit.event ORDER BY seq LIMIT 1) first ON true
		LEFT JOIN (SELECT occurred_at FROM audit.event ORDER BY seq DESC LIMIT 1) last ON true`,
	).Scan(&h.Log.FirstSeq, &h.Log.FirstAt, &h.Log.LastAt)
	if err != nil {
		return fmt.Errorf("reading where the log begins and ends: %w", err)
	}
	return h.period(cfg)
}

// period sets which time the report is about.
func (h *Header) period(cfg Config) error {
	h.From, h.To = cfg.From.UTC().Truncate(time.Microsecond), cfg.To.UTC().Truncate(time.Microsecond)
	if cfg.To.IsZero() || h.To.After(h.GeneratedAt) {
		h.To = h.GeneratedAt
	}
	if !h.From.Before(h.To) {
		return fmt.Errorf("%w: it begins %s and ends %s; a period begins before its end, and before now", ErrPeriod, h.From.Format(timeForm), h.To.Format(timeForm))
	}
	for _, t := range []*time.Time{h.Log.FirstAt, h.Log.LastAt} {
		if t != nil {
			*t = t.UTC()
		}
	}
	return nil
}

// ask puts every question and keeps the answers.
func (p *Pack) ask(ctx context.Context, tx pgx.Tx, cfg Config, newest audit.Anchor) error {
	values := parameters{
		"from": p.Header.From.Format(timeForm), "to": p.Header.To.Format(timeForm),
		"longest_gap": interval(cfg.LongestGap), "longest_unlisted": interval(cfg.LongestUnlisted),
		"slack": interval(listingSlack), "anchored": strconv.FormatInt(newest.Size, 10),
	}
	all := questions()
	for i, q := range all {
		t, err := p.table(ctx, tx, q, values)
		if err != nil {
			return fmt.Errorf("table %s: %w", q.id, err)
		}
		p.Tables = append(p.Tables, t)
		if cfg.Progress != nil {
			cfg.Progress(i+1, len(all))
		}
	}
	return nil
}

func (p *Pack) table(ctx context.Context, tx pgx.Tx, q question, values parameters) (Table, error) {
	t := Table{ID: q.id, Section: q.section, Title: q.title, About: q.about, Columns: q.columns, SQL: q.sql}
	statement, args, used, err := values.bind(q.sql)
	if err != nil {
		return t, err
	}
	t.Parameters = used
	rows, err := tx.Query(ctx, statement, args...)
	if err != nil {
		return t, err //nolint:wrapcheck // the caller names the table
	}
	exception := -1
	if q.rows == someWrong {
		exception = slices.IndexFunc(q.columns, func(c Column) bool { return c.Name == "exception" })
	}
	if t.segment, t.RowCount, t.Exceptions, err = p.spool.add(rows, exception); err != nil {
		return t, err
	}
	if q.rows == objects {
		t.Exceptions = t.RowCount
	}
	return t, nil
}

// interval is a duration as Postgres reads it.
func interval(d time.Duration) string {
	return strconv.FormatInt(int64(d/time.Second), 10) + " seconds"
}
