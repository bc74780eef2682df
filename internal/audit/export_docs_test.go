package audit_test

import (
	"encoding/csv"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/audit"
	"rotator/internal/postgres/pgtest"
)

// TestExportDocs holds docs/export.md against what is exported: its columns,
// its example lines, and the classes of its types.
func TestExportDocs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/export.md")
	if err != nil {
		t.Fatal(err)
	}
	out, _ := export(t, pgtest.New(t), audit.Exporter{Format: audit.CSV})
	header := strings.Split(strings.TrimSpace(out), ",")
	var columns []string
	_, table, _ := strings.Cut(string(text), "| column | |\n|---|---|\n")
	for row := range strings.Lines(table) {
		if !strings.HasPrefix(row, "| ") {
			break
		}
		for name := range strings.SplitSeq(strings.Split(row, "|")[1], ",") {
			columns = append(columns, strings.Trim(name, " `"))
		}
	}
	if diff := cmp.Diff(header, columns); diff != "" {
		t.Errorf("columns (-exported +documented):\n%s", diff)
	}
	seen := map[string]int{}
	notes := readNotes(t)
	for line := range strings.Lines(string(text)) {
		example, ok := strings.CutPrefix(line, "    ")
		example = strings.TrimSuffix(example, "\n")
		switch {
		case ok && strings.HasPrefix(example, `{"activity_id"`):
			seen["ocsf"]++
			for _, wrong := range notes.wrong([]byte(example)) {
				t.Errorf("%s\nin %s", wrong, example)
			}
		case ok && strings.HasPrefix(example, `{"v"`):
			seen["jsonl"]++
			var e audit.Event
			if err := json.Unmarshal([]byte(example), &e); err != nil {
				t.Fatal(err)
			}
			if again, err := e.Marshal(); err != nil || string(again) != example {
				t.Errorf("an event is %s (%v), documented as %s", again, err, example)
			}
		case ok && strings.HasPrefix(example, "p1,"):
			seen["csv"]++
			cells, err := csv.NewReader(strings.NewReader(example)).Read()
			if err != nil || len(cells) != len(header) {
				t.Errorf("a row of %d cells, want %d (%v): %s", len(cells), len(header), err, example)
			}
		}
	}
	if diff := cmp.Diff(map[string]int{"ocsf": 3, "jsonl": 2, "csv": 2}, seen); diff != "" {
		t.Errorf("examples (-want +got):\n%s", diff)
	}
}
