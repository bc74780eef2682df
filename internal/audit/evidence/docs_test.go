package evidence_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/audit/evidence"
	"rotator/internal/postgres/pgtest"
)

var update = flag.Bool("update", false, "write docs/report.md's list of tables")

const (
	docsPath  = "../../../docs/report.md"
	docsBegin = "<!-- tables:begin -->\n"
	docsEnd   = "<!-- tables:end -->"
)

// TestDocs compares the list of tables in docs/report.md with the report.
// `go test ./internal/audit/evidence -run TestDocs -update` writes it.
func TestDocs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(docsPath)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), docsBegin)
	got, after, closed := strings.Cut(rest, docsEnd)
	if !found || !closed {
		t.Fatalf("%s lacks the markers of its list of tables", docsPath)
	}
	want := docsTables(collect(t, pgtest.New(t)))
	if *update {
		if err := os.WriteFile(docsPath, []byte(before+docsBegin+want+docsEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the list of tables (-want +got); `go test ./internal/audit/evidence -run TestDocs -update` writes it:\n%s", diff)
	}
}

func docsTables(pack *evidence.Pack) string {
	var b strings.Builder
	section := ""
	for _, table := range pack.Tables {
		if table.Section != section {
			section = table.Section
			fmt.Fprintf(&b, "\n### %s\n", section)
		}
		var names []string
		for _, c := range table.Columns {
			names = append(names, "`"+c.Name+"`")
		}
		fmt.Fprintf(&b, "\n**`%s`**: %s. %s\n\n%s\n", table.ID, table.Title, table.About, strings.Join(names, ", "))
	}
	return b.String() + "\n"
}
