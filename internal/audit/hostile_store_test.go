package audit_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"rotator/internal/audit"
	"rotator/internal/postgres/pgtest"
)

// place is where a checkpoint of epoch 1 is kept, so many days from today.
func place(days int, size string) string {
	return "checkpoints/1/" + time.Now().UTC().AddDate(0, 0, days).Format(time.DateOnly) + "/" + size
}

// fake puts a document on the shelf without asking anybody.
func (s *shelf) fake(path string, fields map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.docs[path] = []map[string]string{maps.Clone(fields)}
}

// copyTo writes a document's copy under another name.
func (s *shelf) copyTo(t *testing.T, from, to string) {
	t.Helper()
	fields, err := s.Read(t.Context(), from, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.fake(to, fields)
}

// faulty is a shelf that fails as it is told. Its hooks change only while
// nobody uses it.
type faulty struct {
	*shelf

	list func(folder string) error
	read func(path string, version int) error
}

func (f *faulty) List(ctx context.Context, folder string) ([]string, error) {
	if f.list != nil {
		if err := f.list(folder); err != nil {
			return nil, err
		}
	}
	return f.shelf.List(ctx, folder)
}

func (f *faulty) Read(ctx context.Context, path string, version int) (map[string]string, error) {
	if f.read != nil {
		if err := f.read(path, version); err != nil {
			return nil, err
		}
	}
	return f.shelf.Read(ctx, path, version)
}

// using is a keeper's other store.
func using(store audit.Store) func(*audit.AnchorConfig) {
	return func(c *audit.AnchorConfig) { c.Store = store }
}

// TestHostileNames puts what is no checkpoint beside the newest one. Passing
// over it would do for a log that was cut, too: nobody may go on.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	pool, store := pgtest.New(t), newShelf()
	k := keep(t, pool, store)
	k.logs(t, 3)
	k.anchor(t)
	junk := map[string]string{"note": "junk"}
	for path, want := range map[string]error{
		"checkpoints/1/zzzz/0000000000000003":       audit.ErrForged,
		"checkpoints/1/9999-99-99/0000000000000003": audit.ErrForged,
		"checkpoints/1/9999-12-31":                  nil, // a document with a day's name is an empty folder
		place(0, "junk"):                            audit.ErrForged,
		place(0, "9"):                               audit.ErrForged,
		place(0, "-000000000000009"):                audit.ErrForged,
		place(1, "junk"):                            audit.ErrForged,
		place(0, "0000000000000009"):                audit.ErrForged, // unsigned
		place(0, "9999999999999999/x"):              audit.ErrAbsent, // a folder where a checkpoint should be
		"checkpoints/junk/2026-11-22/0":             audit.ErrForged,
		"checkpoints/01/2026-11-22/0":               audit.ErrForged,
		"checkpoints/0/2026-11-22/0":                audit.ErrForged,
		"checkpoints/2/zzzz/0":                      audit.ErrForged,
	} {
		store.fake(path, junk)
		for who, k := range map[string]*keeper{"running": k, "starting": keep(t, pool, store)} {
			if err := k.Check(t.Context()); !errors.Is(err, want) {
				t.Errorf("%s: a %s process finds %v, want %v", path, who, err, want)
			}
			if err := k.Permit(t.Context(), false); errors.Is(want, audit.ErrForged) && !errors.Is(err, want) {
				t.Errorf("%s: a %s process may go on: %v", path, who, err)
			}
		}
		newest, found, err := (&audit.Archive{Store: store, Keys: k.keys}).Newest(t.Context())
		if found != (want == nil) || !errors.Is(err, want) || found && newest.Size != 3 {
			t.Errorf("%s: the newest is %d, %t, %v", path, newest.Size, found, err)
		}
		store.drop(path)
		if err := k.Check(t.Context()); err != nil || k.Broken() != nil {
			t.Errorf("once %s is gone: %v", path, err)
		}
	}
}

