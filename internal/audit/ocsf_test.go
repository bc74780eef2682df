package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"pgregory.net/rapid"

	"rotator/internal/audit"
	"rotator/internal/postgres/pgtest"
)

// export writes what is in the log.
func export(t testing.TB, pool *pgxpool.Pool, x audit.Exporter) (string, audit.Disclosure) {
	t.Helper()
	s, err := audit.Look(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.WithoutCancel(t.Context()))
	x.Snapshot = s
	var b bytes.Buffer
	d, err := x.Write(t.Context(), &b)
	if err != nil {
		t.Fatal(err)
	}
	return b.String(), d
}

// ocsfSchemas are what exports are held against: our notes, and the published
// schema where -ocsf-schema says where it is.
func ocsfSchemas(t *testing.T) []*ocsfSchema {
	t.Helper()
	notes := readNotes(t)
	if *ocsfDirectory == "" {
		return []*ocsfSchema{notes}
	}
	schema := readSource(t, *ocsfDirectory)
	if len(schema.classes) < 50 || len(schema.objects) < 100 {
		t.Fatalf("%d classes and %d objects are not the whole schema", len(schema.classes), len(schema.objects))
	}
	return []*ocsfSchema{notes, schema}
}

// TestOCSFNotes compares our notes with the published schema.
func TestOCSFNotes(t *testing.T) {
	t.Parallel()
	schemas := ocsfSchemas(t)
	if schemas[0].version != audit.OCSFVersion {
		t.Errorf("the notes are of version %s, exports of %s", schemas[0].version, audit.OCSFVersion)
	}
	for _, s := range schemas[1:] {
		for _, wrong := range compareNotes(schemas[0], s) {
			t.Error(wrong)
		}
	}
}

// everyType is an event of each type, and every kind of call.
func everyType() []audit.Event {
	run, at := uuid.NewString(), time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	events := []audit.Event{
		{Type: audit.RunStarted, Run: run, Trigger: "schedule", Tick: at, Host: "worker-1"},
		{Type: audit.RunFinished, Run: run, Counters: map[string]int64{"rotated": 1}},
		{Type: audit.InventorySnapshot, Project: "p1", Complete: new(true), InScope: new(true), MaxAgeS: 7776000, Keys: []audit.Key{{ID: "k1", Name: "billing-api", Created: at, State: "current"}}},
		{Type: audit.Pause, Reason: "maintenance"},
		{Type: audit.Resume, Reason: "done"},
		{Type: "of.a_later_version", Project: "p1"},
		{Type: audit.KeyDrift, Project: "p1"},
	}
	for _, kind := range []string{
		audit.PolicyChanged, audit.GuardRefused, audit.LeaseLost, audit.AuditExported, audit.AuditSpillReplayed, audit.AuditPartitionDropped, audit.AuditRebased,
		audit.RotationPlanned, audit.RotationCreated, audit.RotationVerified, audit.RotationPublished, audit.RotationFailed,
		audit.KeySuperseded, audit.KeyRetired, audit.KeyOrphanDeleted, audit.KeyDrift,
	} {
		events = append(events, audit.Event{
			Type: kind, Run: run, Rotation: "0123456789abc", Trigger: "manual", Reason: "because", Project: "p1", Credential: "billing-api",
			Key: "k1", Replaces: "k0", DisplayName: "billing-api~0123456789abc", Error: "it <failed>", OverlapS: new(int64(0)), RetireAt: at, VaultVersion: 3,
		})
	}
	for _, op := range []string{
		"token.exchange", "subprojects.list", "subprojects.get", "access_keys.list", "access_keys.create", "access_keys.get", "access_keys.update",
		"access_keys.delete", "probe.numbers", "vault.login", "vault.renew", "vault.read", "vault.write", "vault.metadata", "vault.delete",
		"vault.destroy", "vault.transit",
	} {
		e := audit.Event{
			Type: audit.APICall, Phase: audit.Result, Call: uuid.NewString(), Run: run, Op: op, Method: "POST", URL: "https://10.0.0.1:8443/v1/x?list=true",
			Attempt: 1, Status: 200, Outcome: audit.OK, RequestID: "req-1", DurationUS: 12345, Project: "p1", Credential: "billing-api", Key: "k1", VaultPath: "secret/x",
		}
		lost := e
		lost.Call, lost.Method, lost.Status, lost.Outcome, lost.Error, lost.RequestID, lost.URL = uuid.NewString(), "LIST", 0, audit.Unknown, "connection reset", "", "https://vault.example/v1/x"
		failed := e
		failed.Call, failed.Run, failed.Phase, failed.Status, failed.Outcome, failed.Error = uuid.NewString(), "", audit.Resolved, 503, audit.Error, "busy"
		events = append(events, e, lost, failed)
	}
	return append(events, audit.Event{Type: audit.APICall}, audit.Event{Type: audit.APICall, Op: "access_keys.create", Phase: audit.Intent, Call: uuid.NewString(), URL: ":// no URL"})
}

