package audit_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"rotator/internal/audit"
	"rotator/internal/postgres/pgtest"
)

// TestDropPartition drops the two oldest of four partitions: what was exported
// is what stood there, the rest goes on from a signed checkpoint.
func TestDropPartition(t *testing.T) {
	t.Parallel()
	pool, store := pgtest.New(t), newShelf()
	admin := pgtest.Admin(t, pool)
	exec(t, admin, "update audit.setting set partition_size = 10")
	exec(t, admin, "drop table audit.event_000000000000000")
	exec(t, admin, "update audit.head set covered = audit.cover(0, 0)")
	owner := open(t, admin)
	k := keep(t, pool, store)
	k.logs(t, 35)
	k.anchor(t)

	list, err := audit.Partitions(t.Context(), pool)
	if err != nil || len(list) < 4 {
		t.Fatalf("partitions %+v, %v", list, err)
	}
	if p := list[3]; p.First != 30 || p.End != 40 || p.Events != 5 || p.From.IsZero() || p.Bytes == 0 {
		t.Errorf("the fourth partition is %+v", p)
	}
	for _, name := range []string{list[1].Name, "nothing"} {
		if _, err := k.ExportPartition(t.Context(), name, &bytes.Buffer{}); !errors.Is(err, audit.ErrNotDroppable) {
			t.Errorf("dropping %s, which is not the oldest: %v", name, err)
		}
	}
	for i := range 2 {
		rows := get[[]string](t, pool, "select array_agg(body::text order by seq) from audit.event where seq / 10 = $1", i)
		var file bytes.Buffer
		cut, err := k.ExportPartition(t.Context(), list[i].Name, &file)
		if err != nil {
			t.Fatal(err)
		}
		if file.String() != strings.Join(rows, "\n")+"\n" || cut.Written.Rows != 10 || cut.Anchor.Size != list[i].End {
			t.Errorf("exported %+v and %q", cut, file.String())
		}
		if err := cut.Drop(t.Context(), owner, "kept long enough"); err != nil {
			t.Fatal(err)
		}
		if err := cut.Drop(t.Context(), owner, "again"); err == nil {
			t.Error("a partition was dropped twice")
		}
	}
	if first := get[int64](t, pool, "select min(seq) from audit.event"); first != 20 {
		t.Errorf("the log begins with event %d", first)
	}
	if n := get[int](t, pool, "select count(*) from audit.event where type = 'audit.partition_dropped' and body ->> 'reason' = 'kept long enough'"); n != 2 {
		t.Errorf("%d events tell of it", n)
	}
	k.anchor(t)
	if err := keep(t, pool, store).Check(t.Context()); err != nil {
		t.Errorf("the rest: %v", err)
	}
	// The rest proves itself from the checkpoint at the boundary on.
	var boundary audit.Anchor
	for anchor, err := range (&audit.Archive{Store: store, Keys: k.keys}).Anchors(t.Context(), 1, 20) {
		if err != nil {
			t.Fatal(err)
		}
		if anchor.Size == 20 {
			boundary = anchor
		}
	}
	if !boundary.Resumable() {
		t.Fatal("there is no checkpoint at the boundary to go on from")
	}
}

// TestTamperedPartitionIsNotDropped: dropping must not be a way to hide what
// was done to the events.
func TestTamperedPartitionIsNotDropped(t *testing.T) {
	t.Parallel()
	for name, tamper := range map[string]func(t *testing.T, k *keeper, sql func(string, ...any)){
		"a body": func(_ *testing.T, _ *keeper, sql func(string, ...any)) {
			sql("update audit.event_000000000000000 set body = replace(body::text, '\"key\":\"k\"', '\"key\":\"x\"')::json where seq = 3")
		},
		"a body with its hash": func(t *testing.T, _ *keeper, sql func(string, ...any)) {
			t.Helper()
			body := []byte(`{"v":1,"id":"0197a6f0-0000-7000-8000-000000000000","t_us":1,"type":"key.retired"}`)
			hash := tlog.RecordHash(body)
			sql("update audit.event_000000000000000 set body = $1, leaf_hash = $2 where seq = 3", string(body), hash[:])
		},
		"a missing row": func(_ *testing.T, _ *keeper, sql func(string, ...any)) {
			sql("delete from audit.event_000000000000000 where seq = 3")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := pgtest.New(t)
			admin := pgtest.Admin(t, pool)
			exec(t, admin, "update audit.setting set partition_size = 10")
			exec(t, admin, "drop table audit.event_000000000000000")
			exec(t, admin, "update audit.head set covered = audit.cover(0, 0)")
			k := keep(t, pool, newShelf())
			k.logs(t, 15)
			k.anchor(t)
			exec(t, admin, "alter table audit.event drop constraint event_leaf")
			tamper(t, k, func(sql string, args ...any) {
				removing(t, admin, "audit.event_000000000000000", sql, args...)
			})
			if _, err := k.ExportPartition(t.Context(), "event_000000000000000", &bytes.Buffer{}); !errors.Is(err, audit.ErrBehind) {
				t.Errorf("exporting: %v", err)
			}
		})
	}
}

func TestPartitionWithAnOpenIntentStays(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	admin := pgtest.Admin(t, pool)
	exec(t, admin, "update audit.setting set partition_size = 10")
	exec(t, admin, "drop table audit.event_000000000000000")
	exec(t, admin, "update audit.head set covered = audit.cover(0, 0)")
	k := keep(t, pool, newShelf())
	call := audit.Event{Type: audit.APICall, Phase: audit.Intent, Op: "access_keys.delete", Call: audit.NewDisclosureID(), Project: "p"}
	if err := k.log.Append(t.Context(), call); err != nil {
		t.Fatal(err)
	}
	k.logs(t, 15)
	k.anchor(t)
	if _, err := k.ExportPartition(t.Context(), "event_000000000000000", &bytes.Buffer{}); !errors.Is(err, audit.ErrNotDroppable) {
		t.Errorf("exporting with an open intent: %v", err)
	}
	call.Phase, call.Outcome, call.Status = audit.Result, audit.OK, 200
	if err := k.log.Append(t.Context(), call); err != nil {
		t.Fatal(err)
	}
	if _, err := k.ExportPartition(t.Context(), "event_000000000000000", &bytes.Buffer{}); err != nil {
		t.Errorf("exporting after the outcome: %v", err)
	}
}
