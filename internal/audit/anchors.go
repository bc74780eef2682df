package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrBehind means that the log is not what its newest checkpoint says: a
// backup was restored, a standby that lagged was promoted, or somebody has
// cut or rewritten it. Nothing may be changed until a person has looked.
var ErrBehind = errors.New("the audit log is behind its newest checkpoint, or contradicts it")

// ErrOverdue means that no checkpoint could be made for longer than allowed.
var ErrOverdue = errors.New("checkpoints of the audit log are overdue")

// AnchorConfig says how checkpoints are made.
type AnchorConfig struct {
	Log    *Log
	Store  Store // where they go
	Mirror Store // gets each one too; nil for none
	// Prefix is the path of Store's documents as events name it: events
	// about checkpoints need no checkpoint themselves.
	Prefix string

	Signer  string    // where the signing key is, see SignerConfig
	Transit TransitOf // opens a key in Vault Transit; nil if there is none
	Pinned  []string  // verifier keys; empty trusts those in Store

	Interval time.Duration // between two while something changes
	MaxAge   time.Duration // that an event that counts may stand without one
	Logger   *slog.Logger
	Now      func() time.Time
}

// Anchors makes checkpoints of the log and holds it against them. Its methods
// may be called concurrently.
type Anchors struct {
	cfg     AnchorConfig
	archive *Archive
	signer  *Signer
	origin  string
	turn    chan struct{} // held by who looks at or makes a checkpoint

	mu      sync.Mutex // guards what follows
	last    Anchor     // the newest that is known, with its tree
	at      time.Time  // when it was made or found
	pending time.Time  // of the oldest event beyond it that counts; zero: none
	broken  error      // matches ErrBehind or ErrForged: nothing may be changed
}

// OpenAnchors prepares checkpoints of a log: it finds out who signs, which at
// first use makes a key. It makes no checkpoint: call Check before anything is
// changed. Its errors match ErrKeyChange, or are those of Store.
func OpenAnchors(ctx context.Context, cfg AnchorConfig) (*Anchors, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	origin, err := Origin(ctx, cfg.Log.cfg.Pool)
	if err != nil {
		return nil, err
	}
	keys, err := LoadKeyring(ctx, cfg.Store, cfg.Pinned...)
	if err != nil {
		return nil, err
	}
	signer, err := OpenSigner(ctx, SignerConfig{
		Store: cfg.Store, Origin: origin, Ref: cfg.Signer, Transit: cfg.Transit,
	}, keys)
	if err != nil {
		return nil, err
	}
	a := &Anchors{cfg: cfg, archive: &Archive{Store: cfg.Store, Keys: keys}, signer: signer, origin: origin, turn: make(chan struct{}, 1)}
	cfg.Log.anchored = func(ctx context.Context) error { return a.Anchor(ctx, true) }
	return a, a.mirrorKeys(ctx)
}

// Origin returns the log's name, which its checkpoints carry.
func Origin(ctx context.Context, db DB) (string, error) {
	rows, err := db.Query(ctx, `select origin from audit.setting`)
	if err != nil {
		return "", fmt.Errorf("reading the audit log's name: %w", err)
	}
	origin, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[string])
	if err != nil {
		return "", fmt.Errorf("reading the audit log's name: %w", err)
	}
	return origin, nil
}

// lock waits for the turn; the function gives it back.
func (a *Anchors) lock(ctx context.Context) (unlock func(), err error) {
	select {
	case a.turn <- struct{}{}:
		return func() { <-a.turn }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for another checkpoint: %w", context.Cause(ctx))
	}
}

// Check holds the log against its newest checkpoint. It returns ErrBehind,
// ErrForged, or why the checkpoints could not be read; ErrOverdue when events
// have stood without one for too long and none can be made now.
func (a *Anchors) Check(ctx context.Context) error {
	unlock, err := a.lock(ctx)
	if err != nil {
		return err
	}
	ahead, err := a.look(ctx)
	unlock()
	if err != nil {
		return err
	}
	if overdue := a.overdue(); overdue != nil && ahead.counts(true) {
		if err := a.Anchor(ctx, true); err != nil {
			return fmt.Errorf("%w: %w", overdue, err)
		}
	}
	return nil
}

// Permit returns nil when a key may be made or deleted. Before a deletion, a
// checkpoint is made if the last is older than the interval.
func (a *Anchors) Permit(ctx context.Context, deletion bool) error {
	if err := a.Broken(); err != nil {
		return err
	}
	if deletion {
		if err := a.anchor(ctx, true, a.cfg.Interval); err != nil {
			if a.Broken() != nil {
				return err
			}
			a.cfg.Logger.WarnContext(ctx, "audit checkpoint not made before a deletion", "err", err)
		}
	}
	return a.overdue()
}

// Broken returns why nothing may be changed, or nil: when it was last looked
// at, the log contradicted a checkpoint.
func (a *Anchors) Broken() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.broken
}

// Never is the Age where no checkpoint is known.
const Never time.Duration = math.MaxInt64

// Age is how old the newest known checkpoint is.
func (a *Anchors) Age() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.at.IsZero() {
		return Never
	}
	return a.cfg.Now().Sub(a.at)
}

// Keep makes checkpoints at the interval while something changes, until ctx
// ends.
func (a *Anchors) Keep(ctx context.Context) {
	tick := time.NewTicker(a.cfg.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := a.Anchor(ctx, false); err != nil && ctx.Err() == nil {
			a.cfg.Logger.ErrorContext(ctx, "audit checkpoint not made", "err", err)
		}
	}
}

