package audit_test

import (
	"encoding/csv"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"rotator/internal/audit"
	"rotator/internal/postgres/pgtest"
)

// daysAgo is noon, so many days ago, so that days are whole to within one.
func daysAgo(days float64) time.Time {
	return time.Now().UTC().Add(-time.Duration(days * 24 * float64(time.Hour))).Truncate(time.Second)
}

const madeBy = "0123456789abc" // a rotation

// population writes keys in every state: `old` was adopted and replaced by
// `cur`; p2 has an unmanaged key, one that is past its limit, one that was
// superseded, an orphan, one that is gone without a word, and one with a
// hostile name. p3 is known from an event alone, and has no limit.
func population(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	var now time.Time
	log := open(t, pool, func(c *audit.Config) { c.Now = func() time.Time { return now } })
	at := func(days float64, events ...audit.Event) {
		t.Helper()
		now = daysAgo(days)
		if err := log.Append(t.Context(), events...); err != nil {
			t.Fatal(err)
		}
	}
	listed := func(project string, limit int64, keys ...audit.Key) audit.Event {
		return audit.Event{Type: audit.InventorySnapshot, Project: project, Complete: new(true), InScope: new(true), MaxAgeS: limit * 86400, Keys: keys}
	}
	of := func(kind, key string) audit.Event {
		return audit.Event{Type: kind, Project: "p1", Credential: "billing-api", Key: key, Rotation: madeBy, Replaces: "old", Trigger: "schedule"}
	}
	planned := of(audit.RotationPlanned, "")
	planned.Trigger, planned.Actor = "compromised", "alice@desk"
	created, published, gone := of(audit.RotationCreated, "cur"), of(audit.RotationPublished, "cur"), of(audit.KeyRetired, "old")
	created.DisplayName, created.KeyCreatedAt = "billing-api~"+madeBy, daysAgo(20)
	published.VaultPath = "secret/data/sinch/p1/billing-api"
	superseded := of(audit.KeySuperseded, "old")
	gone.Replaces = ""

	at(40, listed("p1", 30, audit.Key{ID: "old", Name: "billing-api", Created: daysAgo(45), State: "adopted"}),
		listed("p2", 90, audit.Key{ID: "lost", Name: "lost", Created: daysAgo(50), State: "current"}))
	at(20, planned, created, published, superseded)
	at(10, gone)
	at(5, listed("p1", 60, audit.Key{ID: "cur", Name: "billing-api~" + madeBy, Created: daysAgo(20), State: "current"})) // the limit was 30 when old went
	at(1, listed("p2", 90,
		audit.Key{ID: "human", Name: "break-glass", Created: daysAgo(400), State: "unmanaged"},
		audit.Key{ID: "late", Name: "late, \"quoted\"", Created: daysAgo(100.5), State: "current"},
		audit.Key{ID: "second", Name: "second", Created: daysAgo(30), State: "superseded"},
		audit.Key{ID: "stray", Name: "stray~2222222222222", Created: daysAgo(2), State: "orphan"},
		audit.Key{ID: "evil", Name: `=HYPERLINK("http://x","y")`, Created: daysAgo(3), State: "current"},
	), audit.Event{Type: audit.RotationCreated, Project: "p3", Credential: "+sms", Key: "fresh", KeyCreatedAt: daysAgo(1), Run: uuid.NewString()})
}

// report exports as CSV and returns the rows by key id, each by its columns.
func report(t *testing.T, pool *pgxpool.Pool, f audit.Filter, disclosure string) map[string]map[string]string {
	t.Helper()
	out, d := export(t, pool, audit.Exporter{Format: audit.CSV, Filter: f, Disclosure: disclosure})
	if strings.Count(out, "\n") != strings.Count(out, "\r\n") {
		t.Error("a line does not end as RFC 4180 says")
	}
	all, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	const header = "project_id,credential,key_id,display_name,state,created_at,published_at,superseded_at,deleted_at,replaced_by," +
		"age_days,max_age_days,overdue,rotation_id,trigger,actor,vault_path,export_event"
	if got := strings.Join(all[0], ","); got != header {
		t.Errorf("header is %s, want %s", got, header)
	}
	if d.Written.Rows != int64(len(all)-1) {
		t.Errorf("%d rows counted, %d written", d.Written.Rows, len(all)-1)
	}
	rows := map[string]map[string]string{}
	for _, cells := range all[1:] {
		row := map[string]string{}
		for i, c := range cells {
			if c != "" {
				row[all[0][i]] = c
			}
		}
		rows[row["key_id"]] = row
	}
	return rows
}