// TestOCSFIsValid exports an event of each type, and all the story, and holds
// every line against the schema.
func TestOCSFIsValid(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	if err := open(t, pool).Append(t.Context(), everyType()...); err != nil {
		t.Fatal(err)
	}
	story(t, pool)
	schemas := ocsfSchemas(t)
	for _, disclosure := range []string{audit.NewDisclosureID(), ""} {
		out, _ := export(t, pool, audit.Exporter{Format: audit.OCSF, Disclosure: disclosure, Build: "v1.2.3"})
		for line := range strings.Lines(out) {
			for _, s := range schemas {
				for _, wrong := range s.wrong([]byte(line)) {
					t.Errorf("%s\nin %s", wrong, line)
				}
			}
		}
	}
}

// TestOCSFProperty: whatever the texts, what is exported is valid.
func TestOCSFProperty(t *testing.T) {
	t.Parallel()
	types := []string{"x"}
	for _, e := range everyType() {
		types = append(types, e.Type)
	}
	schemas := ocsfSchemas(t)
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.Just(""), rapid.String(), rapid.StringMatching(`https?://[a-z\[\]:0-9.]{0,20}/x`), rapid.Just("\x00\u2028\xff\"<"))
		e := audit.Event{
			V: 1, ID: someID, TimeUS: rapid.Int64Range(0, 1<<52).Draw(t, "time"), Type: rapid.SampledFrom(types).Draw(t, "type"),
			Phase: rapid.SampledFrom([]audit.Phase{"", audit.Intent, audit.Result, audit.Resolved, "odd"}).Draw(t, "phase"),
			Actor: text.Draw(t, "actor"), Host: text.Draw(t, "host"), Build: text.Draw(t, "build"), Project: text.Draw(t, "project"),
			Credential: text.Draw(t, "credential"), Key: text.Draw(t, "key"), DisplayName: text.Draw(t, "name"), Op: text.Draw(t, "op"),
			Method: text.Draw(t, "method"), URL: text.Draw(t, "url"), Error: text.Draw(t, "error"), RequestID: text.Draw(t, "request"),
			VaultPath: text.Draw(t, "path"), Rotation: text.Draw(t, "rotation"),
			Status: rapid.IntRange(0, 999).Draw(t, "status"), DurationUS: rapid.Int64Range(0, 1<<40).Draw(t, "duration"),
			Outcome: rapid.SampledFrom([]audit.Outcome{"", audit.OK, audit.Error, audit.Unknown, "odd"}).Draw(t, "outcome"),
		}
		body, err := e.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		line, err := audit.MapOCSF(audit.Record{Seq: 1, Body: body})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range schemas {
			for _, wrong := range s.wrong(line) {
				t.Errorf("%s\nin %s\nof %s", wrong, line, body)
			}
		}
	})
}

