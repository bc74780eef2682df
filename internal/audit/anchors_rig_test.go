package audit_test

import (
	"context"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"rotator/internal/audit"
	"rotator/internal/postgres/pgtest"
)

// shelf is a Store in memory. Its documents have one version each, but for
// the signing key.
type shelf struct {
	mu   sync.Mutex
	docs map[string][]map[string]string
	fail error // of every Create
}

func newShelf() *shelf { return &shelf{docs: map[string][]map[string]string{}} }

func (s *shelf) Create(_ context.Context, path string, fields map[string]string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	if len(s.docs[path]) > 0 {
		return audit.ErrExists
	}
	s.docs[path] = []map[string]string{maps.Clone(fields)}
	return nil
}

func (s *shelf) Read(_ context.Context, path string, version int) (map[string]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if version == 0 {
		version = len(s.docs[path])
	}
	if version < 1 || version > len(s.docs[path]) {
		return nil, audit.ErrAbsent
	}
	return maps.Clone(s.docs[path][version-1]), nil
}

func (s *shelf) List(_ context.Context, folder string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for p := range s.docs {
		if rest, ok := strings.CutPrefix(p, folder+"/"); ok {
			first, _, _ := strings.Cut(rest, "/")
			names = append(names, first)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func (s *shelf) refuse(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// sizes lists the sizes of an epoch's checkpoints.
func (s *shelf) sizes(epoch string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sizes []string
	for p := range s.docs {
		if strings.HasPrefix(p, "checkpoints/"+epoch+"/") {
			sizes = append(sizes, strings.TrimLeft(path.Base(p), "0"))
		}
	}
	slices.Sort(sizes)
	return sizes
}

// keeper is a process that makes checkpoints.
type keeper struct {
	*audit.Anchors

	log   *audit.Log
	store *shelf
	key   string // verifier key
	keys  *audit.Keyring
}

// keep opens a log and its checkpoints as a process would.
func keep(t *testing.T, pool *pgxpool.Pool, store *shelf, change ...func(*audit.AnchorConfig)) *keeper {
	t.Helper()
	k := &keeper{log: open(t, pool), store: store}
	cfg := audit.AnchorConfig{
		Log: k.log, Store: store, Signer: "kv", Prefix: "rotator-audit",
		Interval: time.Minute, MaxAge: time.Hour, Now: time.Now,
	}
	for _, c := range change {
		c(&cfg)
	}
	var err error
	if k.Anchors, err = audit.OpenAnchors(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if k.keys, err = audit.LoadKeyring(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	k.key = k.keys.Trusted()[0]
	return k
}

// logs appends so many events that count.
func (k *keeper) logs(t *testing.T, n int) {
	t.Helper()
	for range n {
		if err := k.log.Append(t.Context(), audit.Event{Type: audit.KeyRetired, Project: "p", Key: "k"}); err != nil {
			t.Fatal(err)
		}
	}
}

// anchor makes a checkpoint, which must succeed.
func (k *keeper) anchor(t *testing.T) {
	t.Helper()
	if err := k.Anchor(t.Context(), true); err != nil {
		t.Fatal(err)
	}
}

// state is a database's log as it was: what a backup holds.
type state struct {
	size           int64
	root, frontier []byte
}

func backup(t *testing.T, pool *pgxpool.Pool) state {
	t.Helper()
	var s state
	if err := pool.QueryRow(t.Context(), "select size, root, frontier from audit.head").Scan(&s.size, &s.root, &s.frontier); err != nil {
		t.Fatal(err)
	}
	return s
}

// restore brings the log back to what it was, as restoring a backup does.
func (s state) restore(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	pool = pgtest.Admin(t, pool)
	for _, part := range partitions(t, pool) {
		removing(t, pool, part, "delete from "+part+" where seq >= $1", s.size)
	}
	exec(t, pool, "update audit.head set size = $1, root = $2, frontier = $3", s.size, s.root, s.frontier)
}

// removing runs a statement that the triggers of a partition forbid.
func removing(t *testing.T, pool *pgxpool.Pool, part, sql string, args ...any) {
	t.Helper()
	for _, trigger := range []string{"append_only", "append_only_row"} {
		exec(t, pool, "alter table "+part+" disable trigger "+trigger)
	}
	exec(t, pool, sql, args...)
	for _, trigger := range []string{"append_only", "append_only_row"} {
		exec(t, pool, "alter table "+part+" enable always trigger "+trigger)
	}
}

func partitions(t *testing.T, pool *pgxpool.Pool) []string {
	t.Helper()
	return get[[]string](t, pool, "select array_agg(inhrelid::regclass::text) from pg_inherits where inhparent = 'audit.event'::regclass")
}
