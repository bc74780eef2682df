package evidence_test

import (
	"archive/zip"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/audit/evidence"
	"rotator/internal/postgres/pgtest"
)

// checkJSON reads the report as a program would, by its documented shape.
func checkJSON(t *testing.T, pack *evidence.Pack) {
	t.Helper()
	var out bytes.Buffer
	if err := pack.WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Format   string
		Version  int
		Header   evidence.Header
		Criteria []evidence.Criterion
		Tables   []struct {
			evidence.Table

			Rows []json.RawMessage
		}
	}
	in := json.NewDecoder(&out)
	in.DisallowUnknownFields()
	if err := in.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got.Format != "rotator-audit-report" || got.Version != 1 {
		t.Errorf("format %q version %d", got.Format, got.Version)
	}
	if diff := cmp.Diff(pack.Header, got.Header); diff != "" {
		t.Errorf("header (-pack +json):\n%s", diff)
	}
	if len(got.Tables) != len(pack.Tables) || len(got.Criteria) != len(pack.Criteria) {
		t.Fatalf("%d tables, %d criteria", len(got.Tables), len(got.Criteria))
	}
	for i, table := range pack.Tables {
		j := got.Tables[i]
		if int64(len(j.Rows)) != table.RowCount || j.SQL != table.SQL || j.ID != table.ID {
			t.Errorf("%s has %d rows, want %d", j.ID, len(j.Rows), table.RowCount)
		}
		if len(j.Rows) > 0 {
			checkRow(t, table, j.Rows[0])
		}
	}
	i := slices.IndexFunc(got.Tables[0].Rows, func(row json.RawMessage) bool { return strings.Contains(string(row), `"key_id":"late"`) })
	if i < 0 {
		t.Fatal("the population lacks a key")
	}
	late := got.Tables[0].Rows[i]
	var row map[string]any
	if err := json.Unmarshal(late, &row); err != nil || row["credential"] != hostile || row["age_s"] != 14400.0 || row["at_end"] != true || row["deleted_at"] != nil ||
		row["created_at"] != "2026-01-31T20:00:00.000000Z" {
		t.Errorf("the latest key is %s, %v", late, err)
	}
}

// checkRow compares a row's fields with the columns that are announced.
func checkRow(t *testing.T, table evidence.Table, row json.RawMessage) {
	t.Helper()
	var fields []string
	in := json.NewDecoder(bytes.NewReader(row))
	for depth := 0; ; {
		token, err := in.Token()
		if err != nil {
			break
		}
		switch d := token.(type) {
		case json.Delim:
			depth += map[json.Delim]int{'{': 1, '}': -1}[d]
		case string:
			if depth == 1 && len(fields) < len(table.Columns) {
				fields = append(fields, d)
				_, _ = in.Token() // its value
			}
		}
	}
	var want []string
	for _, c := range table.Columns {
		want = append(want, c.Name)
	}
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Errorf("%s: fields of a row (-columns +json):\n%s", table.ID, diff)
	}
}

// checkCSV opens the archive as a spreadsheet user would.
func checkCSV(t *testing.T, pack *evidence.Pack) {
	t.Helper()
	var out bytes.Buffer
	if err := pack.WriteCSV(&out); err != nil {
		t.Fatal(err)
	}
	files := unzip(t, out.Bytes())
	if files["checkpoint.txt"] != pack.Header.Checkpoint.Note {
		t.Errorf("checkpoint.txt is %q", files["checkpoint.txt"])
	}
	list := sheet(t, files, "tables.csv")
	for i, table := range pack.Tables {
		got := sheet(t, files, table.ID+".csv")
		if int64(len(got)-1) != table.RowCount || len(got[0]) != len(table.Columns) {
			t.Errorf("%s.csv has %d rows of %d columns, want %d of %d", table.ID, len(got)-1, len(got[0]), table.RowCount, len(table.Columns))
		}
		if line := list[i+1]; line[0] != table.ID || line[4] != strconv.FormatInt(table.RowCount, 10) || line[8] != table.SQL {
			t.Errorf("tables.csv says of %s: %q", table.ID, line)
		}
		for _, row := range got[1:] {
			for i, cell := range row {
				if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r") && table.Columns[i].Kind == evidence.Text {
					t.Errorf("%s.csv: a spreadsheet would run %q", table.ID, cell)
				}
			}
		}
	}
	if !strings.Contains(files["rotations.csv"], `'=cmd|`) {
		t.Errorf("the hostile actor is missing from rotations.csv")
	}
	if header := sheet(t, files, "header.csv"); !slices.ContainsFunc(header, func(r []string) bool { return r[0] == "log.size" }) {
		t.Errorf("header.csv is %q", header)
	}
	if len(sheet(t, files, "criteria.csv")) != len(pack.Criteria)+1 {
		t.Errorf("criteria.csv is %q", files["criteria.csv"])
	}
}

