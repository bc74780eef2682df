package audit_test

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"rotator/internal/audit"
	"rotator/internal/postgres/pgtest"
)

// hostileBodies are bodies that say the same in other words, or something twice.
var hostileBodies = []string{
	`{}`,
	`{"type":"a","type":"b"}`,
	`{"type":"a","type":null}`,
	`{"type":null,"type":"b"}`,
	`{"type" : "spaced" , "key": "k" }`,
	"{\n\"type\":\"a\"\t}",
	`{"ty\u0070e":"escaped name"}`,
	`{"type":"escaped \"value\" \\ \u00e9\u20ac \ud83d\ude00 \/"}`,
	`{"type":"a\\","key":"}\""}`,
	`{"Type":"other case","TYPE":"again"}`,
	`{"type":{"type":"nested"},"key":["[","}",{"key":"k"}]}`,
	`{"type":{ "a" : [ 1, 2 ] }}`,
	`{"keys":[{"id":"x","type":"inner"}],"type":"outer"}`,
	`{"type":5,"phase":true,"key":1.50e3,"op":-0.0}`,
	`{"type":"","key":""}`,
	`{"counters":{"a":1,"b":{"c":"\"]}"}},"type":"t"}`,
	`{"type":"<>&é日本"}`,
	`{"reason":"he said \"no\"","type":"t"}`,
	`{"t_us":1767225600123456,"status":200,"type":"t"}`,
	`{"t_us":"1767225600123456","status":"404","type":"t"}`,
	`{"type":"t"} `,
	` {"type":"t"}`,
}

// TestBodiesAsPostgresReadsThem: verification must see in a body what the
// query columns were filled with, however it is written.
func TestBodiesAsPostgresReadsThem(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	const query = `select array[b.t_us, b.status, b.id, b.call, b.run, b.type, b.phase, b.outcome, b.op, b.rotation, b.credential, b.project, b.key, b.vault_path]
		from json_to_record($1::text::json) as b (t_us text, status text, id text, call text, run text, type text, phase text,
			outcome text, op text, rotation text, credential text, project text, key text, vault_path text)`
	for _, body := range hostileBodies {
		want := get[[]*string](t, pool, query, body)
		got, err := audit.ReadBody([]byte(body))
		if err != nil {
			t.Errorf("%s: %v", body, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-Postgres +ours):\n%s", body, diff)
		}
	}
}

// FuzzBody: the scanner for our own form agrees with encoding/json about
// whatever it accepts.
func FuzzBody(f *testing.F) {
	for _, body := range hostileBodies {
		f.Add([]byte(body))
	}
	e := typical(1)
	e.ID, e.TimeUS, e.Error, e.Keys = uuid.NewString(), 1, "said \"no\"\n", []audit.Key{{ID: "a", Name: "]}\""}}
	body, err := e.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Fuzz(func(t *testing.T, body []byte) {
		scanned, ok := audit.ScanBody(body)
		if !ok || !json.Valid(body) || !utf8.Valid(body) { // neither is ever stored
			return
		}
		parsed, err := audit.ParseBody(body)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(parsed, scanned); diff != "" {
			t.Errorf("%s (-encoding/json +scanner):\n%s", body, diff)
		}
	})
}

// TestOwnFormIsScanned: what Marshal writes is never read the slow way.
func TestOwnFormIsScanned(t *testing.T) {
	t.Parallel()
	e := typical(1)
	e.ID, e.TimeUS, e.Error, e.Counters = uuid.NewString(), 1, "said \"no\"\n<é>", map[string]int64{"a": 1}
	e.Keys = []audit.Key{{ID: "a", Name: "]}\""}}
	for _, e := range []audit.Event{e, {ID: uuid.NewString(), Type: "x"}} {
		body, err := e.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := audit.ScanBody(body); !ok {
			t.Errorf("not scanned: %s", body)
		}
	}
}
