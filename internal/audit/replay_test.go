package audit_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"rotator/internal/audit"
	"rotator/internal/postgres/pgtest"
)

// leave puts a dead process's spill file into a directory.
func leave(t testing.TB, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func sum(text string) string {
	h := sha256.Sum256([]byte(text))
	return hex.EncodeToString(h[:])
}

// many returns stamped events.
func many(n int) []audit.Event {
	events := make([]audit.Event, n)
	for i := range events {
		events[i] = stamped(fmt.Sprint("event ", i))
	}
	return events
}

// checkReplayed compares what Replay returned, and the events that report it.
func checkReplayed(t testing.TB, pool *pgxpool.Pool, got []audit.Replayed, want ...audit.Replayed) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("replayed (-want +got):\n%s", diff)
	}
	var reported []audit.Replayed
	for r, err := range audit.List(t.Context(), pool, audit.Filter{Type: audit.AuditSpillReplayed}) {
		if err != nil {
			t.Fatal(err)
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(r.Event.Reason, "spill file "), ",")
		_, hash, _ := strings.Cut(r.Event.Reason, "sha256 ")
		reported = append(reported, audit.Replayed{
			File: name, Events: int(r.Event.Counters["events"]), Duplicates: int(r.Event.Counters["duplicates"]),
			SHA256: hash[:64], Torn: strings.Contains(hash, "torn last line"),
		})
	}
	if diff := cmp.Diff(want, reported); diff != "" {
		t.Errorf("reported in the log (-want +got):\n%s", diff)
	}
}

// TestReplay: own events and those of a dead process, some of them committed
// already, one file torn.
func TestReplay(t *testing.T) {
	t.Parallel()
	pool, dir := pgtest.New(t), t.TempDir()
	log := open(t, pool)
	own := openSpill(t, dir, "own")
	events := many(9)
	if err := errors.Join(log.Append(t.Context(), events[:2]...), own.Write(events[1:4]...)); err != nil {
		t.Fatal(err)
	}
	torn := bodies(t, events[3:6]...) + bodies(t, stamped("cut off"))[:120]
	leave(t, dir, "spill-dead.jsonl", torn)
	leave(t, dir, "spill-unended.jsonl", strings.TrimSpace(bodies(t, events[6], events[7], events[6])))
	leave(t, dir, "spill-void.jsonl", "")
	leave(t, dir, "other.jsonl", "not ours")

	got, err := log.Replay(t.Context(), dir, own)
	if err != nil {
		t.Fatal(err)
	}
	ofOwn := bodies(t, events[1:4]...)
	unended := strings.TrimSpace(bodies(t, events[6], events[7], events[6]))
	checkReplayed(t, pool, got,
		audit.Replayed{File: "spill-dead.jsonl", Events: 3, SHA256: sum(torn), Torn: true},
		audit.Replayed{File: "spill-own.jsonl", Events: 1, Duplicates: 2, SHA256: sum(ofOwn)},
		audit.Replayed{File: "spill-unended.jsonl", Events: 2, Duplicates: 1, SHA256: sum(unended)})
	checkLog(t, pool, 8+3)
	if text := get[string](t, pool, "select body ->> 'error' from audit.event where body ->> 'reason' like '%torn last line of 120 bytes dropped'"); !strings.Contains(text, `torn: {"v":1`) {
		t.Errorf("the torn line is not in the report: %q", text)
	}
	for _, e := range events[2:8] {
		want := strings.TrimSpace(bodies(t, e))
		if got := get[string](t, pool, "select body::text from audit.event where event_id = $1", e.ID); got != want {
			t.Errorf("stored %s\nwant %s", got, want)
		}
	}
	if diff := cmp.Diff(map[string]string{"other.jsonl": "not ours"}, files(t, dir)); diff != "" || !own.Empty() {
		t.Errorf("left behind (-want +got), own empty=%v:\n%s", own.Empty(), diff)
	}

	// All goes on: the writer, the spill, and a replay with nothing to do.
	if err := errors.Join(log.Append(t.Context(), audit.Event{Type: audit.Pause}), own.Write(events[8])); err != nil {
		t.Fatal(err)
	}
	if got, err := log.Replay(t.Context(), dir, own); err != nil || len(got) != 1 || got[0].Events != 1 {
		t.Errorf("second replay: %v %v", got, err)
	}
	if got, err := log.Replay(t.Context(), dir, own); err != nil || got != nil {
		t.Errorf("replay of nothing: %v %v", got, err)
	}
	checkLog(t, pool, 8+3+3)
}