func unzip(t *testing.T, archive []byte) map[string]string {
	t.Helper()
	in, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, f := range in.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err = errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
		files[f.Name] = string(text)
	}
	return files
}

func sheet(t *testing.T, files map[string]string, name string) [][]string {
	t.Helper()
	text, ok := files[name]
	if !ok {
		t.Fatalf("there is no file %s", name)
	}
	lines, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return lines
}

// TestFrameworks: a report names each criterion of what is asked for, every
// table that one names exists, and every table but a few is named by one.
func TestFrameworks(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	for framework, want := range map[evidence.Framework][]string{
		evidence.All: {
			"PCI DSS v4.0.1 8.6.3", "PCI DSS v4.0.1 10.2", "PCI DSS v4.0.1 10.3", "PCI DSS v4.0.1 10.5",
			"SOC 2 (Trust Services Criteria) CC6.1", "SOC 2 (Trust Services Criteria) CC7.2",
			"ISO/IEC 27001:2022, Annex A A.5.17", "ISO/IEC 27001:2022, Annex A A.8.15", "ISO/IEC 27001:2022, Annex A A.8.24",
			"NIST SP 800-53 Rev. 5 AU-9", "NIST SP 800-53 Rev. 5 AU-10", "NIST SP 800-53 Rev. 5 IA-5",
		},
		evidence.PCI:      {"PCI DSS v4.0.1 8.6.3", "PCI DSS v4.0.1 10.2", "PCI DSS v4.0.1 10.3", "PCI DSS v4.0.1 10.5"},
		evidence.SOC2:     {"SOC 2 (Trust Services Criteria) CC6.1", "SOC 2 (Trust Services Criteria) CC7.2"},
		evidence.ISO27001: {"ISO/IEC 27001:2022, Annex A A.5.17", "ISO/IEC 27001:2022, Annex A A.8.15", "ISO/IEC 27001:2022, Annex A A.8.24"},
	} {
		pack := collect(t, pool, func(c *evidence.Config) { c.Framework = framework })
		var got []string
		named := map[string]bool{}
		for _, c := range pack.Criteria {
			got = append(got, c.Framework+" "+c.ID)
			for _, id := range c.Tables {
				named[id] = true
				if _, ok := pack.Table(id); !ok {
					t.Errorf("%s %s names a table %s that there is not", c.Framework, c.ID, id)
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", framework, diff)
		}
		for _, table := range pack.Tables {
			if framework == evidence.All && !named[table.ID] && table.ID != "lost_leases" {
				t.Errorf("no criterion names the table %s", table.ID)
			}
		}
	}
}

// broken is a file on a full disk.
type broken struct{ left int }

var errFull = errors.New("no space left on device")

func (b *broken) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

// checkFullDisk: a report that cannot be written is an error that says so, at
// the beginning as in the middle.
func checkFullDisk(t *testing.T, pack *evidence.Pack) {
	t.Helper()
	for name, write := range map[string]func(io.Writer) error{"html": pack.WriteHTML, "json": pack.WriteJSON, "csv": pack.WriteCSV} {
		for _, room := range []int{0, 100, 10000} {
			if err := write(&broken{room}); !errors.Is(err, errFull) || !strings.Contains(fmt.Sprint(err), "writing the report as") {
				t.Errorf("%s into %d bytes: %v", name, room, err)
			}
		}
	}
}
