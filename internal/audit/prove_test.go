package audit_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/mod/sumdb/note"

	"rotator/internal/audit"
	"rotator/internal/postgres/pgtest"
)

// prover makes proofs from a keeper's log and the checkpoints of a store.
func (k *keeper) prover(t *testing.T, pool *pgxpool.Pool, store audit.Store) *audit.Prover {
	t.Helper()
	keys, err := audit.LoadKeyring(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	return &audit.Prover{DB: pool, Archive: &audit.Archive{Store: store, Keys: keys}}
}

// grown is a log with checkpoints at some sizes, also as files, and with some
// events behind the last one.
func grown(t *testing.T, sizes []int, behind int) (*keeper, *pgxpool.Pool, audit.DirStore) {
	t.Helper()
	pool, dir := pgtest.New(t), audit.DirStore(t.TempDir())
	k := keep(t, pool, newShelf(), func(c *audit.AnchorConfig) { c.Mirror = dir })
	last := 0
	for _, size := range sizes {
		k.logs(t, size-last)
		k.anchor(t)
		last = size
	}
	k.logs(t, behind)
	return k, pool, dir
}

// notesOnly is an auditor's copy of a directory: notes, without what stands
// beside them.
func notesOnly(t *testing.T, dir audit.DirStore) audit.DirStore {
	t.Helper()
	copied := t.TempDir()
	for name, text := range kept(t, string(dir)) {
		if !strings.Contains(name, ".") {
			put(t, copied, name, text)
		}
	}
	return audit.DirStore(copied)
}

// verified checks a proof as its reader does, from its text, with a pinned key.
func (k *keeper) verified(t *testing.T, p *audit.Proof) *audit.Proof {
	t.Helper()
	pinned, err := audit.NewKeyring(k.key)
	if err != nil {
		t.Fatal(err)
	}
	read, err := audit.VerifyProof(strings.NewReader(p.Text()), pinned)
	if err != nil {
		t.Fatalf("%v\n%s", err, p.Text())
	}
	return read
}

var growth = []int{1, 2, 7, 8, 20, 33}

// TestProveEveryEvent proves each event of a log against the smallest
// checkpoint over it, from the trees that checkpoints keep, and from the first
// event on where there are only notes.
func TestProveEveryEvent(t *testing.T) {
	t.Parallel()
	k, pool, dir := grown(t, growth, 4)
	for _, store := range []audit.Store{k.store, dir, notesOnly(t, dir)} {
		prover := k.prover(t, pool, store)
		for seq := range int64(33) {
			p, err := prover.Event(t.Context(), fmt.Sprint(seq))
			if err != nil {
				t.Fatal(err)
			}
			read := k.verified(t, p)
			to := growth[slices.IndexFunc(growth, func(size int) bool { return int64(size) > seq })]
			body := get[string](t, pool, "select body::text from audit.event where seq = $1", seq)
			if !read.Inclusion() || string(read.Body) != body || read.Index != seq || read.Newer.Size != int64(to) {
				t.Errorf("event %d: proof of %d in %d: %s", seq, read.Index, read.Newer.Size, read.Body)
			}
			if err := merkleAccepts(p.Text()); err != nil {
				t.Errorf("event %d: another implementation: %v", seq, err)
			}
			byID, err := prover.Event(t.Context(), strings.ToUpper(read.Event().ID))
			if err != nil || byID.Text() != p.Text() {
				t.Errorf("event %d by its id: %v", seq, err)
			}
		}
		for _, id := range []string{"33", "36"} {
			if _, err := prover.Event(t.Context(), id); !errors.Is(err, audit.ErrUnprovable) || !strings.Contains(err.Error(), "AUDIT_CHECKPOINT_INTERVAL") {
				t.Errorf("event %s, newer than the last checkpoint: %v", id, err)
			}
		}
		for _, id := range []string{"37", "-1", "nothing", "0197a6f0-0000-7000-8000-000000000000"} {
			if _, err := prover.Event(t.Context(), id); !errors.Is(err, audit.ErrNotFound) {
				t.Errorf("event %s: %v", id, err)
			}
		}
	}
}

// TestProveOneRowOfACall: a call's rows are proven one by one, its id alone
// does not say which.
func TestProveOneRowOfACall(t *testing.T) {
	t.Parallel()
	k, pool, _ := grown(t, []int{3}, 0)
	call := audit.NewDisclosureID()
	for _, phase := range []audit.Phase{audit.Intent, audit.Result} {
		e := audit.Event{Type: audit.APICall, Phase: phase, Op: "access_keys.delete", Call: call, Project: "p"}
		if phase == audit.Result {
			e.Outcome, e.Status = audit.OK, 200
		}
		if err := k.log.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	k.anchor(t)
	prover := k.prover(t, pool, k.store)
	for seq, phase := range map[string]audit.Phase{"3": audit.Intent, "4": audit.Result} {
		p, err := prover.Event(t.Context(), seq)
		if err != nil || k.verified(t, p).Event().Phase != phase {
			t.Errorf("event %s: %+v, %v", seq, p, err)
		}
	}
	if _, err := prover.Event(t.Context(), call); !errors.Is(err, audit.ErrNotFound) || !strings.Contains(err.Error(), "audit show") {
		t.Errorf("by the call's id: %v", err)
	}
}

// TestProveConsistency proves every pair of checkpoints.
func TestProveConsistency(t *testing.T) {
	t.Parallel()
	k, pool, dir := grown(t, growth, 4)
	for _, store := range []audit.Store{k.store, notesOnly(t, dir)} {
		prover := k.prover(t, pool, store)
		for i, from := range growth {
			for _, to := range growth[i+1:] {
				p, err := prover.Consistency(t.Context(), audit.Mark{Size: int64(from)}, audit.Mark{Size: int64(to), Epoch: 1})
				if err != nil {
					t.Fatal(err)
				}
				read := k.verified(t, p)
				if read.Inclusion() || read.Older.Size != int64(from) || read.Newer.Size != int64(to) {
					t.Errorf("%d to %d: proof of %d to %d", from, to, read.Older.Size, read.Newer.Size)
				}
				if err := merkleAccepts(p.Text()); err != nil {
					t.Errorf("%d to %d: another implementation: %v", from, to, err)
				}
			}
		}
		p, err := prover.Consistency(t.Context(), audit.Mark{Size: 7}, audit.Mark{})
		if err != nil || p.Newer.Size != 33 {
			t.Errorf("to the newest: %v", err)
		}
		for _, m := range []struct {
			from, to audit.Mark
			words    string
		}{
			{audit.Mark{Size: 3}, audit.Mark{}, "there are 2 and 7"},
			{audit.Mark{Size: 2}, audit.Mark{Size: 34}, "the last is 33"},
			{audit.Mark{Size: 2, Epoch: 9}, audit.Mark{}, "no epoch 9"},
			{audit.Mark{Size: 8}, audit.Mark{Size: 8}, "the same checkpoint, 8"},
			{audit.Mark{Size: 8}, audit.Mark{Size: 7}, "ends with checkpoint 7, before 8"},
		} {
			if _, err := prover.Consistency(t.Context(), m.from, m.to); !errors.Is(err, audit.ErrUnprovable) || !strings.Contains(err.Error(), m.words) {
				t.Errorf("%+v: %v, want %q", m, err, m.words)
			}
		}
	}
}

// TestProveFromTampered: rows that do not give the signed root give no proof.
// What lies before the checkpoint that a proof begins with has no part in it.
func TestProveFromTampered(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sql    string
		proven bool
	}{
		"the event's body":      {"update PART set body = replace(body::text, '\"key\":\"k\"', '\"key\":\"x\"')::json where seq = 25", false},
		"a neighbour's hash":    {"update PART set leaf_hash = sha256('x') where seq = 22", false},
		"a neighbour is gone":   {"delete from PART where seq = 32", false},
		"one before that, gone": {"delete from PART where seq = 20", false},
		"an event long before":  {"delete from PART where seq = 3", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k, pool, dir := grown(t, growth, 0)
			admin := pgtest.Admin(t, pool)
			exec(t, admin, "alter table audit.event drop constraint event_leaf")
			part := partitions(t, pool)[0]
			removing(t, admin, part, strings.ReplaceAll(c.sql, "PART", part))
			for _, store := range []audit.Store{dir, notesOnly(t, dir)} {
				proven := c.proven && store == dir // without trees, all events have a part
				p, err := k.prover(t, pool, store).Event(t.Context(), "25")
				if proven && err == nil {
					k.verified(t, p)
				} else if proven || !errors.Is(err, audit.ErrAltered) || !strings.Contains(err.Error(), "audit verify") {
					t.Errorf("proving an event: %v, want a proof: %t", err, proven)
				}
				p, err = k.prover(t, pool, store).Consistency(t.Context(), audit.Mark{Size: 20}, audit.Mark{Size: 33})
				intact := proven || name == "the event's body" // only hashes have a part
				if intact && err == nil {
					k.verified(t, p)
				} else if intact || !errors.Is(err, audit.ErrAltered) {
					t.Errorf("proving that it goes on: %v, want a proof: %t", err, intact)
				}
			}
		})
	}
}

