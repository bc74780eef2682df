package audit_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"rotator/internal/postgres/pgtest"
)

// TestViews asks an auditor's questions about the story, as the auditor.
func TestViews(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	story(t, pgtest.Pool(t, dsn))
	pool := pgtest.Pool(t, pgtest.Auditor(t, dsn))
	for name, c := range map[string]struct{ sql, want string }{
		"events": {
			"select type, count(*)::int, count(call_id)::int, count(body ->> 'reason')::int from audit.events where type in ('api.call', 'pause', 'resume', 'guard.refused') group by type order by type",
			`[["api.call",9,9,0],["guard.refused",1,0,1],["pause",1,0,1],["resume",1,0,1]]`,
		},
		"events of one call": {
			"select seq > 0, occurred_at, type, phase, trigger, rotation_id, project_id, credential, operation, http_method, url, attempt, http_status, outcome from audit.events where http_status = 201",
			`[[true,"2026-01-18","api.call","outcome","schedule","aaaaaaaaaaaaa","p-billing","billing-api","access_keys.create","POST","https://sinch.example/access_keys.create",1,201,"ok"]]`,
		},
		"api_calls": {
			"select operation, intended_at::date, occurred_at::date, http_status, outcome, service, project_id from audit.api_calls order by occurred_at, operation, call_id",
			`[["access_keys.list",null,"2026-01-10",200,"ok","sinch","p-billing"],["access_keys.delete","2026-01-15","2026-01-15",null,"unknown","sinch","p-billing"],` +
				`["access_keys.create","2026-01-11","2026-01-18",201,"ok","sinch","p-billing"],["access_keys.delete","2026-01-18","2026-01-18",null,null,"sinch","p-billing"],` +
				`["access_keys.create","2026-01-19","2026-01-19",null,"unknown","sinch","p-mail"]]`,
		},
		"open_intents": {
			"select intended_at::date, operation, project_id, credential, key_id, rotation_id, run_id is not null from audit.open_intents",
			`[["2026-01-18","access_keys.delete","p-billing","billing-api",null,"bbbbbbbbbbbbb",true]]`,
		},
		"status_codes": {
			"select day, service, operation, http_status, outcome, calls from audit.status_codes order by day",
			`[["2026-01-10","sinch","access_keys.list",200,"ok",1],["2026-01-15","sinch","access_keys.delete",null,"unknown",1],` +
				`["2026-01-18","sinch","access_keys.create",201,"ok",1],["2026-01-19","sinch","access_keys.create",null,"unknown",1]]`,
		},
		"adopted, rotated, compromised": {
			lives + " where project_id = 'p-billing' order by created_at",
			`[["billing-old","billing-api","billing-api","2026-01-01",null,"2026-01-12","2026-01-15",14,"billing-new","aaaaaaaaaaaaa","schedule","schedule@host","its age of 10d has reached 9d"],` +
				`["billing-new","billing-api","billing-api~aaaaaaaaaaaaa","2026-01-11","2026-01-12","2026-01-17","2026-01-18",7,"billing-newer","aaaaaaaaaaaaa","schedule","schedule@host","its age of 10d has reached 9d"],` +
				`["billing-newer","billing-api","billing-api~bbbbbbbbbbbbb","2026-01-17","2026-01-17",null,null,null,null,"bbbbbbbbbbbbb","compromised","alice@desk via run-now","a laptop was lost"]]`,
		},
		"only listed": {
			lives + " where project_id = 'p-sms' order by created_at",
			`[["sms-human","break-glass","break-glass","2026-01-01",null,null,null,null,null,null,null,null,null],` +
				`["sms-late","sms","sms~0123456789abc (superseded 2026-01-02)","2026-01-02",null,null,null,null,null,null,null,null,null]]`,
		},
		"orphan": {
			lives + " where key_id = 'mail-orphan'",
			`[["mail-orphan","mail","mail~ccccccccccccc","2026-01-19",null,null,"2026-01-20",1,null,"ccccccccccccc","schedule","schedule@host","it was asked for"]]`,
		},
		"drift": {
			lives + " where project_id = 'p-voice' order by created_at",
			`[["voice-old","voice","voice~0000000000000","2026-01-04",null,"2026-01-21","2026-01-21",17,"voice-new","ddddddddddddd","drift","schedule@host","Vault names it and Sinch does not list it"],` +
				`["voice-new","voice","voice~ddddddddddddd","2026-01-21","2026-01-21",null,null,null,null,"ddddddddddddd","drift","schedule@host","Vault names it and Sinch does not list it"]]`,
		},
		"keys_on before": {"select count(*) from audit.keys_on('2026-01-09')", `[[0]]`},
		"keys_on in the overlap": {
			inventory("2026-01-13") + " order by 1, 3",
			`[["p-billing","billing-api","billing-new",2,"current",true,"event"],["p-billing","billing-api","billing-old",12,"superseded",true,"snapshot"]]`,
		},
		"keys_on in the middle of rotations": {
			inventory("2026-01-17") + " where project_id = 'p-billing' order by 3", // of which the events are
			`[["p-billing","billing-api","billing-new",6,"superseded",true,"event"],["p-billing","billing-api","billing-newer",0,"current",true,"event"]]`,
		},
		"keys_on with an orphan": {
			inventory("2026-01-19 12:00") + " where project_id = 'p-mail'", `[["p-mail","mail","mail-old",16,"adopted",true,"snapshot"]]`,
		},
		"keys_on after": {
			inventory("2026-02-01") + " order by 1, 3",
			`[["p-billing","billing-api","billing-newer",15,"current",true,"event"],["p-fax","fax","fax-new",23,"current",true,"snapshot"],["p-mail","mail","mail-old",29,"adopted",true,"snapshot"],` +
				`["p-sms","break-glass","sms-human",31,"unmanaged",false,"snapshot"],["p-sms","sms","sms-late",30,"superseded",true,"snapshot"],["p-voice","voice","voice-new",11,"current",true,"event"]]`,
		},
		"display names": {
			`select n as name, audit.credential_of(n) from unnest(array['mail', 'mail~0123456789abc', 'mail~0123456789abc (superseded 2026-01-02)', 'mail (superseded 2026-01-02)',
				'é~0123456789abc', 'mail~~0123456789abc', '~0123456789abc', '']) n where audit.credential_of(n) <> n`,
			`[["mail~0123456789abc","mail"],["mail~0123456789abc (superseded 2026-01-02)","mail"],["mail (superseded 2026-01-02)","mail"],` +
				`["é~0123456789abc","é"],["mail~~0123456789abc","mail~"],["~0123456789abc",""]]`,
		},
		"display names of other forms": {
			`select count(*) from unnest(array['mail~0123456789abC', 'mail~0123456789ab', 'mail~0123456789abcd', E'mail~0123456789abc\n', 'mail~0123456789abc (superseded', 'mail (superseded 2) (old)']) n
				where audit.credential_of(n) <> n`, `[[0]]`,
		},
		"overdue_keys": {
			"select project_id, credential, key_id, extract(epoch from max_age)::int, age > max_age, age - max_age = overdue_by, reason from audit.overdue_keys where project_id = 'p-sms'",
			`[["p-sms","sms","sms-late",86400,true,true,"vault said 403"]]`,
		},
		"overdue_keys of old": {"select count(*) from audit.overdue_keys where credential in ('break-glass', 'mail')", `[[0]]`},
		"schedule_gaps":       {"select gap_from::date, length from audit.schedule_gaps('4 days') where gap_to < '2026-02-01'", `[["2026-01-10","5 days"]]`},
		"no gap":              {"select count(*) from audit.schedule_gaps('5 days') where gap_to < '2026-02-01'", `[[0]]`},
		"gap until now":       {"select gap_from::date from audit.schedule_gaps('5 days') where gap_to = now()", `[["2026-01-24"]]`},
		"compromise_response": {
			"select project_id, credential, reported_at::date, replaced_at::date, deleted_at::date, seconds_to_replace, seconds_to_delete, actor, reason from audit.compromise_response order by reported_at",
			`[["p-billing","billing-api","2026-01-16","2026-01-17","2026-01-18",86400,172800,"alice@desk via run-now","a laptop was lost"],` +
				`["p-fax","fax","2026-01-23",null,"2026-01-24",null,86400,"bob@desk via run-now","found in a public repository"]]`,
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

const lives = `select key_id, credential, display_name, created_at::date, published_at::date, superseded_at::date, deleted_at::date,
	extract(day from age_at_deletion)::int, replaced_by, rotation_id, trigger, actor, reason from audit.key_history`

func inventory(at string) string {
	return "select project_id, credential, key_id, extract(day from age)::int, state, in_scope, source from audit.keys_on('" + at + "')"
}

// table returns a query's rows as JSON arrays.
func table(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) string {
	t.Helper()
	rows, err := pool.Query(t.Context(), sql, args...)
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