// TestReplayInterrupted cuts the connection within a file of several batches:
// nothing is lost, nothing stands twice, and the file stays until all of it
// is committed.
func TestReplayInterrupted(t *testing.T) {
	t.Parallel()
	for _, applied := range []bool{false, true} {
		for _, moment := range []string{"commit", "event 300", "event 599", "audit.lock_head"} {
			t.Run(fmt.Sprint(moment, applied), func(t *testing.T) {
				t.Parallel()
				url, dir := pgtest.Database(t), t.TempDir()
				pool := pgtest.Pool(t, url)
				f := &faults{applied: applied}
				log := open(t, faultyPool(t, url, f))
				own := openSpill(t, dir, "p")
				if err := own.Write(many(600)...); err != nil {
					t.Fatal(err)
				}
				f.text.Store(&moment)
				if got, err := log.Replay(t.Context(), dir, own); !errors.Is(err, audit.ErrUnwritable) || got != nil {
					t.Fatalf("interrupted: %v %v", got, err)
				}
				if len(files(t, dir)) != 1 || own.Empty() {
					t.Fatalf("the file is gone, empty=%v", own.Empty())
				}
				first := get[int](t, pool, "select count(*) from audit.event")
				got, err := log.Replay(t.Context(), dir, own)
				if err != nil || len(got) != 1 || got[0].Events != 600-first || got[0].Duplicates != first {
					t.Errorf("after %d events: %v %v", first, got, err)
				}
				checkLog(t, pool, 601)
				if len(files(t, dir)) != 0 || !own.Empty() {
					t.Error("the file was left")
				}
			})
		}
	}
}

// TestReplayWaitsForTheHead: an event that is committed while the replay waits
// for the head's lock, after its first look, is found nevertheless.
func TestReplayWaitsForTheHead(t *testing.T) {
	t.Parallel()
	pool, dir := pgtest.New(t), t.TempDir()
	log, other := open(t, pool), open(t, pool)
	e := stamped("late")
	leave(t, dir, "spill-p.jsonl", bodies(t, e))
	locked, release := make(chan struct{}), make(chan struct{})
	var g errgroup.Group
	g.Go(func() error {
		return other.Commit(t.Context(), audit.Entry{Events: []audit.Event{e}, Update: underLock(func() {
			close(locked)
			<-release
		})})
	})
	<-locked
	var got []audit.Replayed
	g.Go(func() (err error) {
		got, err = log.Replay(t.Context(), dir, nil)
		return err
	})
	const waiting = "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')"
	for i := 0; i < 300 && !get[bool](t, pool, waiting); i++ {
		time.Sleep(10 * time.Millisecond)
	}
	close(release)
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Events != 0 || got[0].Duplicates != 1 {
		t.Errorf("replayed %+v, want one duplicate", got)
	}
	checkLog(t, pool, 2)
}

// TestReplayWithoutPostgres: own events stay in the one file that grows.
func TestReplayWithoutPostgres(t *testing.T) {
	t.Parallel()
	url, dir := pgtest.Database(t), t.TempDir()
	f := &faults{}
	log := open(t, faultyPool(t, url, f))
	own := openSpill(t, dir, "p")
	f.refuse.Store(true)
	for _, e := range many(3) {
		if err := own.Write(e); err != nil {
			t.Fatal(err)
		}
		if _, err := log.Replay(t.Context(), dir, own); !errors.Is(err, audit.ErrUnwritable) {
			t.Errorf("without Postgres: %v", err)
		}
	}
	if got := files(t, dir); len(got) != 1 || own.Empty() {
		t.Errorf("files %v, empty=%v", got, own.Empty())
	}
	f.refuse.Store(false)
	if got, err := log.Replay(t.Context(), dir, own); err != nil || len(got) != 1 || got[0].Events != 3 {
		t.Errorf("afterwards: %v %v", got, err)
	}
	checkLog(t, pgtest.Pool(t, url), 4)
}