// TestProveFromForgedCheckpoints: prove neither takes over what a stranger has
// signed, nor what is another log's.
func TestProveFromForgedCheckpoints(t *testing.T) {
	t.Parallel()
	k, pool, _ := grown(t, []int{5, 10}, 0)
	prover := k.prover(t, pool, k.store)
	if _, err := prover.Event(t.Context(), "7"); err != nil {
		t.Fatal(err)
	}
	_, other, err := note.GenerateKey(rand.Reader, "rotator-audit/other")
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := audit.NewKeyring(other)
	if err != nil {
		t.Fatal(err)
	}
	prover.Archive.Keys = stranger
	for _, id := range []string{"3", "7"} {
		if _, err := prover.Event(t.Context(), id); !errors.Is(err, audit.ErrForged) {
			t.Errorf("event %s, with another's key: %v", id, err)
		}
	}
	prover = k.prover(t, pool, k.store)
	exec(t, pgtest.Admin(t, pool), "update audit.setting set origin = 'rotator-audit/other'")
	if _, err := prover.Event(t.Context(), "7"); !errors.Is(err, audit.ErrForged) || !strings.Contains(err.Error(), "rotator-audit/other/1") {
		t.Errorf("from the checkpoints of another log: %v", err)
	}
}

// TestProveAcrossEpochs: the newest epoch's checkpoints prove all that the log
// still has; no later one continues one of an epoch before.
func TestProveAcrossEpochs(t *testing.T) {
	t.Parallel()
	k, pool, dir := grown(t, []int{4, 9}, 1)
	old := backup(t, pool)
	k.logs(t, 5)
	k.anchor(t)
	old.restore(t, pool)
	person := keep(t, pool, k.store, func(c *audit.AnchorConfig) { c.Mirror = dir })
	if _, err := person.Rebase(t.Context(), "op@host", "to try"); err != nil {
		t.Fatal(err)
	}
	person.logs(t, 3)
	person.anchor(t)
	if err := os.MkdirAll(filepath.Join(string(dir), "checkpoints/3/2026-11-22"), 0o755); err != nil { // as a crash leaves it
		t.Fatal(err)
	}
	for _, store := range []audit.Store{k.store, dir} {
		prover := k.prover(t, pool, store)
		for seq := range int64(14) {
			p, err := prover.Event(t.Context(), fmt.Sprint(seq))
			if err != nil {
				t.Fatal(err)
			}
			if epoch, err := k.verified(t, p).Newer.Epoch(); err != nil || epoch != 2 {
				t.Errorf("event %d is proven in epoch %d, %v", seq, epoch, err)
			}
		}
		if _, err := prover.Consistency(t.Context(), audit.Mark{Size: 9, Epoch: 1}, audit.Mark{}); !errors.Is(err, audit.ErrUnprovable) || !strings.Contains(err.Error(), "rebased between") {
			t.Errorf("across epochs: %v", err)
		}
		if p, err := prover.Consistency(t.Context(), audit.Mark{Size: 4, Epoch: 1}, audit.Mark{Size: 9, Epoch: 1}); err != nil || k.verified(t, p).Newer.Size != 9 {
			t.Errorf("within the epoch before: %v", err)
		}
		if _, err := prover.Consistency(t.Context(), audit.Mark{Size: 4, Epoch: 1}, audit.Mark{Size: 15, Epoch: 1}); !errors.Is(err, audit.ErrAltered) {
			t.Errorf("to what was lost: %v", err)
		}
	}
}