// overdue returns ErrOverdue when an event has stood without a checkpoint for
// longer than is allowed.
func (a *Anchors) overdue() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pending.IsZero() || a.cfg.Now().Sub(a.pending) <= a.cfg.MaxAge {
		return nil
	}
	return fmt.Errorf("%w: events since %s have none, %s are allowed (AUDIT_CHECKPOINT_MAX_AGE); let Vault accept them below %s, then run again",
		ErrOverdue, a.pending.UTC().Format(time.RFC3339), a.cfg.MaxAge, a.cfg.Prefix)
}

// look reads the newest checkpoint and compares the log with it.
func (a *Anchors) look(ctx context.Context) (ahead, error) {
	a.mu.Lock()
	known := a.last
	a.mu.Unlock()
	newest, err := a.newest(ctx, known)
	if err != nil {
		return ahead{}, a.judge(err)
	}
	got, err := a.compare(ctx, &newest)
	if err == nil && newest.Epoch == known.Epoch && newest.Size > known.Size && known.Epoch > 0 {
		err = a.extends(ctx, known, newest)
	}
	if err != nil {
		return ahead{}, a.judge(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if newest.Size != known.Size || newest.Epoch != known.Epoch || a.at.IsZero() {
		a.last, a.at = newest, newest.At
	}
	if a.cfg.Log.follows(got.head) {
		a.cfg.Logger.ErrorContext(ctx, "audit log is not the one that this process has seen: events after its newest checkpoint may be lost",
			"checkpoint", newest.Size, "size", got.head.size)
	}
	a.broken, a.pending = nil, got.oldest
	return got, nil
}

// judge keeps in mind what makes any further change wrong.
func (a *Anchors) judge(err error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if errors.Is(err, ErrBehind) || errors.Is(err, ErrForged) {
		a.broken = err
	} else if a.pending.IsZero() {
		a.pending = a.cfg.Now() // since when nobody knows
	}
	return err
}

// newest returns the newest checkpoint; before the first, that of an empty
// log in epoch 1.
func (a *Anchors) newest(ctx context.Context, known Anchor) (Anchor, error) {
	newest, found, err := a.archive.newestSince(ctx, known)
	if errors.Is(err, ErrForged) { // or another process has introduced its key meanwhile
		if keys, loading := LoadKeyring(ctx, a.cfg.Store, a.cfg.Pinned...); loading == nil && keys.own(a.signer.key) == nil {
			a.archive.Keys = keys
			newest, found, err = a.archive.newestSince(ctx, known)
		}
	}
	switch {
	case err != nil:
		return newest, fmt.Errorf("reading the newest checkpoint: %w", err)
	case !found && known.Size > 0:
		return newest, fmt.Errorf("%w: its checkpoints are gone from %s", ErrBehind, a.cfg.Prefix)
	case !found:
		return Anchor{Epoch: 1}, nil
	case newest.Epoch < known.Epoch, newest.Epoch == known.Epoch && newest.Size < known.Size:
		return newest, fmt.Errorf("%w: checkpoint %d of epoch %d is gone from %s", ErrBehind, known.Size, known.Epoch, a.cfg.Prefix)
	case newest.Origin != epochOrigin(a.origin, newest.Epoch):
		return newest, fmt.Errorf("%w: the checkpoints below %s are of the log %s, this one is %s; give each database an AUDIT_VAULT_PREFIX of its own",
			ErrForged, a.cfg.Prefix, newest.Origin, a.origin)
	}
	return newest, nil
}

// compare follows the log from a checkpoint to its head.
func (a *Anchors) compare(ctx context.Context, from *Anchor) (ahead, error) {
	pool := a.cfg.Log.cfg.Pool
	head, err := queryHead(ctx, pool)
	if err != nil {
		return ahead{}, err
	}
	if head.size < from.Size {
		return ahead{}, behind("it has %d events, checkpoint %d of epoch %d is from %s", head.size, from.Size, from.Epoch, from.At.Format(time.RFC3339))
	}
	base := from.tree
	if !from.Resumable() {
		if base, err = a.rebuild(ctx, from.Epoch, from.Size); err != nil {
			return ahead{}, err
		}
		if base.root() == from.Root {
			from.tree = base
		}
	}
	got, err := follow(ctx, pool, base, head.size, a.cfg.Prefix)
	switch {
	case err != nil:
		return ahead{}, err
	case base.root() != from.Root && from.Size > 0, got.head.root() != head.root():
		return ahead{}, behind("its %d events are not those that checkpoint %d of epoch %d signs and later ones", head.size, from.Size, from.Epoch)
	}
	return got, nil
}

// extends checks that the log went from one checkpoint to another one, which
// another process has made.
func (a *Anchors) extends(ctx context.Context, from, to Anchor) error {
	got, err := follow(ctx, a.cfg.Log.cfg.Pool, from.tree, to.Size, a.cfg.Prefix)
	if err == nil && got.head.root() != to.Root {
		err = behind("checkpoint %d of epoch %d does not continue checkpoint %d", to.Size, to.Epoch, from.Size)
	}
	return err
}

// rebuild computes the tree of a size from the first event on that is left.
func (a *Anchors) rebuild(ctx context.Context, epoch int, size int64) (tree, error) {
	begin, err := a.beginning(ctx, epoch)
	if err != nil {
		return begin, err
	}
	got, err := follow(ctx, a.cfg.Log.cfg.Pool, begin, size, a.cfg.Prefix)
	return got.head, err
}

func behind(format string, args ...any) error {
	return fmt.Errorf("%w: "+format+"; `rotator audit verify` says more, `rotator audit rebase` goes on with what there is",
		append([]any{ErrBehind}, args...)...)
}
