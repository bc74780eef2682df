package audit_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"rotator/internal/audit"
	"rotator/internal/postgres/pgtest"
)

// fill appends so many events, the last of them with a big body.
func fill(t testing.TB, pool *pgxpool.Pool, events int) {
	t.Helper()
	log := open(t, pool)
	var batch []audit.Event
	for i := range events {
		batch = append(batch, audit.Event{
			Type: audit.APICall, Phase: audit.Result, Call: uuid.Must(uuid.NewV7()).String(), Op: "access_keys.list", Method: "GET",
			URL: "https://sinch.example/v1/projects/p1/accessKeys", Attempt: 1, Status: 200 + 300*(i%2), Outcome: audit.OK, Project: "p1",
			Error: strings.Repeat("é\"", 100),
		})
	}
	if err := log.Append(t.Context(), batch...); err != nil {
		t.Fatal(err)
	}
}

// TestExportJSONL: the exact bodies in their order, over several batches, and
// the digest and the counts that will be logged.
func TestExportJSONL(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	fill(t, pool, 1300)
	for name, c := range map[string]struct {
		filter audit.Filter
		where  string
	}{
		"everything": {audit.Filter{}, "true"},
		"some":       {audit.Filter{Status: "5xx", Project: "p1"}, "http_status = 500"},
		"nothing":    {audit.Filter{Project: "p2"}, "false"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var steps []int64
			out, d := export(t, pool, audit.Exporter{
				Format: audit.JSONL, Filter: c.filter, Disclosure: someID,
				Progress: func(done, total int64) {
					if steps = append(steps, done); total != 1300 {
						t.Errorf("progress towards %d, want 1300", total)
					}
				},
			})
			want := get[string](t, pool, "select coalesce(string_agg(body::text || e'\\n', '' order by seq), '') from audit.event where "+c.where)
			if out != want {
				t.Errorf("%d bytes exported, want these %d", len(out), len(want))
			}
			sum := sha256.Sum256([]byte(want))
			if diff := cmp.Diff(audit.Disclosure{
				ID: someID, What: "export as jsonl", Filter: c.filter.String(),
				Written: audit.Written{Rows: int64(strings.Count(want, "\n")), Bytes: int64(len(want)), SHA256: hex.EncodeToString(sum[:])},
			}, d); diff != "" {
				t.Errorf("disclosure (-want +got):\n%s", diff)
			}
			if name == "everything" && (len(steps) != 3 || steps[2] != 1300) {
				t.Errorf("progress went %v, want three steps to 1300", steps)
			}
		})
	}
}

