package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"rotator/internal/audit"
	"rotator/internal/postgres/pgtest"
)

var errCut = errors.New("connection cut by the test")

// wire is a connection that can be cut at a chosen moment.
type wire struct {
	net.Conn
	faults *faults
	cut    bool // the next answer is read and thrown away
}

// faults says when connections are cut: at the first statement that contains
// the text, before it leaves or after the server has answered it.
type faults struct {
	text    atomic.Pointer[string] // nil: never
	applied bool                   // cut after the answer
	refuse  atomic.Bool            // no new connections
	cuts    atomic.Int32
}

func (f *faults) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if f.refuse.Load() {
		return nil, errCut
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	return &wire{Conn: conn, faults: f}, err
}

func (w *wire) Write(b []byte) (int, error) {
	if text := w.faults.text.Load(); text != nil && bytes.Contains(b, []byte(*text)) {
		w.faults.text.Store(nil)
		w.faults.cuts.Add(1)
		if !w.faults.applied {
			_ = w.Close()
			return 0, errCut
		}
		w.cut = true
	}
	return w.Conn.Write(b)
}

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if w.cut && err == nil {
		_ = w.Close()
		return 0, errCut
	}
	return n, err
}

// faultyPool is a pool on the database whose connections f cuts.
func faultyPool(t *testing.T, url string, f *faults) *pgxpool.Pool {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	cfg.ConnConfig.DialFunc = f.dial
	cfg.ConnConfig.RuntimeParams["application_name"] = "faulty"
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// TestLostConnection cuts the connection at every interesting moment, each
// not applied and applied but unanswered: the events and the state change are
// committed exactly once, and the caller is told nil.
func TestLostConnection(t *testing.T) {
	t.Parallel()
	for _, applied := range []bool{false, true} {
		// A body, unlike a prepared statement's text, is in every message.
		for _, moment := range []string{"begin", "audit.lock_head", "update lease", "a lost event", "commit"} {
			for _, update := range []bool{false, true} {
				if !update && moment != "a lost event" {
					continue // a batch without state changes is one statement
				}
				t.Run(fmt.Sprintf("%s applied=%v update=%v", moment, applied, update), func(t *testing.T) {
					t.Parallel()
					url := pgtest.Database(t)
					pool := pgtest.Pool(t, url)
					leaseTable(t, pool)
					f := &faults{applied: applied}
					log := open(t, faultyPool(t, url, f))
					if err := log.Append(t.Context(), audit.Event{Type: audit.Pause}); err != nil {
						t.Fatal(err)
					}
					entry := audit.Entry{Events: []audit.Event{{Type: audit.Pause, Reason: "a lost event"}, {Type: audit.Resume}}}
					if update {
						entry.Update = guarded(7)
					}
					f.text.Store(&moment)
					if err := log.Commit(t.Context(), entry); err != nil {
						t.Fatal(err)
					}
					if err := log.Append(t.Context(), audit.Event{Type: audit.Pause}); err != nil {
						t.Fatal(err)
					}
					if f.cuts.Load() != 1 {
						t.Errorf("the connection was cut %d times, want once", f.cuts.Load())
					}
					checkLog(t, pool, 4)
					if n := get[int](t, pool, "select writes from lease"); update && n != 1 {
						t.Errorf("%d state changes, want 1", n)
					}
				})
			}
		}
	}
}

// TestUnwritable: when Postgres stays away the caller hears of it in time, and
// the log works again as soon as it is back.
func TestUnwritable(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	f := &faults{applied: true}
	log := open(t, faultyPool(t, url, f), func(c *audit.Config) { c.Timeout = time.Second })
	f.refuse.Store(true)
	f.text.Store(new("first"))
	if err := log.Append(t.Context(), audit.Event{Type: audit.Pause, Reason: "first"}); !errors.Is(err, audit.ErrUnwritable) || !errors.Is(err, errCut) {
		t.Errorf("without a server: %v, want ErrUnwritable and its cause", err)
	}
	f.refuse.Store(false)
	if err := log.Append(t.Context(), audit.Event{Type: audit.Pause, Reason: "second"}); err != nil {
		t.Errorf("after it came back: %v", err)
	}
	checkLog(t, pgtest.Pool(t, url), 2) // the first was committed: its answer was lost
}

// TestHeldHead: another session that keeps the head locked makes the log
// unwritable, not hang.
func TestHeldHead(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	log := open(t, pool, func(c *audit.Config) { c.Timeout = time.Second })
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "select audit.lock_head()"); err != nil {
		t.Fatal(err)
	}
	if err := log.Append(t.Context(), audit.Event{Type: audit.Pause}); !errors.Is(err, audit.ErrUnwritable) {
		t.Errorf("with a locked head: %v, want ErrUnwritable", err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := log.Append(t.Context(), audit.Event{Type: audit.Pause}); err != nil {
		t.Error(err)
	}
	checkLog(t, pool, 1)
}

// TestTerminatedBackends kills the writers' sessions under load: what was
// acknowledged is what stands in the log, each once.
func TestTerminatedBackends(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	pool := pgtest.Pool(t, url)
	leaseTable(t, pool)
	ctx, stop := context.WithTimeout(t.Context(), 4*time.Second)
	defer stop()
	var acknowledged, updated, killed atomic.Int64
	var g errgroup.Group
	for range 2 {
		log := open(t, faultyPool(t, url, &faults{}))
		for w := range 8 {
			g.Go(func() error {
				for ctx.Err() == nil {
					e := audit.Entry{Events: []audit.Event{{Type: audit.LeaseLost}}}
					if w < 2 {
						e.Update = guarded(7)
						updated.Add(1)
					}
					if err := log.Commit(t.Context(), e); err != nil {
						return err
					}
					acknowledged.Add(1)
				}
				return nil
			})
		}
	}
	g.Go(func() error {
		for ctx.Err() == nil {
			time.Sleep(60 * time.Millisecond)
			tag, err := pool.Exec(t.Context(), "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'faulty' and datname = current_database()")
			if err != nil {
				return err
			}
			killed.Add(tag.RowsAffected())
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d acknowledged, %d sessions killed", acknowledged.Load(), killed.Load())
	checkLog(t, pool, acknowledged.Load())
	if n := get[int64](t, pool, "select writes from lease"); n != updated.Load() {
		t.Errorf("%d state changes, want %d", n, updated.Load())
	}
}
