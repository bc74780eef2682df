package audit_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"rotator/internal/audit"
	"rotator/internal/postgres/pgtest"
)

func TestRebase(t *testing.T) {
	t.Parallel()
	pool, store := pgtest.New(t), newShelf()
	running := keep(t, pool, store)
	running.logs(t, 3)
	running.anchor(t)
	if _, err := running.Rebase(t.Context(), "op@host", "to try"); !errors.Is(err, audit.ErrNotBehind) {
		t.Errorf("rebasing a sound log: %v", err)
	}
	running.logs(t, 1)
	old := backup(t, pool)
	running.logs(t, 4)
	running.anchor(t)
	old.restore(t, pool)
	if err := running.Check(t.Context()); !errors.Is(err, audit.ErrBehind) {
		t.Fatal(err)
	}

	person := keep(t, pool, store)
	r, err := person.Rebase(t.Context(), "op@host", "disk\nfailed")
	if err != nil {
		t.Fatal(err)
	}
	if r.Epoch != 2 || r.Anchored.Size != 8 || r.Actual.Size != 4 || r.Common != 3 || r.CommonAt.IsZero() || r.LostAt.IsZero() {
		t.Errorf("rebased %+v", r)
	}
	text, err := person.keys.Open(r.Note)
	if err != nil || !strings.Contains(text, "\nreason disk failed\n") || !strings.Contains(text, "\nanchored 8 ") {
		t.Errorf("the statement is %q, %v", text, err)
	}
	if got := get[string](t, pool, "select body ->> 'note' from audit.event where type = 'audit.rebased'"); got != r.Note {
		t.Errorf("the event says %q", got)
	}
	if got := store.sizes("2"); !slices.Equal(got, []string{"5"}) {
		t.Errorf("epoch 2 begins with checkpoints %v", got)
	}
	if err := running.Check(t.Context()); err != nil || running.Broken() != nil {
		t.Errorf("the process that had stopped: %v", err)
	}
	running.logs(t, 1)
	running.anchor(t)
	if err := keep(t, pool, store).Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestRebaseRefusesWhatWasRewritten: no restored backup has a head that its
// events do not give.
func TestRebaseRefusesWhatWasRewritten(t *testing.T) {
	t.Parallel()
	pool, store := pgtest.New(t), newShelf()
	k := keep(t, pool, store)
	k.logs(t, 4)
	old := backup(t, pool)
	k.logs(t, 3)
	k.anchor(t)
	admin := pgtest.Admin(t, pool)
	for _, part := range partitions(t, pool) {
		removing(t, admin, part, "delete from "+part+" where seq = 2")
	}
	old.restore(t, pool)
	if _, err := keep(t, pool, store).Rebase(t.Context(), "op", "why"); !errors.Is(err, audit.ErrBehind) {
		t.Errorf("rebasing: %v", err)
	}
	if got := store.sizes("2"); got != nil {
		t.Errorf("epoch 2 has checkpoints %v", got)
	}
}