// TestHostileOldNotes copies an old checkpoint under later days, and restores
// the log that it fits.
func TestHostileOldNotes(t *testing.T) {
	t.Parallel()
	pool, store := pgtest.New(t), newShelf()
	k := keep(t, pool, store)
	k.logs(t, 3)
	k.anchor(t)
	old := backup(t, pool)
	k.logs(t, 4)
	k.anchor(t)
	day := func(n int) { store.copyTo(t, place(0, "0000000000000003"), place(n, "0000000000000003")) }
	for n := range 6 {
		day(n + 1)
	}
	archive := &audit.Archive{Store: store, Keys: k.keys}
	if newest, found, err := archive.Newest(t.Context()); err != nil || !found || newest.Size != 7 {
		t.Errorf("the newest is %d, %t, %v; want 7", newest.Size, found, err)
	}
	for _, k := range []*keeper{k, keep(t, pool, store)} {
		if err := k.Check(t.Context()); err != nil {
			t.Errorf("a sound log: %v", err)
		}
	}
	old.restore(t, pool)
	for who, k := range map[string]*keeper{"running": k, "starting": keep(t, pool, store)} {
		if err := k.Check(t.Context()); !errors.Is(err, audit.ErrBehind) {
			t.Errorf("a %s process takes an old note for the newest: %v", who, err)
		}
	}
	// docs/decisions.md: past a week of later folders, a process that starts
	// is blind. One that runs is not, nor is verification.
	day(7)
	if err := keep(t, pool, store).Check(t.Context()); err != nil {
		t.Errorf("a process that starts looks back further than documented: %v", err)
	}
	if err := k.Check(t.Context()); !errors.Is(err, audit.ErrBehind) {
		t.Errorf("a process that runs: %v", err)
	}
	v := audit.VerifyDatabase(t.Context(), pool, audit.VerifyConfig{Archive: archive, MaxAge: time.Hour, Now: time.Now()})
	wants(t, v, audit.VerifiedTampered, "events 3 to 6 (4 of them) are missing at the end: checkpoint 7 of")
}

// TestHostileClock makes a checkpoint by a clock two months ahead. What is made
// later must not stand where nobody looks for it.
func TestHostileClock(t *testing.T) {
	t.Parallel()
	pool, store := pgtest.New(t), newShelf()
	ahead := keep(t, pool, store, (&handClock{now: time.Now().AddDate(0, 0, 60)}).set)
	ahead.logs(t, 3)
	ahead.anchor(t)
	old := backup(t, pool)
	one, two := keep(t, pool, store), keep(t, pool, store)
	if err := two.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	one.logs(t, 2)
	one.anchor(t)
	if newest, found, err := (&audit.Archive{Store: store, Keys: one.keys}).Newest(t.Context()); err != nil || !found || newest.Size != 5 {
		t.Errorf("the newest is %d, %t, %v; want 5", newest.Size, found, err)
	}
	old.restore(t, pool)
	for who, k := range map[string]*keeper{"running": two, "starting": keep(t, pool, store)} {
		if err := k.Check(t.Context()); !errors.Is(err, audit.ErrBehind) {
			t.Errorf("a %s process does not see the newest: %v", who, err)
		}
	}
	// A larger one in an earlier folder counts for whoever starts, too.
	store.move(place(60, "0000000000000005"), place(0, "0000000000000005"))
	if err := keep(t, pool, store).Check(t.Context()); !errors.Is(err, audit.ErrBehind) {
		t.Errorf("the newest stands under an earlier day: %v", err)
	}
}

