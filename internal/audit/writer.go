package audit

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// run is the writer goroutine: it commits what is queued, batch by batch,
// until the log is closed and the queue empty.
func (l *Log) run() {
	ctx := context.Background()
	defer close(l.stopped)
	defer l.session.drop(ctx)
	for {
		batch, closed := l.take()
		switch {
		case len(batch) > 0:
			l.write(ctx, batch)
		case closed:
			return
		default:
			<-l.wake
		}
	}
}

// take removes the next batch from the queue, in order, at most BatchSize
// events unless the first item alone has more. It leaves posted events there
// that still have time.
func (l *Log) take() (batch []*item, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.urgent && !l.closed {
		return nil, false
	}
	n, events := 0, 0
	for n < len(l.queue) {
		if events += len(l.queue[n].bodies); n > 0 && events > l.cfg.BatchSize {
			break
		}
		n++
	}
	batch, l.queue = l.queue[:n:n], l.queue[n:]
	l.urgent = len(l.queue) > 0
	return batch, l.closed
}

// write commits a batch and answers its callers. Where one item spoils the
// transaction for all, each is written by itself, so that only the guilty
// caller fails.
func (l *Log) write(ctx context.Context, batch []*item) {
	results, guilt, err := l.commit(ctx, batch)
	if guilt && len(batch) > 1 {
		l.writeSingly(ctx, batch)
		return
	}
	answer(batch, results, err)
}

func (l *Log) writeSingly(ctx context.Context, batch []*item) {
	for i := range batch {
		results, guilt, err := l.commit(ctx, batch[i:i+1])
		if err != nil && !guilt { // not this item's fault: the rest would wait in vain
			answer(batch[i:], nil, err)
			return
		}
		answer(batch[i:i+1], results, err)
	}
}

func answer(batch []*item, results []error, err error) {
	for i, it := range batch {
		if err != nil {
			it.done <- err
		} else {
			it.done <- results[i]
		}
	}
}

// commit tries until the batch stands in the log, an item spoils it (guilt),
// or the timeout ends. The results are nil or ErrNotApplied, one for each item.
func (l *Log) commit(ctx context.Context, batch []*item) (results []error, guilt bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Timeout)
	defer cancel()
	begun := time.Now()
	var lost *attempt // sent, but its answer never came
	pause := 5 * time.Millisecond
	for {
		a, err := l.try(ctx, batch, lost)
		if err == nil {
			l.move(a.tree)
			if a.sent && l.cfg.Observe != nil { // else there was nothing to commit
				l.cfg.Observe(time.Since(begun))
			}
			return a.results, false, nil
		}
		if a != nil && a.sent {
			lost = a
		}
		switch judge(err) {
		case stale:
			continue
		case guilty:
			return nil, true, err
		case refused:
			return nil, false, fmt.Errorf("%w: %w", ErrUnwritable, err)
		case retryable:
		}
		l.cfg.Logger.WarnContext(ctx, "audit batch failed, trying again", slog.Int("items", len(batch)), slog.Any("err", err))
		if !wait(ctx, pause) {
			return nil, false, fmt.Errorf("%w: %w", ErrUnwritable, err)
		}
		pause = min(2*pause, 500*time.Millisecond)
	}
}

// move publishes the tree that the log was seen to have.
func (l *Log) move(t tree) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tree = t
}

// wait pauses and reports whether ctx is still alive.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
