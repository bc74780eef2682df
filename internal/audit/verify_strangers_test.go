package audit_test

import (
	"fmt"
	"strings"
	"testing"

	"rotator/internal/audit"
	"rotator/internal/postgres/pgtest"
)

// TestStrangersAsPostgresSeesThem: what verification reads from a listing is what
// the column was filled with.
func TestStrangersAsPostgresSeesThem(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	long := strings.Repeat("x", 100)
	var many []string
	for n := range 30 {
		many = append(many, fmt.Sprintf(`{"id":"%s%d","name":"k","state":"unmanaged"}`, long, n))
	}
	const ours = `{"id":"k1","name":"api~d20pv0tf7ap28","state":"current"}`
	for _, keys := range []string{
		`[]`, `null`, `{}`, `"text"`, `[` + ours + `]`,
		`[` + ours + `,{"id":"z","name":"api"},{"id":"a","name":"web","state":"unmanaged"}]`,
		`[{"id":"s","name":"api~d20pv0tf7ap28 (superseded 2026-01-01)","state":"superseded"}]`,
		`[{"id":"s","name":"api~d20pv0tf7ap28 (superseded 2026)-01","state":"superseded"}]`,
		`[{"id":"s","name":"api~d20pv0tf7ap28\n","state":"current"}]`,
		`[{"id":"s","name":"~0000000000000 (superseded \n)","state":"orphan"}]`,
		`[{"id":"s","name":"api~D20PV0TF7AP28","state":"current"}]`,
		`[{"id":"s","name":"api~d20pv0tf7ap28","state":"unmanaged"}]`,
		`[{"id":"s","name":"api~d20pv0tf7ap28"}]`, `[{"id":"ü\"\\","name":""}]`, `[{"id":"<&>"}]`,
		`[` + strings.Join(many[:22], ",") + `]`, `[` + strings.Join(many, ",") + `]`,
	} {
		body := `{"type":"inventory.snapshot","keys":` + keys + `}`
		column := get[string](t, pool, `select coalesce(array_to_json(audit.strangers($1::json))::text, '')`, body)
		if got, want := audit.StrangersOf(body), audit.SortedStrangers(column); got != want {
			t.Errorf("%s: %s, Postgres says %s", keys, got, want)
		}
	}
	if audit.StrangersOf(`{"keys":[{"id":"a"}]}`) == "" {
		t.Error("no stranger is ever found")
	}
}
