package audit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"
	"golang.org/x/sync/errgroup"

	"rotator/internal/audit"
	"rotator/internal/postgres/pgtest"
)

func leaf(body []byte) tlog.Hash { return tlog.RecordHash(body) }

func TestAppendKeepsBytes(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	now := time.UnixMicro(8_999_999_999_999_999) // the largest times must survive generated columns
	log := open(t, pool, func(c *audit.Config) { c.Now = func() time.Time { return now } })
	log.SetCommon(func(e *audit.Event) { e.VaultEntity = "entity-1" })
	e := log.Stamp(audit.Event{
		Type: audit.APICall, Phase: audit.Result, Call: uuid.NewString(), Status: 429,
		Error: "\x00\xff \u202e\"\\ <&> \u2028 " + strings.Repeat("x", 1<<20),
	})
	want, err := e.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Append(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if got := get[string](t, pool, "select body::text from audit.event where seq = 0"); got != string(want) {
		t.Errorf("stored %q\nwant   %q", got, want)
	}
	if at := get[time.Time](t, pool, "select occurred_at from audit.event"); !at.Equal(now) {
		t.Errorf("occurred_at is %v, want %v", at, now)
	}
	if e.VaultEntity != "entity-1" || e.DBUser == "" || e.Host != "host" {
		t.Errorf("common fields are missing: %+v", e)
	}
	size, root := log.Head()
	if size != 1 || root != leaf(want) {
		t.Errorf("head %d %v, want 1 %v", size, root, leaf(want))
	}
	checkLog(t, pool, 1)
}

func TestAppendRefuses(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	log := open(t, pool)
	never := func(*pgx.Batch) func() bool {
		t.Error("the update of a refused entry was called")
		return func() bool { return true }
	}
	if err := log.Commit(t.Context(), audit.Entry{Update: never}); !errors.Is(err, audit.ErrInvalid) {
		t.Errorf("an entry without events: %v, want ErrInvalid", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := log.Commit(ended, audit.Entry{Events: []audit.Event{{Type: audit.Pause}}, Update: never}); !errors.Is(err, context.Canceled) {
		t.Errorf("under an ended context: %v", err)
	}
	if err := log.Append(t.Context(), audit.Event{Type: audit.Pause}, audit.Event{}); !errors.Is(err, audit.ErrInvalid) {
		t.Errorf("a valid and an invalid event: %v, want ErrInvalid", err)
	}
	if err := log.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := log.Append(t.Context(), audit.Event{Type: audit.Pause}); !errors.Is(err, audit.ErrClosed) {
		t.Errorf("after Close: %v, want ErrClosed", err)
	}
	checkLog(t, pool, 0)
}

// TestCloseDrains: what was queued when Close was called is written.
func TestCloseDrains(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	log := open(t, pool, func(c *audit.Config) { c.BatchSize = 2 })
	started, release := make(chan struct{}), make(chan struct{})
	var g errgroup.Group
	g.Go(func() error {
		return log.Commit(context.WithoutCancel(t.Context()), audit.Entry{
			Events: []audit.Event{{Type: audit.Pause}},
			Update: underLock(func() {
				close(started)
				<-release
			}),
		})
	})
	<-started
	impatient, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	for range 9 {
		waiting.Go(func() {
			if err := log.Append(impatient, audit.Event{Type: audit.Resume}); !errors.Is(err, context.Canceled) {
				t.Errorf("a caller that gave up: %v", err)
			}
		})
	}
	for log.Queued() < 9 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	waiting.Wait()
	if err := log.Close(impatient); !errors.Is(err, context.Canceled) {
		t.Errorf("Close under an ended context: %v", err)
	}
	close(release)
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if err := log.Close(t.Context()); err != nil {
		t.Error(err)
	}
	checkLog(t, pool, 10)
}

// TestTwoProcesses appends from two logs with their own connections, with and
// without state changes.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	stage(t, pool, "create table public.counter (n int); insert into public.counter values (0)")
	const workers, each = 8, 40
	var g errgroup.Group
	for range 2 {
		log := open(t, pool)
		for w := range workers {
			g.Go(func() error {
				for i := range each {
					entry := audit.Entry{Events: []audit.Event{{Type: audit.LeaseLost, Reason: fmt.Sprint(w, i)}}}
					if w == 0 {
						entry.Update = runs("update counter set n = n + 1")
					}
					if err := log.Commit(t.Context(), entry); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	checkLog(t, pool, 2*workers*each)
	if n := get[int](t, pool, "select n from counter"); n != 2*each {
		t.Errorf("%d state changes, want %d", n, 2*each)
	}
}

// TestCommitOrder: a caller's events stand in the order of its calls.
func TestCommitOrder(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	log := open(t, pool)
	var want, got []string
	for i := range 20 {
		a, b := fmt.Sprint(i, "a"), fmt.Sprint(i, "b")
		want = append(want, a, b)
		if err := log.Append(t.Context(), audit.Event{Type: audit.Pause, Reason: a}, audit.Event{Type: audit.Pause, Reason: b}); err != nil {
			t.Fatal(err)
		}
	}
	for r, err := range audit.List(t.Context(), pool, audit.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, r.Event.Reason)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

// TestOpenRefusesDamagedHead: nothing is built upon a head that lies.
func TestOpenRefusesDamagedHead(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	log := open(t, pool)
	if err := log.Append(t.Context(), audit.Event{Type: audit.Pause}); err != nil {
		t.Fatal(err)
	}
	stage(t, pool, "update audit.head set root = sha256('forged')")
	if _, err := audit.Open(t.Context(), audit.Config{Pool: pool}); err == nil {
		t.Error("a head whose frontier does not give its root was accepted")
	}
}

// TestPost: posted events are committed with the next that somebody waits for,
// in their order, or by themselves when patience is over, and Close leaves none.
func TestPost(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	batches := 0
	log := open(t, pool, func(c *audit.Config) { c.Observe = func(time.Duration) { batches++ } })
	var told sync.WaitGroup
	post := func(operation string) {
		t.Helper()
		e := typical(1)
		e.Op = operation
		told.Add(1)
		err := log.Post(t.Context(), e, func(err error) {
			defer told.Done()
			if err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	operations := func() (all string) {
		return get[string](t, pgtest.Admin(t, pool), `select coalesce(string_agg(operation, ' ' order by seq), '') from audit.event`)
	}
	for range 9 {
		post("read")
	}
	e := typical(1)
	e.Op = "waited"
	if err := log.Append(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	told.Wait()
	if got := operations(); got != strings.Repeat("read ", 9)+"waited" || batches > 2 {
		t.Errorf("%d batches wrote %s", batches, got)
	}
	post("alone")
	told.Wait() // nobody else comes
	if got := operations(); !strings.HasSuffix(got, "waited alone") {
		t.Errorf("the log has %s", got)
	}
	post("last")
	if err := log.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	told.Wait()
	if got := operations(); !strings.HasSuffix(got, "alone last") {
		t.Errorf("after Close the log has %s", got)
	}
	if err := log.Post(t.Context(), typical(1), nil); !errors.Is(err, audit.ErrClosed) {
		t.Errorf("posted to a closed log: %v", err)
	}
}