// hostileLines are no events of ours. Each would hurt if it were let through.
func hostileLines(t testing.TB) []string {
	t.Helper()
	good := func() string { return strings.TrimSpace(bodies(t, stamped("hostile"))) }
	intent := stamped("forged")
	intent.Phase = audit.Intent
	endless := stamped("the far future")
	endless.TimeUS = 1 << 62
	return []string{
		"", "{}", "null", "[]", "\x00\x00\x00", "\xff\xfe", good() + good(), good()[:80], " " + good(), good() + "\r",
		strings.Replace(good(), "hostile", `\u0000`, 1), strings.Replace(good(), "hostile", `\ud800`, 1),
		strings.Replace(good(), "hostile", "\xff", 1), strings.Replace(good(), `"v":1`, `"v":1.0`, 1),
		strings.TrimSuffix(good(), "}") + `,"id":"00000000-0000-7000-8000-000000000000"}`,
		strings.TrimSuffix(good(), "}") + `,"STATUS":70000}`,
		strings.TrimSuffix(good(), "}") + `,"later":"\u0000"}`,
		strings.TrimSuffix(good(), "}") + `,"later":"\uD800"}`,
		strings.TrimSuffix(good(), "}") + `,"later":"` + strings.Repeat("x", audit.BodyLimit) + `"}`,
		strings.Repeat("x", 1<<20), strings.TrimSpace(bodies(t, intent)), strings.TrimSpace(bodies(t, endless)),
	}
}

