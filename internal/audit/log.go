package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/mod/sumdb/tlog"
)

// ErrNotApplied means that an entry's Update reported that it changed nothing:
// the fence has moved, another worker owns the project now. None of the
// entry's events was written. Permanent for this worker.
var ErrNotApplied = errors.New("state update was not applied")

// ErrClosed means that the log was closed before the events were taken;
// nothing was written.
var ErrClosed = errors.New("audit log is closed")

// ErrUnwritable means that the log could not be written in time. The state is
// unknown: the events may have been committed without an answer. Whoever
// writes them again elsewhere keeps their ids (see Stamp), by which a replay
// tells them apart.
var ErrUnwritable = errors.New("audit log cannot be written")

// Update changes state in the transaction that appends its entry's events: it
// queues its statements, which must guard themselves with their fence, and
// returns what says, once they have run, whether they changed anything. If not,
// they must have changed nothing.
//
// It may be called more than once, each time for a fresh transaction of which
// only the last can commit: it must have no effect outside of the batch, and its
// statements must not end the transaction. The head's lock is held while they
// run: they must be quick, and nothing else may wait for the head while it holds
// a row that an Update wants. An error of a statement fails its own entry only.
type Update func(*pgx.Batch) (applied func() bool)

// Entry is what is committed together: at least one event, and the state
// change that they tell of, if any.
type Entry struct {
	Events []Event
	Update Update
}

// Config says how a log is opened.
type Config struct {
	// Pool says how to connect. The writer uses a connection of its own,
	// outside the pool, so that it never queues behind other queries.
	Pool *pgxpool.Pool
	// Logger gets what goes wrong and is survived; the default discards.
	Logger *slog.Logger
	// Now stamps events; the default is time.Now.
	Now func() time.Time
	// Common holds what all events of this process share. Its actor,
	// trigger, run, host, build, config_sha256 and vault_entity are copied
	// into each event that leaves them unset.
	Common Event
	// BatchSize is how many events one transaction takes; default 256. An
	// entry with more is committed alone.
	BatchSize int
	// Timeout bounds the commit of one batch, reconnecting included;
	// default 10 s. A caller waits for two batches at most.
	Timeout time.Duration
	// Observe is told how long each batch took to be committed, attempts
	// that failed included; it may be nil. It must be quick.
	Observe func(time.Duration)
}

// Log is this process's writer of the audit log. Its methods may be called
// concurrently.
type Log struct {
	cfg     Config
	session session // the writer's

	mu     sync.Mutex // guards what follows
	common Event
	queue  []*item
	urgent bool // somebody waits for an item of the queue, or one has waited long enough
	closed bool
	tree   tree // as last seen; moved by the writer
	// strange says that the log was found to be another one than tree's.
	strange bool

	// anchored makes a checkpoint of what a replay has brought home; nil
	// where there are no Anchors. Set before any replay.
	anchored func(context.Context) error

	wake    chan struct{} // one token: the queue may be non-empty
	stopped chan struct{} // closed when the writer has ended
}

// item is an entry on its way to the writer.
type item struct {
	bodies []string
	hashes []tlog.Hash
	update Update
	done   chan error // buffered: the caller may have gone
	posted bool       // the caller does not wait
}

// add puts one event's body into the item.
func (it *item) add(body []byte) {
	it.bodies = append(it.bodies, string(body))
	it.hashes = append(it.hashes, tlog.RecordHash(body))
}

// Open connects, reads the head and starts the writer. Close ends it.
func Open(ctx context.Context, cfg Config) (*Log, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.BatchSize, cfg.Timeout = cmp.Or(cfg.BatchSize, 256), cmp.Or(cfg.Timeout, 10*time.Second)
	l := &Log{
		cfg: cfg, common: cfg.Common, session: session{pool: cfg.Pool, timeout: cfg.Timeout},
		wake: make(chan struct{}, 1), stopped: make(chan struct{}),
	}
	conn, _, err := l.session.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening the audit log: %w", err)
	}
	if l.tree, l.common.DBUser, err = readHead(ctx, conn); err != nil {
		l.session.drop(ctx)
		return nil, fmt.Errorf("opening the audit log: %w", err)
	}
	go l.run() //nolint:gosec,contextcheck // the writer outlives Open's context; Close ends it
	return l, nil
}

// SetCommon changes what all later events share.
func (l *Log) SetCommon(change func(*Event)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.common)
}

