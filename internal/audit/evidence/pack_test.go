package evidence_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"rotator/internal/audit/evidence"
	"rotator/internal/postgres/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// auditor is a pool of who may read the log, and nothing else.
func auditor(t *testing.T, pool *pgxpool.Pool) *pgxpool.Pool {
	t.Helper()
	return pgtest.Pool(t, pgtest.Auditor(t, pool.Config().ConnString()))
}

// collect makes January's report, as an auditor.
func collect(t *testing.T, pool *pgxpool.Pool, change ...func(*evidence.Config)) *evidence.Pack {
	t.Helper()
	cfg := evidence.Config{
		Pool: auditor(t, pool), From: from, To: to, NoArchive: "the test has none", Actor: "auditor@desk", Host: "desk", Build: "v1.2.3",
		LongestGap: 25 * time.Hour, LongestUnlisted: 48 * time.Hour, TempDir: t.TempDir(),
	}
	for _, c := range change {
		c(&cfg)
	}
	pack, err := evidence.Collect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pack.Close(); err != nil {
			t.Error(err)
		}
	})
	return pack
}

// rows returns some columns of a table, a line a row; all without names.
func rows(t *testing.T, pack *evidence.Pack, id string, names ...string) []string {
	t.Helper()
	table, ok := pack.Table(id)
	if !ok {
		t.Fatalf("there is no table %s", id)
	}
	if len(names) == 0 {
		for _, c := range table.Columns {
			names = append(names, c.Name)
		}
	}
	out := []string{}
	for row, err := range pack.Rows(table) {
		if err != nil {
			t.Fatal(err)
		}
		var line []string
		for _, name := range names {
			i := slices.IndexFunc(table.Columns, func(c evidence.Column) bool { return c.Name == name })
			if i < 0 {
				t.Fatalf("%s has no column %s", id, name)
			}
			line = append(line, show(row[i]))
		}
		out = append(out, strings.Join(line, " | "))
	}
	return out
}

// show is a cell for people who write tests.
func show(v any) string {
	if v == nil {
		return "-"
	}
	text := strings.TrimSuffix(fmt.Sprint(v), ":00.000000Z")
	return strings.TrimSuffix(text, "T00:00")
}

// TestJanuary makes a report of the month, with a checkpoint that lacks its
// last events, and looks at it in every way.
func TestJanuary(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	january(t, pool)
	n, short := newNotary(t), head(t, pool)
	short.Size -= 30
	n.anchor(t, short)
	pack := collect(t, pool, n.archive(t))
	pack.Header.Logged = "Its making is not in the log."
	for name, look := range map[string]func(*testing.T, *evidence.Pack){
		"tables": checkTables, "json": checkJSON, "csv": checkCSV, "html": checkHTML, "html alone": checkAlone, "full disk": checkFullDisk,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			look(t, pack)
		})
	}
}

// checkTables compares the tables with what the story says.
func checkTables(t *testing.T, pack *evidence.Pack) {
	t.Helper()
	for id, c := range answers {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			table, _ := pack.Table(id)
			if diff := cmp.Diff(c.want, rows(t, pack, id, strings.Fields(c.columns)...)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.columns, diff)
			}
			if table.RowCount != int64(len(c.want)) || table.Exceptions != c.exceptions {
				t.Errorf("%d rows, %d exceptions; want %d and %d", table.RowCount, table.Exceptions, len(c.want), c.exceptions)
			}
		})
	}
	for _, table := range pack.Tables {
		if _, asked := answers[table.ID]; !asked {
			t.Errorf("nobody looks at the table %s", table.ID)
		}
	}
}

// TestFebruary: a report of January that is made in February says the same,
// but for a key that only February's lists show, and so do its statements.
func TestFebruary(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	s := january(t, pool)
	before := collect(t, pool)
	s.february()
	after := collect(t, pool)
	checkLater(t, before, after)
	asker := auditor(t, pool)
	for _, table := range after.Tables {
		t.Run(table.ID, func(t *testing.T) {
			t.Parallel()
			checkStatement(t, asker, after, table)
		})
	}
}

func checkLater(t *testing.T, before, after *evidence.Pack) {
	t.Helper()
	want := map[string][]string{
		"population":  {"p2 | found | found | found | found later | true | false | 2026-01-31T21:00 | - | - | - | 10800 | false | false | - | - | - | - | -"},
		"differences": {"p2 | found | found | not made by rotator | true | no event of rotator tells of its making: somebody else made it | 2026-01-31T21:00 | - | - | - | 2026-01-01T06:00 | 2026-01-31T06:00 | 0 | 0"},
	}
	for _, table := range before.Tables {
		was, is := rows(t, before, table.ID), rows(t, after, table.ID)
		lost := slices.DeleteFunc(slices.Clone(was), func(r string) bool { return slices.Contains(is, r) })
		added := slices.DeleteFunc(slices.Clone(is), func(r string) bool { return slices.Contains(was, r) })
		if diff := cmp.Diff(want[table.ID], added); len(lost) > 0 || len(want[table.ID])+len(added) > 0 && diff != "" {
			t.Errorf("%s has lost %q, and added (-want +got):\n%s", table.ID, lost, diff)
		}
	}
}

// TestPeriods refuses what is no period, and cuts one that is not over.
func TestPeriods(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	for _, c := range []struct{ from, to time.Time }{{to, from}, {from, from}, {time.Now().Add(time.Hour), time.Time{}}} {
		pack, err := evidence.Collect(t.Context(), evidence.Config{Pool: pool, From: c.from, To: c.to, TempDir: t.TempDir()})
		if err == nil {
			_ = pack.Close()
		}
		if got := fmt.Sprint(err); !strings.Contains(got, evidence.ErrPeriod.Error()) {
			t.Errorf("%s to %s: %v, want ErrPeriod", c.from, c.to, err)
		}
	}
	pack := collect(t, pool, func(c *evidence.Config) { c.To = time.Now().Add(time.Hour) })
	if h := pack.Header; !h.To.Equal(h.GeneratedAt) {
		t.Errorf("a period that is not over ends %s, want now, %s", h.To, h.GeneratedAt)
	}
	if h := pack.Header; h.Log.Size != 0 || h.Log.FirstAt != nil || !strings.Contains(strings.Join(h.Warnings, " "), "The log is empty") {
		t.Errorf("the header of an empty log says %+v", h)
	}
	for _, table := range pack.Tables {
		if alone := slices.Contains([]string{"age_distribution", "schedule_gaps"}, table.ID); table.RowCount > 0 && !alone {
			t.Errorf("%s has %d rows, of an empty log", table.ID, table.RowCount)
		}
	}
}
