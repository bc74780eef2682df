package evidence_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"rotator/internal/audit/evidence"
)

// checkStatement runs the SQL that a table shows again, as psql would: its
// variables set, and put in as literals. It must give the rows that are shown.
func checkStatement(t *testing.T, asker *pgxpool.Pool, pack *evidence.Pack, table evidence.Table) {
	t.Helper()
	again, err := asker.Query(t.Context(), asPSQL(t, table.Statement()), pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatal(err)
	}
	fields := []string{}
	for _, f := range again.FieldDescriptions() {
		fields = append(fields, f.Name)
	}
	got, err := pgx.CollectRows(again, func(row pgx.CollectableRow) (string, error) {
		values, err := row.Values()
		return fmt.Sprint(values...), err
	})
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(got)) != table.RowCount || len(got) != len(rows(t, pack, table.ID)) {
		t.Errorf("%d rows now, the report says %d and shows %d", len(got), table.RowCount, len(rows(t, pack, table.ID)))
	}
	names := []string{}
	for _, c := range table.Columns {
		names = append(names, c.Name)
	}
	if diff := cmp.Diff(names, fields); diff != "" {
		t.Errorf("columns (-shown +of the SQL):\n%s", diff)
	}
	if slices.Sort(got); len(slices.Compact(slices.Clone(got))) != len(got) {
		t.Errorf("a row stands twice: %q", got)
	}
}

// asPSQL puts \set variables in where :'name' stands.
func asPSQL(t *testing.T, script string) string {
	t.Helper()
	values := map[string]string{}
	var sql strings.Builder
	for line := range strings.Lines(script) {
		words := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 3)
		if words[0] == `\set` {
			values[words[1]] = words[2]
			continue
		}
		sql.WriteString(line)
	}
	return regexp.MustCompile(`:'([a-z_]+)'`).ReplaceAllStringFunc(sql.String(), func(form string) string {
		value, ok := values[strings.Trim(form, ":'")]
		if !ok {
			t.Errorf("the variable %s is not set", form)
		}
		return value
	})
}