// Stamp gives an event its version, id, time and the process's common fields
// where they are unset. Append and Commit do so too; call it first where the
// id must be known even if they fail.
//
// A call within a run leaves host, build, configuration and logins to its
// run's run.started: calls are nearly all of the log, and these fields would
// be a quarter of them.
func (l *Log) Stamp(e Event) Event {
	l.mu.Lock()
	c := l.common
	l.mu.Unlock()
	e.V = Version
	if e.ID == "" {
		e.ID = uuid.Must(uuid.NewV7()).String()
	}
	if e.TimeUS == 0 {
		e.TimeUS = l.cfg.Now().UnixMicro()
	}
	e.Actor, e.Trigger, e.Run = cmp.Or(e.Actor, c.Actor), cmp.Or(e.Trigger, c.Trigger), cmp.Or(e.Run, c.Run)
	if e.Type == APICall && e.Run != "" {
		return e
	}
	e.Host, e.Build = cmp.Or(e.Host, c.Host), cmp.Or(e.Build, c.Build)
	e.ConfigSHA256 = cmp.Or(e.ConfigSHA256, c.ConfigSHA256)
	e.DBUser, e.VaultEntity = cmp.Or(e.DBUser, c.DBUser), cmp.Or(e.VaultEntity, c.VaultEntity)
	return e
}

// Append writes events, all or none, in their order. When it returns nil they
// are committed. When ctx ends first, Append stops waiting, but what was
// queued may still be committed; under a context that has already ended
// nothing is. Other errors: ErrInvalid, ErrClosed, ErrUnwritable.
func (l *Log) Append(ctx context.Context, events ...Event) error {
	return l.Commit(ctx, Entry{Events: events})
}

// Commit writes an entry's events and makes its state change, both or
// neither. It returns ErrNotApplied when the Update reported false, the
// Update's own error, or what Append would.
func (l *Log) Commit(ctx context.Context, e Entry) error {
	if len(e.Events) == 0 {
		return fmt.Errorf("%w: an entry needs an event", ErrInvalid)
	}
	it := &item{update: e.Update, done: make(chan error, 1)}
	for _, event := range e.Events {
		body, err := l.Stamp(event).Marshal()
		if err != nil {
			return err
		}
		it.add(body)
	}
	if err := l.enqueue(ctx, it); err != nil {
		return err
	}
	select {
	case err := <-it.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("waiting for the audit log: %w", context.Cause(ctx))
	}
}

// patience is how long a posted event waits for company.
const patience = 50 * time.Millisecond

// Post queues an event that nobody waits for, such as the outcome of a read. It
// is committed with what is queued next, and within patience: in any case no
// later than everything that is queued after it. Many small transactions become
// few. What Append would have returned is told to after, in a goroutine of its
// own; Post's own error says that nothing was queued. A caller that is far ahead
// of the log waits after all.
func (l *Log) Post(ctx context.Context, e Event, after func(error)) error {
	body, err := l.Stamp(e).Marshal()
	if err != nil {
		return err
	}
	it := &item{done: make(chan error, 1), posted: true}
	it.add(body)
	if err := l.enqueue(ctx, it); err != nil {
		return err
	}
	told := func() { after(<-it.done) }
	if l.crowded() {
		told()
	} else {
		go told()
	}
	return nil
}

// crowd is how many batches may be queued before Post waits.
const crowd = 16

func (l *Log) crowded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue) > crowd*l.cfg.BatchSize
}

// hurry makes the writer commit what is queued.
func (l *Log) hurry() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) > 0 {
		l.urgent = true
		l.signal()
	}
}

func (l *Log) enqueue(ctx context.Context, it *item) error {
	if ctx.Err() != nil {
		return fmt.Errorf("appending to the audit log: %w", context.Cause(ctx))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	l.queue = append(l.queue, it)
	switch {
	case !it.posted, len(l.queue) >= l.cfg.BatchSize:
		l.urgent = true
		l.signal()
	case len(l.queue) == 1:
		time.AfterFunc(patience, l.hurry)
	}
	return nil
}

// signal wakes the writer. The token says only that there is something to
// look at, so one is enough.
func (l *Log) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// known is the tree that the log was last seen to have.
func (l *Log) known() tree {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tree
}

// follows makes the writer go on from a tree that continues the newest
// checkpoint, if it has stopped because that is not the tree it knows. It
// reports whether it had.
func (l *Log) follows(t tree) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.strange {
		return false
	}
	l.tree, l.strange = t, false
	return true
}

// Head returns the size and root of the log as this process last saw it.
func (l *Log) Head() (int64, tlog.Hash) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tree.size, l.tree.root()
}

// Close takes no more events, writes those queued, and disconnects. It stops
// waiting when ctx ends; the writer then goes on by itself until its timeout.
func (l *Log) Close(ctx context.Context) error {
	l.mu.Lock()
	l.closed = true
	l.signal()
	l.mu.Unlock()
	select {
	case <-l.stopped:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("closing the audit log: %w", context.Cause(ctx))
	}
}
