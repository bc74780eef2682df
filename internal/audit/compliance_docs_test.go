package audit_test

import (
	"flag"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"rotator/internal/postgres/pgtest"
)

var updateDocs = flag.Bool("update", false, "rewrite the answers in docs/compliance.md")

const compliancePage = "../../docs/compliance.md"

// question is a query in the page, and the answer that stands below it.
var question = regexp.MustCompile("(?s)```sql\n(.*?)```\n\n```text\n(.*?)```")

// TestCompliancePage asks every question of docs/compliance.md as the auditor
// and compares the answers: they are those of psql. Each view has one.
func TestCompliancePage(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(compliancePage)
	if err != nil {
		t.Fatal(err)
	}
	dsn := pgtest.Database(t)
	story(t, pgtest.Pool(t, dsn))
	conn, err := pgconn.Connect(t.Context(), pgtest.Auditor(t, dsn))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context()) //nolint:errcheck // it only read
	if _, err := conn.Exec(t.Context(), "SET TimeZone = 'UTC'").ReadAll(); err != nil {
		t.Fatal(err)
	}
	page := question.ReplaceAllStringFunc(string(text), func(block string) string {
		sql := question.FindStringSubmatch(block)[1]
		return "```sql\n" + sql + "```\n\n```text\n" + psql(t, conn, sql) + "```"
	})
	if *updateDocs {
		if err := os.WriteFile(compliancePage, []byte(page), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if diff := cmp.Diff(page, string(text)); diff != "" {
		t.Errorf("the page's answers are not those of the views (-answer +page); go test ./internal/audit -run CompliancePage -update\n%s", diff)
	}
	for _, view := range []string{"events", "api_calls", "open_intents", "key_history", "keys_on", "overdue_keys", "schedule_gaps", "status_codes", "compromise_response"} {
		if !regexp.MustCompile(`FROM audit\.` + view + `\b`).MatchString(page) {
			t.Errorf("no question asks audit.%s", view)
		}
	}
	if n := strings.Count(page, "\n## ") - 2; n != 9 { // beside getting in, and what SQL cannot prove
		t.Errorf("%d questions, want nine", n)
	}
	if sql, answered := strings.Count(page, "```sql"), len(question.FindAllString(page, -1)); sql != answered {
		t.Errorf("%d queries, %d answers", sql, answered)
	}
}

// psql is a query's answer as psql prints it.
func psql(t *testing.T, conn *pgconn.PgConn, sql string) string {
	t.Helper()
	results, err := conn.Exec(t.Context(), sql).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	answer := results[0]
	var widths []int
	var right []bool
	lines := [][]string{nil}
	for _, f := range answer.FieldDescriptions {
		lines[0] = append(lines[0], f.Name)
		widths = append(widths, utf8.RuneCountInString(f.Name))
		switch f.DataTypeOID {
		case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.NumericOID, pgtype.Float8OID:
			right = append(right, true)
		default:
			right = append(right, false)
		}
	}
	for _, row := range answer.Rows {
		var line []string
		for i, value := range row {
			line = append(line, string(value))
			widths[i] = max(widths[i], utf8.RuneCountInString(string(value)))
		}
		lines = append(lines, line)
	}
	return aligned(lines, widths, right)
}

func aligned(lines [][]string, widths []int, right []bool) string {
	var text strings.Builder
	for n, line := range lines {
		var cells []string
		for i, value := range line {
			left := 0
			pad := widths[i] - utf8.RuneCountInString(value)
			switch {
			case n == 0:
				left = pad / 2
			case right[i]:
				left = pad
			}
			cells = append(cells, " "+strings.Repeat(" ", left)+value+strings.Repeat(" ", pad-left)+" ")
		}
		text.WriteString(strings.TrimRight(strings.Join(cells, "|"), " ") + "\n")
		if n == 0 {
			for i, width := range widths {
				if i > 0 {
					text.WriteString("+")
				}
				text.WriteString(strings.Repeat("-", width+2))
			}
			text.WriteString("\n")
		}
	}
	rows := "(1 row)"
	if len(lines) != 2 {
		rows = "(" + strconv.Itoa(len(lines)-1) + " rows)"
	}
	return text.String() + rows + "\n"
}