// TestHostileVanishing takes away what a running process knows to be there.
func TestHostileVanishing(t *testing.T) {
	t.Parallel()
	pool, store := pgtest.New(t), newShelf()
	yesterday := keep(t, pool, store, (&handClock{now: time.Now().AddDate(0, 0, -1)}).set)
	yesterday.logs(t, 2)
	yesterday.anchor(t)
	k := keep(t, pool, store)
	k.logs(t, 2)
	k.anchor(t)
	k.logs(t, 1)
	k.anchor(t)
	whole := maps.Clone(store.docs)
	vanish := func(what, says string) {
		t.Helper()
		store.drop(what)
		k.logs(t, 1)
		before := len(store.docs)
		for range 2 { // not just the first time
			if err := k.Anchor(t.Context(), true); !errors.Is(err, audit.ErrBehind) || !strings.Contains(err.Error(), says) {
				t.Errorf("without %s: %v, want %q", what, err, says)
			}
		}
		if err := k.Permit(t.Context(), false); !errors.Is(err, audit.ErrBehind) {
			t.Errorf("without %s, it may go on: %v", what, err)
		}
		if len(store.docs) != before {
			t.Errorf("without %s, another checkpoint took its place", what)
		}
		store.docs = maps.Clone(whole)
		if err := k.Check(t.Context()); err != nil {
			t.Errorf("with %s back: %v", what, err)
		}
	}
	vanish("0000000000000005", "checkpoint 5 of epoch 1 is gone from rotator-audit")
	vanish(place(0, ""), "its checkpoints are gone from rotator-audit")
	vanish("checkpoints/", "its checkpoints are gone from rotator-audit")

	k.anchor(t)
	old := backup(t, pool)
	k.logs(t, 1)
	k.anchor(t)
	old.restore(t, pool)
	k = keep(t, pool, store)
	if _, err := k.Rebase(t.Context(), "op", "restored"); err != nil {
		t.Fatal(err)
	}
	whole = maps.Clone(store.docs)
	vanish("checkpoints/2/", "of epoch 2 is gone from rotator-audit")
}

// TestHostileTimes: anchored_at is not signed. Whatever it says, or the clock
// that it was taken from, deletions get their checkpoint, and the guard stands.
func TestHostileTimes(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]string{"in ten years": time.Now().AddDate(10, 0, 0).UTC().Format(time.RFC3339), "no time": "soon", "none": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool, store := pgtest.New(t), newShelf()
			first := keep(t, pool, store)
			first.logs(t, 3)
			first.anchor(t)
			store.docs[place(0, "0000000000000003")][0]["anchored_at"] = at
			clock := &handClock{now: time.Now()}
			k := keep(t, pool, store, clock.set)
			if err := k.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			k.logs(t, 1)
			if err := k.Permit(t.Context(), true); err != nil {
				t.Error(err)
			}
			if got := store.sizes("1"); !slices.Equal(got, []string{"3", "4"}) {
				t.Fatalf("checkpoints %v: none was made before a deletion", got)
			}
			store.docs[place(0, "0000000000000004")][0]["anchored_at"] = at
			k = keep(t, pool, store, clock.set)
			store.refuse(errors.New("vault says no"))
			k.logs(t, 1)
			if err := k.Anchor(t.Context(), true); err == nil {
				t.Error("Vault said no")
			}
			clock.later(61 * time.Minute)
			if err := k.Permit(t.Context(), true); !errors.Is(err, audit.ErrOverdue) {
				t.Errorf("an hour without a checkpoint: %v", err)
			}
		})
	}
}

// TestHostileListing lets nobody see which checkpoints there are: for a while
// the work goes on, but not for longer than one may be missing.
func TestHostileListing(t *testing.T) {
	t.Parallel()
	pool, store, clock := pgtest.New(t), &faulty{shelf: newShelf()}, &handClock{now: time.Now()}
	k := keep(t, pool, store.shelf, using(store), clock.set)
	k.logs(t, 1)
	k.anchor(t)
	down := errors.New("vault is sealed")
	store.list = func(string) error { return down }
	clock.later(2 * time.Minute) // a deletion wants to look
	for _, c := range []struct {
		wait time.Duration
		want error
	}{{0, nil}, {59 * time.Minute, nil}, {2 * time.Minute, audit.ErrOverdue}, {240 * time.Hour, audit.ErrOverdue}} {
		clock.later(c.wait)
		if err := k.Anchor(t.Context(), false); !errors.Is(err, down) {
			t.Errorf("anchoring: %v", err)
		}
		for _, deletion := range []bool{false, true} {
			if err := k.Permit(t.Context(), deletion); !errors.Is(err, c.want) {
				t.Errorf("%v later, deletion %t: %v, want %v", c.wait, deletion, err, c.want)
			}
		}
	}
	if err := k.Check(t.Context()); !errors.Is(err, down) {
		t.Errorf("a run that begins: %v", err)
	}
	store.list = nil
	if err := errors.Join(k.Check(t.Context()), k.Permit(t.Context(), true)); err != nil {
		t.Errorf("when Vault is back: %v", err)
	}
}
