package audit_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"rotator/internal/audit"
	"rotator/internal/postgres/pgtest"
)

// story writes a small, known history: an adopted key is rotated (its create's
// outcome lost and resolved), the old one is retired, the new one reported as
// compromised and replaced; a second project has an overdue and an unmanaged
// key; one delete is still open.
func story(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	now := time.Date(2026, 1, 10, 0, 0, 0, 0, time.UTC)
	log := open(t, pool, func(c *audit.Config) { c.Now = func() time.Time { return now } })
	at := func(day int, events ...audit.Event) {
		t.Helper()
		now = time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC)
		if err := log.Append(t.Context(), events...); err != nil {
			t.Fatal(err)
		}
	}
	created := func(day int) time.Time { return time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC) }
	runs := []string{uuid.NewString(), uuid.NewString(), uuid.NewString()}
	calls := []string{uuid.NewString(), uuid.NewString(), uuid.NewString(), uuid.NewString()}
	api := func(phase audit.Phase, call, op string, status int, outcome audit.Outcome) audit.Event {
		return audit.Event{
			Type: audit.APICall, Phase: phase, Call: call, Op: op, Method: "POST", URL: "https://x/", Attempt: 1,
			Status: status, Outcome: outcome, Project: "p1", Credential: "billing-api", Rotation: "rot1",
		}
	}
	in := func(kind, project, key string, change func(*audit.Event)) audit.Event {
		e := audit.Event{Type: kind, Project: project, Credential: "billing-api", Key: key}
		if change != nil {
			change(&e)
		}
		return e
	}
	rotation := func(id, replaces, trigger string) func(*audit.Event) {
		return func(e *audit.Event) { e.Rotation, e.Replaces, e.Trigger = id, replaces, trigger }
	}
	at(10, audit.Event{Type: audit.RunStarted, Run: runs[0], Trigger: "schedule"},
		audit.Event{Type: audit.InventorySnapshot, Project: "p1", Complete: new(true), MaxAgeS: 86400 * 300000, Keys: []audit.Key{
			{ID: "old", Name: "billing-api", Created: created(1), State: "current"},
		}},
		audit.Event{Type: audit.InventorySnapshot, Project: "p2", Complete: new(true), MaxAgeS: 86400, Part: 1, Parts: 2, Keys: []audit.Key{
			{ID: "late", Name: "sms~0123456789abc (superseded 2026-01-02)", Created: created(2), State: "superseded"},
		}},
		audit.Event{Type: audit.InventorySnapshot, Project: "p2", Complete: new(true), MaxAgeS: 86400, Part: 2, Parts: 2, Keys: []audit.Key{
			{ID: "human", Name: "break-glass", Created: created(1), State: "unmanaged"},
		}},
		api(audit.Result, calls[0], "access_keys.list", 200, audit.OK))
	at(11, in(audit.RotationPlanned, "p1", "", rotation("rot1", "old", "schedule")),
		api(audit.Intent, calls[1], "access_keys.create", 0, ""))
	at(12, api(audit.Resolved, calls[1], "access_keys.create", 200, audit.OK),
		in(audit.RotationCreated, "p1", "new", func(e *audit.Event) {
			e.Rotation, e.Replaces, e.DisplayName, e.KeyCreatedAt = "rot1", "old", "billing-api~aaaaaaaaaaaaa", created(11)
		}),
		in(audit.RotationPublished, "p1", "new", rotation("rot1", "old", "schedule")),
		in(audit.KeySuperseded, "p1", "old", func(e *audit.Event) { e.Rotation, e.RetireAt = "rot1", created(15) }))
	at(15, audit.Event{Type: audit.RunStarted, Run: runs[1], Trigger: "schedule"},
		api(audit.Intent, calls[2], "access_keys.delete", 0, ""), api(audit.Result, calls[2], "access_keys.delete", 0, audit.Unknown),
		in(audit.KeyRetired, "p1", "old", rotation("rot1", "", "schedule")))
	at(16, in(audit.RotationPlanned, "p1", "", func(e *audit.Event) {
		e.Rotation, e.Replaces, e.Trigger, e.Reason, e.Actor = "rot2", "new", "compromised", "laptop lost", "alice@host via run-now"
	}))
	at(17, in(audit.RotationCreated, "p1", "newer", func(e *audit.Event) { e.Rotation, e.Replaces = "rot2", "new" }),
		in(audit.RotationPublished, "p1", "newer", rotation("rot2", "new", "compromised")))
	at(18, in(audit.KeyRetired, "p1", "new", rotation("rot2", "", "compromised")),
		in(audit.RotationFailed, "p2", "", func(e *audit.Event) { e.Credential, e.Error = "sms", "vault said 403" }),
		api(audit.Intent, calls[3], "access_keys.delete", 0, ""),
		// The outcome that was spilled comes late, after the resolution.
		api(audit.Result, calls[1], "access_keys.create", 201, audit.OK))
}