// TestReplayHostile: a damaged file blocks neither its good lines nor other
// files; it is kept aside, and said to be.
func TestReplayHostile(t *testing.T) {
	t.Parallel()
	pool, dir := pgtest.New(t), t.TempDir()
	log := open(t, pool)
	newer := strings.TrimSuffix(strings.TrimSpace(bodies(t, stamped("of a newer version"))), "}") + `,"later":[1,{"x":"\u2028"}]}` + "\n"
	largest := stamped("")
	largest.Reason, largest.Error, largest.URL = strings.Repeat(`"`, 500), strings.Repeat(`\`, 500), strings.Repeat(`"`, 1000)
	text := newer + bodies(t, largest)
	lines := hostileLines(t)
	for _, line := range lines {
		text += line + "\n" + bodies(t, stamped("between"))
	}
	leave(t, dir, "spill-a.jsonl", text)
	leave(t, dir, "spill-a.jsonl.bad", "of an earlier time")
	other := bodies(t, stamped("b"))
	leave(t, dir, "spill-b.jsonl", other)
	if err := os.Mkdir(filepath.Join(dir, "spill-c.jsonl"), 0o700); err != nil {
		t.Fatal(err)
	}
	got, err := log.Replay(t.Context(), dir, nil)
	if !errors.Is(err, audit.ErrSpillDamaged) || !strings.Contains(err.Error(), "spill-a.jsonl") || !strings.Contains(err.Error(), "line 3") {
		t.Errorf("a damaged file: %v", err)
	}
	checkReplayed(t, pool, got,
		audit.Replayed{File: "spill-a.jsonl", Events: 2 + len(lines), SHA256: sum(text)},
		audit.Replayed{File: "spill-b.jsonl", Events: 1, SHA256: sum(other)})
	checkLog(t, pool, int64(2+len(lines)+1+2))
	if n := get[int](t, pool, "select body -> 'counters' -> 'damaged' from audit.event where body ->> 'reason' like '%moved aside%'"); n != len(lines) {
		t.Errorf("%d lines reported as damaged, want %d", n, len(lines))
	}
	aside, err := filepath.Glob(filepath.Join(dir, "spill-a.jsonl.*.bad"))
	if err != nil || len(aside) != 1 {
		t.Fatalf("moved to %v %v", aside, err)
	}
	kept, err := os.ReadFile(aside[0])
	if err != nil || string(kept) != text {
		t.Errorf("%d of %d bytes were kept: %v", len(kept), len(text), err)
	}
	if got, err := log.Replay(t.Context(), dir, nil); err != nil || got != nil {
		t.Errorf("once more: %v %v", got, err)
	}
}

// TestReplayLeavesTheLiving: the file of a process that lives is not touched;
// once it is killed, it is replayed.
func TestReplayLeavesTheLiving(t *testing.T) {
	t.Parallel()
	pool, dir := pgtest.New(t), t.TempDir()
	log := open(t, pool)
	cmd := startProcess(t, "live", dir)
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "<nil>\n" {
		t.Fatalf("the other process: %q %v", line, err)
	}
	if got, err := log.Replay(t.Context(), dir, nil); err != nil || got != nil || len(files(t, dir)) != 1 {
		t.Errorf("while it lives: %v %v", got, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	got, err := log.Replay(t.Context(), dir, nil)
	if err != nil || len(got) != 1 || got[0].Events != 1 || len(files(t, dir)) != 0 {
		t.Errorf("once it is gone: %v %v", got, err)
	}
	checkLog(t, pool, 2)
}

// TestSpillOnFullDisk: a write that does not fit is an error and leaves no
// trace; what was acknowledged is replayed.
func TestSpillOnFullDisk(t *testing.T) {
	t.Parallel()
	pool, dir := pgtest.New(t), t.TempDir()
	log := open(t, pool)
	out, err := startProcess(t, "full", dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	acknowledged := strings.Fields(string(out))
	if n := len(acknowledged); n < 9+2 || n > 9+8 {
		t.Fatalf("%d of 27 writes were acknowledged: the disk was never full, or always\n%s", n, out)
	}
	got, err := log.Replay(t.Context(), dir, nil)
	if err != nil || len(got) != 1 || got[0].Torn || got[0].Events != len(acknowledged) {
		t.Errorf("%d acknowledged, replayed %+v %v", len(acknowledged), got, err)
	}
	ids := get[[]string](t, pool, "select array_agg(event_id::text order by seq) from audit.event where phase = 'outcome'")
	if diff := cmp.Diff(acknowledged, ids); diff != "" {
		t.Errorf("in the log (-acknowledged +got):\n%s", diff)
	}
	checkLog(t, pool, int64(len(acknowledged)+1))
}

// TestReplayUnderLoad: three processes replay one directory, again and again,
// while they spill into it and their writers append.
func TestReplayUnderLoad(t *testing.T) {
	t.Parallel()
	pool, dir := pgtest.New(t), t.TempDir()
	const dead, lines, rounds = 8, 300, 12
	var want atomic.Int64
	for i := range dead {
		leave(t, dir, fmt.Sprintf("spill-dead%d.jsonl", i), bodies(t, many(lines)...))
		want.Add(lines)
	}
	var g errgroup.Group
	var mu sync.Mutex
	var all []audit.Replayed
	for p := range 3 {
		log, own := open(t, pool), openSpill(t, dir, fmt.Sprint("p", p))
		for range 3 {
			g.Go(func() error {
				for range 60 {
					if err := log.Append(t.Context(), audit.Event{Type: audit.LeaseLost}); err != nil {
						return err
					}
					want.Add(1)
				}
				return nil
			})
		}
		g.Go(func() error {
			for range rounds {
				if err := own.Write(many(2)...); err != nil {
					return err
				}
				want.Add(2)
				got, err := log.Replay(t.Context(), dir, own)
				if err != nil {
					return err
				}
				mu.Lock()
				all = append(all, got...)
				mu.Unlock()
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	rest, err := open(t, pool).Replay(t.Context(), dir, nil) // skipped while another had its lock
	if err != nil {
		t.Fatal(err)
	}
	all = append(all, rest...)
	for _, r := range all {
		if r.Duplicates != 0 || r.Torn || r.Events == 0 {
			t.Errorf("replayed twice, or torn: %+v", r)
		}
	}
	checkLog(t, pool, want.Load()+int64(len(all)))
	if left := files(t, dir); len(left) != 0 {
		t.Errorf("left behind: %d files", len(left))
	}
}
