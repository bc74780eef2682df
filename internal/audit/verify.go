package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// VerifyConfig says what a log is held against, and how strictly.
type VerifyConfig struct {
	// Archive has the checkpoints outside the database; nil: there are none
	// to hold the log against, and it cannot be proven intact.
	Archive *Archive
	// NoArchive says why there is no Archive although there should be.
	NoArchive error
	// From is a checkpoint to go on from: no event before it is looked at.
	// Nil: all of the log.
	From *Anchor
	// Until is the size of the checkpoint that an export ends with; later
	// ones are left out. 0: it has all events that there are.
	Until int64
	// AcceptEpoch is the newest epoch if a person has accepted what was lost
	// before it; 0 for none.
	AcceptEpoch int
	// MaxAge is how long an event may stand without a checkpoint.
	MaxAge time.Duration
	// Now is the time that MaxAge is counted back from; for an export it is
	// the time of its last event.
	Now time.Time
	// Progress is told now and then how many of all events are done; all is
	// 0 where that is not known. It may be nil.
	Progress func(done, all int64)

	window int // of ids, for tests; 0 is idWindow
}

// VerifyDatabase checks a log in its database. It believes nothing that
// stands there: it hashes every body itself, compares columns, hashes and the
// head with what the bodies give, and the tree with every checkpoint. It
// writes nothing.
//
// What could not be checked is in the verdict, too: it is never nil.
func VerifyDatabase(ctx context.Context, pool *pgxpool.Pool, cfg VerifyConfig) *Verdict {
	v := begin(ctx, cfg)
	defer v.stop()
	if err := v.database(ctx, pool); err != nil {
		v.uncheckable(err)
	}
	return v.close()
}

// VerifyLines checks an export: one body a line, from the first event on, or
// from that at cfg.From. It is what VerifyDatabase is but for the database's
// own columns and head, which an export does not have.
func VerifyLines(ctx context.Context, lines io.Reader, cfg VerifyConfig) *Verdict {
	v := begin(ctx, cfg)
	defer v.stop()
	if err := v.lines(ctx, lines); err != nil {
		v.uncheckable(err)
	}
	return v.close()
}

// verification is one pass over a log. It is fed rows in their order and
// knows nothing of where they come from.
type verification struct {
	cfg     VerifyConfig
	started time.Time
	verdict Verdict
	stop    context.CancelFunc

	origin  string // "" while it is not known
	export  bool   // a copy of one moment
	standby bool   // the server may lag
	anchors *feed
	epochs  map[int]*epoch
	newest  int                   // epoch; 0: there are no checkpoints
	strange map[string]*strangers // by the log that they are of

	start   int64     // seq of the first event that is looked at
	next    int64     // seq of the row to come
	first   time.Time // of the first event
	last    time.Time // of the latest
	tree    growing   // of the bodies
	stored  *growing  // of the hashes that stand beside them, where one of those differs
	part    part      // since the last checkpoint that fits
	misfit  *misfit   // checkpoints in a row that do not fit
	lost    *hole     // events in a row that are missing
	lostBy  *Anchor   // the checkpoint that covers them
	blind   bool      // there is no tree to hold against checkpoints
	blinded int       // checkpoints that came meanwhile

	tail    tail
	calls   calls
	runs    runs
	ids     ids
	dropped []hole // by `audit drop-partition`, as the log says
	rebases map[int]rebase
}

func begin(ctx context.Context, cfg VerifyConfig) *verification {
	ctx, stop := context.WithCancel(ctx)
	v := &verification{
		cfg: cfg, stop: stop, started: time.Now(),
		epochs: map[int]*epoch{}, strange: map[string]*strangers{}, verdict: Verdict{Found: map[string]int{}},
		calls: newCalls(), runs: runs{}, ids: newIDs(cmp.Or(cfg.window, idWindow)), rebases: map[int]rebase{},
	}
	if from := cfg.From; from != nil {
		v.beginAt(from.Size, from.tree, from)
		v.note("resumed from checkpoint %d of epoch %d: the events before it were not looked at", from.Size, from.Epoch)
	}
	if cfg.NoArchive != nil {
		v.uncheckable(cfg.NoArchive)
	}
	if cfg.Archive == nil {
		return v
	}
	v.verdict.keys(cfg.Archive.Keys)
	if err := v.openAnchors(ctx); err != nil {
		v.uncheckable(err)
	}
	return v
}

// beginAt makes the row of that seq the first one, on the tree before it.
func (v *verification) beginAt(seq int64, t tree, by *Anchor) {
	v.start, v.next = seq, seq
	v.tree = growing{tree: t}
	v.part = part{from: seq, after: by}
}

// uncheckable notes why something could not be checked.
func (v *verification) uncheckable(err error) {
	if errors.Is(err, ErrForged) {
		v.find(Finding{Kind: FoundCheckpoint, Text: err.Error()})
		return
	}
	v.verdict.Unchecked = append(v.verdict.Unchecked, err.Error())
}

func (v *verification) unproven(format string, args ...any) {
	v.verdict.Unproven = append(v.verdict.Unproven, fmt.Sprintf(format, args...))
}

func (v *verification) warn(format string, args ...any) {
	v.verdict.Warnings = append(v.verdict.Warnings, fmt.Sprintf(format, args...))
}

func (v *verification) note(format string, args ...any) {
	v.verdict.Notes = append(v.verdict.Notes, fmt.Sprintf(format, args...))
}

// close sums up.
func (v *verification) close() *Verdict {
	v.verdict.sum(time.Since(v.started))
	return &v.verdict
}