func TestCSV(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	population(t, pool)
	s := func(days float64) string { return daysAgo(days).Format(time.RFC3339) }
	want := map[string]map[string]string{
		"old": {
			"project_id": "p1", "credential": "billing-api", "key_id": "old", "display_name": "billing-api", "state": "deleted",
			"created_at": s(45), "superseded_at": s(20), "deleted_at": s(10), "replaced_by": "cur", "age_days": "35", "max_age_days": "30", "overdue": "true",
			"rotation_id": madeBy, "trigger": "compromised", "actor": "alice@desk",
		},
		"cur": {
			"project_id": "p1", "credential": "billing-api", "key_id": "cur", "display_name": "billing-api~" + madeBy, "state": "current",
			"created_at": s(20), "published_at": s(20), "age_days": "20", "max_age_days": "60", "overdue": "false",
			"rotation_id": madeBy, "trigger": "compromised", "actor": "alice@desk", "vault_path": "secret/data/sinch/p1/billing-api",
		},
		"lost":   {"project_id": "p2", "credential": "lost", "key_id": "lost", "display_name": "lost", "state": "missing", "created_at": s(50), "max_age_days": "90"},
		"human":  {"project_id": "p2", "credential": "break-glass", "key_id": "human", "display_name": "break-glass", "state": "unmanaged", "created_at": s(400), "age_days": "400"},
		"late":   {"project_id": "p2", "credential": `late, "quoted"`, "key_id": "late", "display_name": `late, "quoted"`, "state": "current", "created_at": s(100.5), "age_days": "100.5", "max_age_days": "90", "overdue": "true"},
		"second": {"project_id": "p2", "credential": "second", "key_id": "second", "display_name": "second", "state": "superseded", "created_at": s(30), "age_days": "30", "max_age_days": "90", "overdue": "false"},
		"stray":  {"project_id": "p2", "credential": "stray", "key_id": "stray", "display_name": "stray~2222222222222", "state": "orphan", "created_at": s(2), "age_days": "2", "max_age_days": "90", "overdue": "false"},
		"evil": {
			"project_id": "p2", "credential": `'=HYPERLINK("http://x","y")`, "key_id": "evil", "display_name": `'=HYPERLINK("http://x","y")`, "state": "current",
			"created_at": s(3), "age_days": "3", "max_age_days": "90", "overdue": "false",
		},
		"fresh": {"project_id": "p3", "credential": "'+sms", "key_id": "fresh", "state": "created", "created_at": s(1), "age_days": "1"},
	}
	for _, row := range want {
		row["export_event"] = someID
	}
	got := report(t, pool, audit.Filter{}, someID)
	near(t, want, got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for key, row := range report(t, pool, audit.Filter{}, "") {
		if row["export_event"] != "not logged" {
			t.Errorf("%s: export_event is %q in an export that is not logged", key, row["export_event"])
		}
	}
}

// near lets times be a few seconds off: the log was written before the test
// asked what time it is.
func near(t *testing.T, want, got map[string]map[string]string) {
	t.Helper()
	for key, row := range want {
		for column, text := range row {
			a, err1 := time.Parse(time.RFC3339, text)
			b, err2 := time.Parse(time.RFC3339Nano, got[key][column])
			if err1 == nil && err2 == nil && a.Sub(b).Abs() < 30*time.Second {
				got[key][column] = text
			}
		}
	}
}

func TestCSVFilters(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	population(t, pool)
	everything := []string{"cur", "evil", "fresh", "human", "late", "lost", "old", "second", "stray"}
	for name, c := range map[string]struct {
		filter audit.Filter
		want   []string
	}{
		"everything":  {audit.Filter{}, everything},
		"project":     {audit.Filter{Project: "p1"}, []string{"cur", "old"}},
		"credential":  {audit.Filter{Credential: "billing-api"}, []string{"cur", "old"}},
		"key":         {audit.Filter{Key: "late"}, []string{"late"}},
		"rotation":    {audit.Filter{Rotation: madeBy}, []string{"cur", "old"}},
		"actor":       {audit.Filter{Actor: "alice@desk"}, []string{"cur", "old"}},
		"no actor":    {audit.Filter{Actor: "bob@desk"}, nil},
		"combined":    {audit.Filter{Project: "p1", Key: "late"}, nil},
		"since":       {audit.Filter{Since: daysAgo(9)}, []string{"cur", "evil", "fresh", "human", "late", "lost", "second", "stray"}},
		"until":       {audit.Filter{Until: daysAgo(40)}, []string{"human", "late", "lost", "old"}},
		"a period":    {audit.Filter{Since: daysAgo(9), Until: daysAgo(40 - 1)}, []string{"human", "late", "lost"}},
		"in between":  {audit.Filter{Since: daysAgo(15), Until: daysAgo(14)}, []string{"cur", "human", "late", "lost", "old", "second"}},
		"not SQL":     {audit.Filter{Project: "' or true --"}, nil},
		"before time": {audit.Filter{Until: daysAgo(5000)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := slices.Sorted(maps.Keys(report(t, pool, c.filter, someID)))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestCSVRefuses what it cannot honour instead of leaving it out.
func TestCSVRefuses(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	for field, f := range map[string]audit.Filter{
		"run": {Run: someID}, "type": {Type: audit.KeyRetired}, "op": {Operation: "x"}, "status": {Status: "429"}, "outcome": {Outcome: "ok"},
	} {
		if unfit := audit.CSV.Unfit(f); !slices.Equal(unfit, []string{field}) {
			t.Errorf("unfit is %v, want %s", unfit, field)
		}
		if unfit := audit.OCSF.Unfit(f); unfit != nil {
			t.Errorf("%v is unfit for ocsf", unfit)
		}
		s, err := audit.Look(t.Context(), pool)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (audit.Exporter{Snapshot: s, Format: audit.CSV, Filter: f}).Write(t.Context(), io.Discard); !errors.Is(err, audit.ErrFilter) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v, want ErrFilter", field, err)
		}
		s.Close(t.Context())
	}
}