// TestOCSFSchemaCatches: the check can fail. Each change of a valid event is
// reported at its place.
func TestOCSFSchemaCatches(t *testing.T) {
	t.Parallel()
	var valid []byte
	pool := pgtest.New(t)
	call := audit.Event{
		Type: audit.APICall, Phase: audit.Result, Call: uuid.NewString(), Op: "access_keys.create", Method: "POST", URL: "https://x.example:8443/y",
		Status: 429, Outcome: audit.Error, Error: "slow down", RequestID: "q", Project: "p1", Key: "k1", Host: "worker-1", DurationUS: 5000,
	}
	if err := open(t, pool).Append(t.Context(), call); err != nil {
		t.Fatal(err)
	}
	out, _ := export(t, pool, audit.Exporter{Format: audit.OCSF, Disclosure: someID})
	valid = []byte(out)
	schemas := ocsfSchemas(t)
	for _, c := range []struct {
		path  string // what is changed
		to    any    // absent when nil
		wrong string
	}{
		{"class_uid", 6099, "class_uid 6099 is no class"},
		{"class_name", "API activity", "class_name is API activity, want API Activity"},
		{"type_uid", 600302, "type_uid is 600302, want 600301"},
		{"type_uid", nil, "type_uid is required"},
		{"activity_id", 5, "activity_id is 5, which is none of its values"},
		{"activity_name", "Read", "activity_name is Read beside 1, want Create"},
		{"time", nil, "time is required"},
		{"time", "now", "time is now: no whole number"},
		{"time", 1.5, "time is 1.5: no whole number"},
		{"severity_id", 9, "severity_id is 9, which is none of its values"},
		{"status_id", 7, "status_id is 7, which is none of its values"},
		{"messages", "x", "messages is not an attribute of API Activity"},
		{"device", map[string]any{}, "device is not an attribute of API Activity"}, // its profile is not applied
		{"actor", nil, "actor is required"},
		{"actor", map[string]any{}, "actor has none of [process user invoked_by session app_name app_uid]"},
		{"actor", "me", "actor is no object"},
		{"src_endpoint", nil, "src_endpoint is required"},
		{"dst_endpoint.port", 70000, "dst_endpoint.port is 70000: outside 0 to 65535"},
		{"dst_endpoint.ip", strings.Repeat("1", 41), "dst_endpoint.ip is 11111111111111111111111111111111111111111: too long"},
		{"api.operation", nil, "api.operation is required"},
		{"api.request", map[string]any{}, "api.request.uid is required"},
		{"api.service.nam", "x", "api.service.nam is not an attribute of service"},
		{"http_response.code", "429", "http_response.code is 429: no whole number"},
		{"http_request.http_method", "LIST", "http_request.http_method is LIST, which is none of its values"},
		{"resources", map[string]any{}, "resources is no list"},
		{"resources", []any{map[string]any{"type": "x"}}, "resources[0] has none of [name uid]"},
		{"metadata.version", "1.7.0", "metadata.version is 1.7.0, want 1.8.0"},
		{"metadata.product.name", nil, "metadata.product has none of [name uid]"},
		{"message", "", "message is : empty"},
		{"unmapped", "x", "unmapped is no object"},
	} {
		for _, s := range schemas {
			if wrong := s.wrong(valid); len(wrong) > 0 {
				t.Fatalf("the event is not valid to begin with: %v", wrong)
			}
			if wrong := s.wrong(change(t, valid, c.path, c.to)); !slices.Contains(wrong, c.wrong) {
				t.Errorf("%s to %v: %q, want %q", c.path, c.to, wrong, c.wrong)
			}
		}
	}
}