// TestViews asks an auditor's questions about the story.
func TestViews(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	story(t, pool)
	for name, c := range map[string]struct{ sql, want string }{
		"events": {"select count(*), count(call_id), count(http_method) from audit.events", `[[22,7,7]]`},
		"api_calls": {
			"select operation, intended_at::date, occurred_at::date, http_status, outcome, service from audit.api_calls order by occurred_at, operation, call_id",
			`[["access_keys.list",null,"2026-01-10",200,"ok","sinch"],["access_keys.delete","2026-01-15","2026-01-15",null,"unknown","sinch"],` +
				`["access_keys.create","2026-01-11","2026-01-18",201,"ok","sinch"],["access_keys.delete","2026-01-18","2026-01-18",null,null,"sinch"]]`,
		},
		"open_intents": {"select intended_at::date, operation, project_id, credential, key_id, rotation_id from audit.open_intents", `[["2026-01-18","access_keys.delete","p1","billing-api",null,"rot1"]]`},
		"status_codes": {
			"select day, service, operation, http_status, outcome, calls from audit.status_codes order by day",
			`[["2026-01-10","sinch","access_keys.list",200,"ok",1],["2026-01-15","sinch","access_keys.delete",null,"unknown",1],["2026-01-18","sinch","access_keys.create",201,"ok",1]]`,
		},
		"key_history": {
			"select key_id, credential, display_name, created_at::date, published_at::date, superseded_at::date, deleted_at::date, extract(day from age_at_deletion)::int, replaced_by, rotation_id, trigger, actor, reason from audit.key_history where project_id = 'p1' order by created_at",
			`[["old","billing-api","billing-api","2026-01-01",null,"2026-01-12","2026-01-15",14,"new","rot1","schedule","schedule@host",null],` +
				`["new","billing-api","billing-api~aaaaaaaaaaaaa","2026-01-11","2026-01-12","2026-01-17","2026-01-18",7,"newer","rot1","schedule","schedule@host",null],` +
				`["newer","billing-api",null,"2026-01-17","2026-01-17",null,null,null,null,"rot2","compromised","alice@host via run-now","laptop lost"]]`,
		},
		"key_history of one": {"select credential, display_name from audit.key_history where key_id = 'late'", `[["sms","sms~0123456789abc (superseded 2026-01-02)"]]`},
		"keys_on before":     {"select count(*) from audit.keys_on('2026-01-09')", `[[0]]`},
		"keys_on": {
			"select project_id, credential, key_id, extract(day from age)::int, state, in_scope, source from audit.keys_on('2026-01-13') order by 1, 3",
			`[["p1","billing-api","new",2,"current",true,"event"],["p1","billing-api","old",12,"superseded",true,"snapshot"],` +
				`["p2","break-glass","human",12,"unmanaged",false,"snapshot"],["p2","sms","late",11,"superseded",true,"snapshot"]]`,
		},
		"keys_on after": {"select key_id, state from audit.keys_on('2026-02-01') where project_id = 'p1'", `[["newer","current"]]`},
		"overdue_keys": {
			"select project_id, credential, key_id, extract(epoch from max_age)::int, age > max_age, age - max_age = overdue_by, reason from audit.overdue_keys",
			`[["p2","sms","late",86400,true,true,"vault said 403"]]`,
		},
		"schedule_gaps": {"select gap_from::date, length from audit.schedule_gaps('4 days') where gap_to < '2026-02-01'", `[["2026-01-10","5 days"]]`},
		"no gap":        {"select count(*) from audit.schedule_gaps('5 days') where gap_to < '2026-02-01'", `[[0]]`},
		"gap until now": {"select gap_from::date from audit.schedule_gaps('5 days') where gap_to = now()", `[["2026-01-15"]]`},
		"compromise_response": {
			"select project_id, credential, reported_at::date, replaced_at::date, deleted_at::date, seconds_to_replace, seconds_to_delete, actor, reason from audit.compromise_response",
			`[["p1","billing-api","2026-01-16","2026-01-17","2026-01-18",86400,172800,"alice@host via run-now","laptop lost"]]`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, table(t, pool, c.sql)); diff != "" {
				t.Errorf("%s\n(-want +got):\n%s", c.sql, diff)
			}
		})
	}
}

// table returns a query's rows as JSON arrays.
func table(t *testing.T, pool *pgxpool.Pool, sql string) string {
	t.Helper()
	rows, err := pool.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) ([]any, error) {
		values, err := row.Values()
		for i, v := range values {
			switch v := v.(type) {
			case time.Time:
				values[i] = v.Format(time.DateOnly)
			case pgtype.Interval:
				values[i] = fmt.Sprint(v.Days, " days")
			}
		}
		return values, err
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
