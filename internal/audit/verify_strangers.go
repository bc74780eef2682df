package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// listings reads what the column strangers is about: all that has one, and all
// that may have one.
const listings = `select seq, type, body::text, coalesce(array_to_json(strangers)::text, '') from audit.event
	where seq >= $1 and (type = 'inventory.snapshot' or strangers is not null) order by seq`

// findStrangers compares the column strangers with the bodies: it is how a key's
// history finds keys that rotator did not make.
func (v *verification) findStrangers(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, listings, v.start)
	if err != nil {
		return fmt.Errorf("reading listings of keys: %w", err)
	}
	var seq int64
	var kind, body, column string
	_, err = pgx.ForEachRow(rows, []any{&seq, &kind, &body, &column}, func() error {
		want := ""
		if kind == InventorySnapshot {
			want = strangersOf(body)
		}
		if sorted(column) != want {
			v.find(between(seq, seq, FoundColumn, "column strangers of event %d says %s, its body %s: the column was altered, or filled past the log's own function",
				seq, quoted([]byte(column)), quoted([]byte(want))))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading listings of keys: %w", err)
	}
	return nil
}

// ourName is how names end that rotator has given.
var ourName = regexp.MustCompile(`~[0-9a-z]{13}( \(superseded [^)]*\))?$`)

// strangersLimit is how much the column holds; more does not fit an index.
const strangersLimit = 2400

// strangersOf is what audit.strangers says of a listing, as JSON, sorted; empty
// for NULL.
func strangersOf(body string) string {
	var listing struct {
		Keys []map[string]any `json:"keys"`
	}
	if json.Unmarshal([]byte(body), &listing) != nil {
		return ""
	}
	var ids []string
	size := 0
	for _, k := range listing.Keys {
		id, _ := k["id"].(string)
		name, _ := k["name"].(string)
		switch k["state"] {
		case "current", "superseded", "orphan":
			if ourName.MatchString(name) {
				continue
			}
		}
		ids, size = append(ids, id), size+len(id)+8
	}
	if size > strangersLimit {
		return ""
	}
	return list(ids)
}

// sorted is a JSON list with its texts in order.
func sorted(column string) string {
	var ids []string
	if column == "" || json.Unmarshal([]byte(column), &ids) != nil {
		return column
	}
	return list(ids)
}

func list(ids []string) string {
	if len(ids) == 0 {
		return ""
	}
	slices.Sort(ids)
	text, err := json.Marshal(ids)
	if err != nil {
		return strings.Join(ids, " ")
	}
	return string(text)
}
