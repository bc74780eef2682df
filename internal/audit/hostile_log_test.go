package audit_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"rotator/internal/audit"
	"rotator/internal/postgres/pgtest"
)

// handClock is set by hand.
type handClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *handClock) later(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (c *handClock) set(cfg *audit.AnchorConfig) {
	cfg.Now = func() time.Time {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.now
	}
}

// cut ends every connection to the database, as a failover does.
func cut(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	exec(t, pgtest.Admin(t, pool), "select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
	pool.Reset()
}

// TestFailoverToWhatIsNotBehind: a standby that has all events, or more that
// another process wrote before, is the same log.
func TestFailoverToWhatIsNotBehind(t *testing.T) {
	t.Parallel()
	pool, store := pgtest.New(t), newShelf()
	k, other := keep(t, pool, store), keep(t, pool, store)
	k.logs(t, 2)
	k.anchor(t)
	for i, more := range []int{0, 3} {
		other.logs(t, more)
		cut(t, pool)
		k.logs(t, 1)
		k.anchor(t)
		checkLog(t, pool, int64(3+4*i))
	}
}

// TestFailoverBehind outlives a failover to a standby that was behind. Where
// that is still up to the newest checkpoint, the process goes on once it has
// looked, and says so; where not, it never does.
func TestFailoverBehind(t *testing.T) {
	t.Parallel()
	for name, anchored := range map[string]bool{"the checkpoint": true, "the process alone": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool, store := pgtest.New(t), newShelf()
			var said bytes.Buffer
			k := keep(t, pool, store, func(c *audit.AnchorConfig) { c.Logger = slog.New(slog.NewTextHandler(&said, nil)) })
			k.logs(t, 3)
			k.anchor(t)
			standby := backup(t, pool)
			k.logs(t, 2)
			if anchored {
				k.anchor(t)
			}
			standby.restore(t, pool)
			cut(t, pool)
			event := audit.Event{Type: audit.KeyRetired, Project: "p", Key: "k"}
			for range 2 { // not just the first time
				if err := k.log.Append(t.Context(), event); !errors.Is(err, audit.ErrUnwritable) || !errors.Is(err, audit.ErrBehind) {
					t.Errorf("appending to a log that is behind: %v", err)
				}
			}
			looked := k.Check(t.Context())
			appended := k.log.Append(t.Context(), event)
			if anchored {
				if !errors.Is(looked, audit.ErrBehind) || !errors.Is(appended, audit.ErrBehind) {
					t.Errorf("behind its checkpoint: looking %v, appending %v", looked, appended)
				}
				checkLog(t, pool, 3)
				return
			}
			if looked != nil || appended != nil || !strings.Contains(said.String(), "events after its newest checkpoint may be lost") {
				t.Errorf("up to its checkpoint: looking %v, appending %v, said %q", looked, appended, said.String())
			}
			k.anchor(t)
			checkLog(t, pool, 4)
		})
	}
}

// TestNotesWithoutFrontiers copies only notes and keys out of the directory,
// as a person would: everything can be checked, from the events themselves.
func TestNotesWithoutFrontiers(t *testing.T) {
	t.Parallel()
	pool, store, dir, copied := pgtest.New(t), newShelf(), t.TempDir(), t.TempDir()
	k := keep(t, pool, store, func(c *audit.AnchorConfig) { c.Mirror = audit.DirStore(dir) })
	for range 3 {
		k.logs(t, 3)
		k.anchor(t)
	}
	for name, text := range kept(t, dir) {
		if filepath.Ext(name) == "" {
			put(t, copied, name, text)
		}
	}
	keys, err := audit.LoadKeyring(t.Context(), audit.DirStore(copied), k.key)
	if err != nil {
		t.Fatal(err)
	}
	archive := &audit.Archive{Store: audit.DirStore(copied), Keys: keys}
	newest, found, err := archive.Newest(t.Context())
	if err != nil || !found || newest.Size != 9 || newest.Resumable() || !newest.At.IsZero() {
		t.Errorf("the copy's newest is %+v, %t, %v", newest, found, err)
	}
	verify := func() *audit.Verdict {
		return audit.VerifyDatabase(t.Context(), pool, audit.VerifyConfig{Archive: archive, MaxAge: time.Hour, Now: time.Now()})
	}
	wants(t, verify(), audit.VerifiedIntact)
	s := &scene{pool: pgtest.Admin(t, pool)}
	s.edit(t, 4, 4, `"k"`, `"x"`)
	s.rehead(t)
	wants(t, verify(), audit.VerifiedTampered, "events 3 to 5 are not those that checkpoint 6 signs")
}

// TestAnchorsWithoutFrontiers lets processes start from a checkpoint whose
// frontier is lost, or is another one's.
func TestAnchorsWithoutFrontiers(t *testing.T) {
	t.Parallel()
	pool, store := pgtest.New(t), newShelf()
	k := keep(t, pool, store)
	k.logs(t, 3)
	k.anchor(t)
	old := backup(t, pool)
	k.logs(t, 3)
	k.anchor(t)
	path := place(0, "0000000000000006")
	store.strip(path, "frontier")
	one, two := keep(t, pool, store), keep(t, pool, store)
	if err := one.Check(t.Context()); err != nil {
		t.Fatalf("without a frontier: %v", err)
	}
	two.logs(t, 2)
	two.anchor(t)
	if err := one.Check(t.Context()); err != nil {
		t.Errorf("another process has gone on from it: %v", err)
	}
	newest, _, err := (&audit.Archive{Store: store, Keys: k.keys}).Newest(t.Context())
	if err != nil || newest.Size != 8 || !newest.Resumable() {
		t.Errorf("the newest is %+v, %v", newest, err)
	}
	store.drop("0000000000000008")
	for _, frontier := range []string{"%", "AAAA", base64.StdEncoding.EncodeToString(make([]byte, 64))} {
		store.docs[path][0]["frontier"] = frontier
		if err := keep(t, pool, store).Check(t.Context()); !errors.Is(err, audit.ErrForged) {
			t.Errorf("with the frontier %q: %v", frontier, err)
		}
	}
	store.strip(path, "frontier")
	old.restore(t, pool)
	keep(t, pool, store).logs(t, 5) // another history
	if err := keep(t, pool, store).Check(t.Context()); !errors.Is(err, audit.ErrBehind) {
		t.Errorf("without a frontier, of another history: %v", err)
	}
}
