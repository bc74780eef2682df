package evidence_test

import (
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/audit/evidence"
)

// gauge is a file that notes how much memory is in use while it is written.
type gauge struct{ bytes, most uint64 }

func (g *gauge) Write(p []byte) (int, error) {
	if g.bytes%(1<<20) < uint64(len(p)) { // about once a megabyte
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		g.most = max(g.most, m.HeapAlloc)
	}
	g.bytes += uint64(len(p))
	return len(p), nil
}

// TestMemory writes fifty times as many rows in the same memory.
func TestMemory(t *testing.T) { //nolint:paralleltest // it measures the memory of the process
	for name, write := range map[string]func(*evidence.Pack, io.Writer) error{
		"html": (*evidence.Pack).WriteHTML, "json": (*evidence.Pack).WriteJSON, "csv": (*evidence.Pack).WriteCSV,
	} {
		var used [2]gauge
		for i, rows := range []int{1000, 50_000} {
			pack, err := evidence.Synthetic(t.TempDir(), rows)
			if err != nil {
				t.Fatal(err)
			}
			if err := write(pack, &used[i]); err != nil {
				t.Fatal(err)
			}
			if err := pack.Close(); err != nil {
				t.Error(err)
			}
		}
		small, large := used[0], used[1]
		t.Logf("%s: %d bytes in %d KiB, %d bytes in %d KiB", name, small.bytes, small.most>>10, large.bytes, large.most>>10)
		if large.most > small.most+2<<20 {
			t.Errorf("%s: %d bytes were written in %d KiB, %d bytes needed %d KiB", name, small.bytes, small.most>>10, large.bytes, large.most>>10)
		}
	}
}

// TestLeftovers: rows leave nothing behind, not even when the process dies.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pack, err := evidence.Synthetic(dir, 10)
	if err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || runtime.GOOS != "windows" && len(left) > 0 {
		t.Errorf("while the report is open, there is %v, %v", left, err)
	}
	if err := pack.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("afterwards there is %v, %v", left, err)
	}
}

// TestDamagedRows: rows that cannot be read back are an error, never a shorter
// table.
func TestDamagedRows(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(*evidence.Pack, io.Writer) error{
		"html": (*evidence.Pack).WriteHTML, "json": (*evidence.Pack).WriteJSON, "csv": (*evidence.Pack).WriteCSV,
	} {
		const last = `["key-999","2026-01-01T00:00:00.000000Z",999,false,"older than its limit"]` + "\n"
		for _, cut := range []int64{7, 800, int64(len(last))} { // within a row, several, exactly one
			pack, err := evidence.Synthetic(t.TempDir(), 1000)
			if err != nil {
				t.Fatal(err)
			}
			if err := pack.CutShort(cut); err != nil {
				t.Fatal(err)
			}
			if err := write(pack, io.Discard); err == nil || !strings.Contains(err.Error(), "reading the report's rows back") {
				t.Errorf("%s of rows that lack their last %d bytes: %v", name, cut, err)
			}
			if err := pack.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestCell(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want any }{
		{nil, nil},
		{"x", "x"},
		{true, true},
		{int64(7), int64(7)},
		{int32(7), int64(7)},
		{int16(7), int64(7)},
		{time.Date(2026, 1, 2, 3, 4, 5, 678900, time.FixedZone("", 3600)), "2026-01-02T02:04:05.000678Z"},
	} {
		if got, err := evidence.Cell(c.in); err != nil || got != c.want {
			t.Errorf("%v is %v, %v; want %v", c.in, got, err, c.want)
		}
	}
	if _, err := evidence.Cell([]byte("x")); err == nil {
		t.Error("bytes have a form")
	}
}

func TestBind(t *testing.T) {
	t.Parallel()
	values := map[string]string{"from": "a", "to": "b", "unused": "c"}
	sql, args, used, err := evidence.Bind(values, `SELECT :'to'::text, :'from'::text, :'to'::timestamptz, '12:30', x::y`)
	if err != nil {
		t.Fatal(err)
	}
	if want := `SELECT $1::text, $2::text, $1::timestamptz, '12:30', x::y`; sql != want {
		t.Errorf("bound: %s, want %s", sql, want)
	}
	if diff := cmp.Diff([]any{"b", "a"}, args); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]evidence.Parameter{{Name: "from", Value: "a"}, {Name: "to", Value: "b"}}, used); diff != "" {
		t.Errorf("parameters (-want +got):\n%s", diff)
	}
	if _, _, _, err := evidence.Bind(values, `SELECT :'nobody'`); err == nil {
		t.Error("a variable without a value was bound")
	}
}