// TestExportJSONLRefuses: a body that rotator did not write and that would
// look like two events.
func TestExportJSONLRefuses(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	stage(t, pool, rowOf)
	stage(t, pool, `insert into audit.event select * from row_of(0, e'{"v":1,"id":"`+someID+`","t_us":1,\n"type":"pause"}')`)
	s, err := audit.Look(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	if _, err := (audit.Exporter{Snapshot: s, Format: audit.JSONL}).Write(t.Context(), io.Discard); !errors.Is(err, audit.ErrBody) || !strings.Contains(err.Error(), "event 0") {
		t.Errorf("%v, want ErrBody of event 0", err)
	}
}

// TestSnapshotStands: what is written after it was taken, before or while it is
// read, is not in it.
func TestSnapshotStands(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	fill(t, pool, 600)
	s, err := audit.Look(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	fill(t, pool, 10)
	n := 0
	for r, err := range s.Events(t.Context(), audit.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; r.Seq == 0 {
			fill(t, pool, 600)
		}
	}
	if n != 600 || s.Size() != 600 {
		t.Errorf("%d events of a log of %d, want the 600 that were there", n, s.Size())
	}
}

// TestSnapshotAsksAgain: a loop that is left early does not spoil the next.
func TestSnapshotAsksAgain(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	fill(t, pool, 600)
	s, err := audit.Look(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	for range 3 {
		for r, err := range s.Events(t.Context(), audit.Filter{}) {
			if err != nil || r.Seq != 0 {
				t.Fatal(r.Seq, err)
			}
			break
		}
	}
	s.Close(t.Context())
	if n := pool.Stat().AcquiredConns(); n != 0 {
		t.Errorf("%d connections are still busy", n)
	}
}

// slow is a reader that takes its time over every write.
type slow struct{ every time.Duration }

func (s slow) Write(p []byte) (int, error) {
	time.Sleep(s.every)
	return len(p), nil
}

// TestExportOutlastsLimits: neither the connection's statement timeout nor its
// idle timeout ends an export whose reader is slow.
func TestExportOutlastsLimits(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	fill(t, pool, 2000)
	config := pool.Config()
	config.ConnConfig.RuntimeParams["statement_timeout"] = "300"
	config.ConnConfig.RuntimeParams["idle_in_transaction_session_timeout"] = "300"
	config.AfterConnect = nil
	limited, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer limited.Close()
	s, err := audit.Look(t.Context(), limited)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	began := time.Now()
	d, err := audit.Exporter{Snapshot: s, Format: audit.JSONL}.Write(t.Context(), slow{100 * time.Millisecond})
	if err != nil || d.Written.Rows != 2000 {
		t.Errorf("%d rows, %v; want 2000", d.Written.Rows, err)
	}
	if took := time.Since(began); took < 900*time.Millisecond {
		t.Errorf("the export took %s, too short to show anything", took)
	}
}

// full is a disk that fills up.
type full struct{ left int }

var errFull = errors.New("no space left on device")

func (f *full) Write(p []byte) (int, error) {
	if len(p) > f.left {
		n := f.left
		f.left = 0
		return n, errFull
	}
	f.left -= len(p)
	return len(p), nil
}

// TestExportEnds: when the output fails or the context ends, so does the
// export, in every format, and the connection is given back.
func TestExportEnds(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	fill(t, pool, 1500)
	for _, format := range []audit.Format{audit.JSONL, audit.CSV, audit.OCSF} {
		s, err := audit.Look(t.Context(), pool)
		if err != nil {
			t.Fatal(err)
		}
		if d, err := (audit.Exporter{Snapshot: s, Format: format}).Write(t.Context(), &full{100}); !errors.Is(err, errFull) || d.Written.Bytes != 100 {
			t.Errorf("%s on a full disk: %v after %d bytes", format, err, d.Written.Bytes)
		}
		s.Close(t.Context())
		if s, err = audit.Look(t.Context(), pool); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := (audit.Exporter{Snapshot: s, Format: format}).Write(ctx, io.Discard); !errors.Is(err, context.Canceled) {
			t.Errorf("%s under a context that has ended: %v", format, err)
		}
		s.Close(ctx)
	}
	if n := pool.Stat().AcquiredConns(); n != 0 {
		t.Errorf("%d connections are still busy", n)
	}
}

// peak is a writer that notes by how much the heap grows.
type peak struct {
	writes       int
	before, most uint64
}

func (p *peak) Write(b []byte) (int, error) {
	if p.writes++; p.writes%8 == 0 {
		p.most = max(p.most, heap())
	}
	return len(b), nil
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestExportMemory: eight times the events take no more memory. It is not
// parallel: others would be counted.
func TestExportMemory(t *testing.T) { //nolint:paralleltest // see above
	pool := pgtest.New(t)
	grows := func(format audit.Format) int64 {
		s, err := audit.Look(t.Context(), pool)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close(t.Context())
		p := peak{before: heap()}
		if _, err := (audit.Exporter{Snapshot: s, Format: format}).Write(t.Context(), &p); err != nil || p.most == 0 {
			t.Fatal(p.most, err)
		}
		return int64(p.most) - int64(p.before)
	}
	fill(t, pool, 1000)
	few := map[audit.Format]int64{audit.JSONL: grows(audit.JSONL), audit.OCSF: grows(audit.OCSF)}
	for range 7 {
		fill(t, pool, 1000)
	}
	for format, before := range few {
		after := grows(format)
		t.Logf("%s: %d KiB for 1,000 events, %d KiB for 8,000", format, before>>10, after>>10)
		if after > before+2<<20 { // 7,000 events have 8 MiB
			t.Errorf("%s: the heap grew by %d bytes, and by %d with eight times the events", format, before, after)
		}
	}
}

// TestDisclosure: what is logged about an export, and who may log.
func TestDisclosure(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	log := open(t, pool)
	d := audit.Disclosure{
		ID: audit.NewDisclosureID(), What: "export as csv", Filter: "project p1",
		Written: audit.Written{Rows: 7, Bytes: 100, SHA256: strings.Repeat("ab", 32)}, Counters: map[string]int64{"settled_intents": 2},
	}
	if err := log.Append(t.Context(), d.Event()); err != nil {
		t.Fatal(err)
	}
	found, err := audit.Show(t.Context(), pool, d.ID)
	if err != nil {
		t.Fatal(err)
	}
	e := found[0].Event
	if e.Type != audit.AuditExported || e.Reason != "export as csv, sha256 "+d.Written.SHA256 || e.Policy != "project p1" ||
		e.Actor != "schedule@host" || e.DBUser == "" || e.Build == "" {
		t.Errorf("logged as %s", found[0].Body)
	}
	if diff := cmp.Diff(map[string]int64{"rows": 7, "bytes": 100, "settled_intents": 2}, e.Counters); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
}

// TestMayAppend asks as a writer, as an auditor, and on a session that is read
// only, as on a standby.
func TestMayAppend(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	for name, c := range map[string]struct {
		url  string
		sql  string
		want bool
	}{
		"writer":    {pgtest.Writer(t, url), "select 1", true},
		"auditor":   {pgtest.Auditor(t, url), "select 1", false},
		"read only": {pgtest.Writer(t, url), "set default_transaction_read_only to true", false},
	} {
		conn, err := pgx.Connect(t.Context(), c.url)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), c.sql); err != nil {
			t.Fatal(err)
		}
		if may, err := audit.MayAppend(t.Context(), conn); err != nil || may != c.want {
			t.Errorf("%s: may append %v (%v), want %v", name, may, err, c.want)
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	var b bytes.Buffer
	tally := audit.NewTally(&b)
	if _, err := io.WriteString(tally, "abc"); err != nil || b.String() != "abc" {
		t.Errorf("%q %v", b.String(), err)
	}
	if got := tally.Written(1).SHA256; got != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" { // FIPS 180-2, appendix B.1
		t.Errorf("SHA-256 of abc is %s", got)
	}
}
