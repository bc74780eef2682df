package audit_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"rotator/internal/audit"
	"rotator/internal/postgres/pgtest"
)

var errUpdate = errors.New("the update's own error")

// guarded moves the fence's counter if the fence is still what it was.
func guarded(fence int) audit.Update {
	return runs("update lease set writes = writes + 1 where fence = $1", fence)
}

// runs is an Update of one statement, which applies when it touches a row.
func runs(sql string, args ...any) audit.Update {
	return func(b *pgx.Batch) func() bool {
		var rows int64
		b.Queue(sql, args...).Exec(func(tag pgconn.CommandTag) error { rows = tag.RowsAffected(); return nil })
		return func() bool { return rows > 0 }
	}
}

// underLock is an Update that changes nothing and does something while the head
// is locked for it.
func underLock(do func()) audit.Update {
	return func(*pgx.Batch) func() bool {
		return func() bool { do(); return true }
	}
}

func leaseTable(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	stage(t, pool, "create table public.lease (fence int, writes int); insert into public.lease values (7, 0)")
}

// TestCommitInOneBatch puts good, stale and failing entries into one batch:
// each caller gets its own answer, and only the good ones are written.
func TestCommitInOneBatch(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		bad  audit.Update
		want func(error) bool
	}{
		"stale only":    {guarded(6), func(err error) bool { return errors.Is(err, audit.ErrNotApplied) }},
		"sql error":     {runs("update lease set writes = writes / 0"), ofServer("22012")},
		"no such table": {runs("update nothing set writes = 0"), ofServer("42P01")},
		"own error after a write": {func(b *pgx.Batch) func() bool {
			b.Queue("update lease set writes = writes + 1").Exec(func(pgconn.CommandTag) error { return errUpdate })
			return func() bool { return true }
		}, func(err error) bool { return errors.Is(err, errUpdate) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := pgtest.New(t)
			leaseTable(t, pool)
			log := open(t, pool)
			entries := []audit.Entry{
				{Events: []audit.Event{{Type: audit.RotationPlanned, Reason: "good"}}, Update: guarded(7)},
				{Events: []audit.Event{{Type: audit.RotationPlanned, Reason: "bad"}, {Type: audit.Pause, Reason: "bad"}}, Update: c.bad},
				{Events: []audit.Event{{Type: audit.RotationPlanned, Reason: "stale"}}, Update: guarded(6)},
				{Events: []audit.Event{{Type: audit.Pause, Reason: "plain"}}},
			}
			got := together(t, log, entries)
			if got[0] != nil || !c.want(got[1]) || !errors.Is(got[2], audit.ErrNotApplied) || got[3] != nil {
				t.Errorf("answers: %v", got)
			}
			checkLog(t, pool, 3)
			reasons := get[[]string](t, pool, "select array_agg(body ->> 'reason' order by seq) from audit.event where seq > 0")
			if diff := cmp.Diff([]string{"good", "plain"}, reasons); diff != "" {
				t.Errorf("written (-want +got):\n%s", diff)
			}
			if n := get[int](t, pool, "select writes from lease"); n != 1 {
				t.Errorf("%d state changes were committed, want 1", n)
			}
		})
	}
}

// ofServer reports whether an error is the server's, of that code.
func ofServer(code string) func(error) bool {
	return func(err error) bool {
		var pg *pgconn.PgError
		return errors.As(err, &pg) && pg.Code == code && !errors.Is(err, audit.ErrUnwritable)
	}
}

// together commits entries so that they meet in one batch, and returns their
// answers. It writes one event of its own first.
func together(t *testing.T, log *audit.Log, entries []audit.Entry) []error {
	t.Helper()
	started, release, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- log.Commit(t.Context(), audit.Entry{
			Events: []audit.Event{{Type: audit.Pause}},
			Update: underLock(func() {
				close(started)
				<-release
			}),
		})
	}()
	<-started
	answers := make([]chan error, len(entries))
	for i, e := range entries {
		answers[i] = make(chan error, 1)
		go func() { answers[i] <- log.Commit(t.Context(), e) }()
		for log.Queued() <= i { // before the next
			time.Sleep(time.Millisecond)
		}
	}
	close(release)
	got := []error{<-done}
	for _, a := range answers {
		got = append(got, <-a)
	}
	if got[0] != nil {
		t.Fatal(got[0])
	}
	return got[1:]
}

// TestCommitTakesHeadFirst: two processes whose updates want the same rows in
// opposite orders do not deadlock, because the head comes before them.
func TestCommitTakesHeadFirst(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	stage(t, pool, "create table public.row (id int primary key, n int); insert into public.row values (0, 0), (1, 0)")
	const rounds = 60
	done := make(chan error, 2)
	for process := range 2 {
		log := open(t, pool)
		go func() {
			for i := range rounds {
				err := log.Commit(t.Context(), audit.Entry{
					Events: []audit.Event{{Type: audit.LeaseLost, Reason: fmt.Sprint(process, i)}},
					Update: func(b *pgx.Batch) func() bool {
						for _, id := range []int{process, 1 - process} {
							b.Queue("update row set n = n + 1 where id = $1", id)
						}
						return func() bool { return true }
					},
				})
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	checkLog(t, pool, 2*rounds)
	if n := get[int](t, pool, "select min(n) from row"); n != 2*rounds {
		t.Errorf("%d updates, want %d", n, 2*rounds)
	}
	if n := get[int](t, pool, "select deadlocks from pg_stat_database where datname = current_database()"); n != 0 {
		t.Errorf("%d deadlocks", n)
	}
}