// TestProveAfterDropping: what is left of a log proves itself from where the
// dropped partition ended.
func TestProveAfterDropping(t *testing.T) {
	t.Parallel()
	pool, dir := pgtest.New(t), audit.DirStore(t.TempDir())
	admin := pgtest.Admin(t, pool)
	exec(t, admin, "update audit.setting set partition_size = 10")
	exec(t, admin, "drop table audit.event_000000000000000")
	exec(t, admin, "update audit.head set covered = audit.cover(0, 0)")
	k := keep(t, pool, newShelf(), func(c *audit.AnchorConfig) { c.Mirror = dir })
	k.logs(t, 7)
	k.anchor(t)
	k.logs(t, 16)
	k.anchor(t)
	before := audit.DirStore(t.TempDir()) // what an auditor copied before it was dropped
	for name, text := range kept(t, string(dir)) {
		put(t, string(before), name, text)
	}
	cut, err := k.ExportPartition(t.Context(), "event_000000000000000", &strings.Builder{})
	if err != nil {
		t.Fatal(err)
	}
	if err := cut.Drop(t.Context(), open(t, admin), "kept long enough"); err != nil {
		t.Fatal(err)
	}
	for name, store := range map[string]audit.Store{"all checkpoints": k.store, "as files": dir, "without the boundary": before} {
		prover := k.prover(t, pool, store)
		for _, seq := range []string{"10", "15", "22"} {
			p, err := prover.Event(t.Context(), seq)
			if err != nil {
				t.Errorf("%s, event %s: %v", name, seq, err)
				continue
			}
			k.verified(t, p)
			if err := merkleAccepts(p.Text()); err != nil {
				t.Errorf("%s, event %s: another implementation: %v", name, seq, err)
			}
		}
		if _, err := prover.Event(t.Context(), "9"); !errors.Is(err, audit.ErrNotFound) {
			t.Errorf("%s, a dropped event: %v", name, err)
		}
		if _, err := prover.Consistency(t.Context(), audit.Mark{Size: 7}, audit.Mark{Size: 23}); !errors.Is(err, audit.ErrUnprovable) || !strings.Contains(err.Error(), "dropped") {
			t.Errorf("%s: from rows that are gone: %v", name, err)
		}
	}
}

// TestProveNothing: without checkpoints there is nothing to prove by.
func TestProveNothing(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	k := keep(t, pool, newShelf())
	k.logs(t, 3)
	prover := k.prover(t, pool, k.store)
	if _, err := prover.Event(t.Context(), "1"); !errors.Is(err, audit.ErrUnprovable) {
		t.Errorf("an event: %v", err)
	}
	for _, m := range []audit.Mark{{}, {Size: 2}, {Time: time.Now()}} {
		if _, err := prover.Consistency(t.Context(), m, m); !errors.Is(err, audit.ErrUnprovable) {
			t.Errorf("%+v: %v", m, err)
		}
	}
}
