package audit_test

import (
	"testing"

	"rotator/internal/audit"
	"rotator/internal/postgres/pgtest"
)

// TestSettleResolvesWhatACrashLeftOpen: of three writes without an outcome, two
// are ours; one of those has arrived.
func TestSettleResolvesWhatACrashLeftOpen(t *testing.T) {
	t.Parallel()
	pool, store := pgtest.New(t), newShelf()
	k := keep(t, pool, store)
	write := func(path, project string) audit.Event {
		return audit.Event{Type: audit.APICall, Phase: audit.Intent, Op: "vault.write", Call: audit.NewDisclosureID(), VaultPath: path, Project: project}
	}
	there, missing := write("rotator-audit/checkpoints/1/2026-11-22/0000000000000007", ""), write("rotator-audit/keys/00000001", "")
	settled := write("rotator-audit/keys/00000002", "")
	done := settled
	done.Phase, done.Outcome = audit.Result, audit.OK
	if err := k.log.Append(t.Context(), there, missing, write("sinch/p/api", "p"), settled, done); err != nil {
		t.Fatal(err)
	}
	if err := store.Create(t.Context(), "checkpoints/1/2026-11-22/0000000000000007", map[string]string{"note": "x"}); err != nil {
		t.Fatal(err)
	}
	next, err := k.Settle(t.Context(), 0)
	if err != nil || next != 5 {
		t.Fatalf("settled up to %d, %v", next, err)
	}
	const resolved = `select coalesce(string_agg(call_id || ' ' || outcome, ', ' order by seq), '') from audit.event where phase = 'resolved'`
	want := there.Call + " ok, " + missing.Call + " unknown"
	if got := get[string](t, pool, resolved); got != want {
		t.Errorf("resolved %s, want %s", got, want)
	}
	for range 2 {
		if _, err := k.Settle(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	}
	if got := get[string](t, pool, resolved); got != want {
		t.Errorf("a second time it resolved %s", got)
	}
}