// change changes a value in a JSON object, by its path.
func change(t *testing.T, body []byte, path string, to any) []byte {
	t.Helper()
	var event map[string]any
	if err := json.Unmarshal(body, &event); err != nil {
		t.Fatal(err)
	}
	names := strings.Split(path, ".")
	at := event
	for _, name := range names[:len(names)-1] {
		inner, ok := at[name].(map[string]any)
		if !ok {
			t.Fatalf("%s: %s is no object", path, name)
		}
		at = inner
	}
	if last := names[len(names)-1]; to == nil {
		delete(at, last)
	} else {
		at[last] = to
	}
	changed, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

// TestOCSFMapping reads a few events field by field.
func TestOCSFMapping(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	run := uuid.NewString()
	log := open(t, pool, func(c *audit.Config) { c.Now = func() time.Time { return time.UnixMicro(someUS) } })
	if err := log.Append(t.Context(),
		audit.Event{Type: audit.RunStarted, Run: run, Host: "worker-1"},
		audit.Event{
			Type: audit.APICall, Phase: audit.Result, Run: run, Call: uuid.NewString(), Op: "access_keys.delete", Method: "DELETE", URL: "https://sinch.example:8443/v1/k1",
			Attempt: 2, Status: 503, Outcome: audit.Error, Error: "busy", RequestID: "q-7", DurationUS: 2_500_000, Project: "p1", Credential: "billing-api", Key: "k1",
			Rotation: "0123456789abc", Replaces: "k0",
		},
		audit.Event{Type: audit.KeyRetired, Run: run, Project: "p1", Credential: "billing-api", Key: "k1", Rotation: "0123456789abc", Trigger: "compromised", Reason: "laptop lost"},
		audit.Event{Type: audit.RotationFailed, Project: "p1", Credential: "billing-api", Error: "no"},
		audit.Event{Type: audit.Pause, Reason: "maintenance"},
		audit.Event{Type: audit.GuardRefused, Reason: "last key", Key: "k1"},
	); err != nil {
		t.Fatal(err)
	}
	out, d := export(t, pool, audit.Exporter{Format: audit.OCSF, Disclosure: someID, Build: "v9"})
	lines := slices.Collect(strings.Lines(out))
	if len(lines) != 6 || d.Written.Rows != 6 {
		t.Fatalf("%d lines, %d rows, want 6:\n%s", len(lines), d.Written.Rows, out)
	}
	for i, want := range []map[string]string{
		{"class_uid": "0", "activity_name": "run.started", "device.hostname": "worker-1", "metadata.profiles": `["host"]`, "metadata.product.version": "v1.2.3"},
		{
			"class_uid": "6003", "activity_id": "4", "type_uid": "600304", "time": "1700000000123", "start_time": "1699999997623", "duration": "2500",
			"severity_id": "2", "status_id": "2", "status_code": "503", "status_detail": "busy", "metadata.correlation_uid": "0123456789abc", "metadata.sequence": "1",
			"metadata.event_code": "api.call", "metadata.product.version": "v1.2.3", "metadata.log_version": "1", "actor.user.name": "schedule@host", "actor.app_name": "rotator",
			"src_endpoint.hostname": "worker-1", "dst_endpoint.hostname": "sinch.example", "dst_endpoint.port": "8443", "api.operation": "access_keys.delete",
			"api.service.name": "sinch", "api.request.uid": "q-7", "api.response.code": "503", "http_request.http_method": "DELETE", "http_response.code": "503",
			"resources":        `[{"type":"Sinch Project","uid":"p1"},{"name":"billing-api","type":"Credential"},{"type":"Sinch Access Key","uid":"k1"}]`,
			"unmapped.attempt": "2", "unmapped.replaces": "k0", "unmapped.run": run, "unmapped.t_us": "1700000000123456", "unmapped.status": "absent", "unmapped.error": "absent", "unmapped.v": "absent",
		},
		{
			"class_uid": "3001", "activity_name": "Delete", "user.uid": "k1", "user.name": "billing-api", "user.account.uid": "p1", "user.programmatic_credentials": `[{"type":"Sinch Access Key","uid":"k1"}]`,
			"status_id": "1", "unmapped.trigger": "compromised", "unmapped.reason": "laptop lost",
		},
		{"class_uid": "3001", "activity_id": "99", "activity_name": "Fail Rotation", "status_id": "2", "status_detail": "no", "severity": "Medium", "user.name": "billing-api", "user.uid": "absent"},
		{"class_uid": "6002", "activity_name": "Disable", "app.name": "rotator", "unmapped.reason": "maintenance"},
		{"class_uid": "0", "activity_name": "guard.refused", "unmapped.key": "k1", "unmapped.reason": "last key"},
	} {
		got := map[string]string{}
		for path := range want {
			got[path] = lookUp(t, lines[i], path)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("event %d (-want +got):\n%s\n%s", i, diff, lines[i])
		}
	}
}

func lookUp(t *testing.T, line, path string) string {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(line))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(path, ".") {
		object, _ := v.(map[string]any)
		child, ok := object[name]
		if !ok {
			return "absent"
		}
		v = child
	}
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestOCSFIntents: an attempt is one event, also one that nobody knows the end
// of, and what is left out is counted.
func TestOCSFIntents(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	var lost string
	var events []audit.Event
	for i := range 700 { // more than one batch
		call := uuid.Must(uuid.NewV7()).String()
		e := audit.Event{Type: audit.APICall, Phase: audit.Intent, Call: call, Op: "access_keys.create", Method: "POST", URL: "https://x/"}
		events = append(events, e)
		switch {
		case i == 650:
			lost = call
		case i%2 == 0:
			e.Phase, e.Outcome, e.Status = audit.Result, audit.OK, 200
			events = append(events, e)
		default:
			e.Phase, e.Outcome = audit.Resolved, audit.OK
			events = append(events, e)
		}
	}
	if err := open(t, pool).Append(t.Context(), events...); err != nil {
		t.Fatal(err)
	}
	out, d := export(t, pool, audit.Exporter{Format: audit.OCSF, Disclosure: someID})
	if d.Written.Rows != 700 || d.Counters["settled_intents"] != 699 {
		t.Errorf("%d events, %v left out, want 700 and 699", d.Written.Rows, d.Counters)
	}
	open := 0
	for line := range strings.Lines(out) {
		if lookUp(t, line, "unmapped.phase") != "intent" {
			continue
		}
		open++
		if got := fmt.Sprint(lookUp(t, line, "unmapped.call"), lookUp(t, line, "status_id"), lookUp(t, line, "http_response")); got != lost+"0absent" {
			t.Errorf("open intent %s, want %s of unknown status", got, lost)
		}
	}
	if open != 1 {
		t.Errorf("%d open intents, want 1", open)
	}
}
