package audit_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"rotator/internal/audit"
	"rotator/internal/secret"
)

const (
	someID = "01890a5d-ac96-774b-bcce-b302099a8057"
	someUS = 1_700_000_000_123_456
)

// TestFormat pins the stored form: it must never change.
func TestFormat(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.FixedZone("CET", 3600))
	e := audit.Event{
		V: 1, ID: someID, TimeUS: someUS, Type: audit.APICall, Phase: audit.Result, Call: someID, Run: someID,
		Rotation: "r", Actor: "a", Trigger: "manual", Host: "h", Build: "b", ConfigSHA256: "c", Project: "p",
		Credential: "billing-api", Key: "k", Replaces: "o", Op: "access_keys.create", Method: "POST",
		URL: "https://x/y?a=<&>", Attempt: 1, Status: 200, Outcome: audit.OK, Error: "e", RequestID: "q",
		DurationUS: 5, Traceparent: "t", Reason: "why", Policy: "90d", DisplayName: "d", KeyCreatedAt: at,
		MaxAgeS: 10, OverlapS: new(int64(0)), InScope: new(false), VaultPath: "v", VaultVersion: 3, RetireAt: at,
		Tick: at, Counters: map[string]int64{"b": 2, "a": 1}, Keys: []audit.Key{{ID: "k", Name: "n", Created: at, State: "current"}},
		Part: 1, Parts: 2, Complete: new(true), DBUser: "u", VaultEntity: "w",
	}
	const stamp = `"2026-03-01T11:00:00.123456Z"`
	want := `{"v":1,"id":"` + someID + `","t_us":1700000000123456,"type":"api.call","phase":"outcome","call":"` + someID +
		`","run":"` + someID + `","rotation":"r","actor":"a","trigger":"manual","host":"h","build":"b","config_sha256":"c",` +
		`"project":"p","credential":"billing-api","key":"k","replaces":"o","op":"access_keys.create","method":"POST",` +
		`"url":"https://x/y?a=<&>","attempt":1,"status":200,"outcome":"ok","error":"e","request_id":"q","duration_us":5,` +
		`"traceparent":"t","reason":"why","policy":"90d","display_name":"d","key_created_at":` + stamp + `,"max_age_s":10,` +
		`"overlap_s":0,"in_scope":false,"vault_path":"v","vault_version":3,"retire_at":` + stamp + `,"tick":` + stamp +
		`,"counters":{"a":1,"b":2},"keys":[{"id":"k","name":"n","created":` + stamp + `,"state":"current"}],"part":1,"parts":2,` +
		`"complete":true,"db_user":"u","vault_entity":"w"}`
	body, err := e.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(body)); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
	body, err = audit.Event{V: 1, ID: someID, TimeUS: someUS, Type: audit.Pause}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"v":1,"id":"` + someID + `","t_us":1700000000123456,"type":"pause"}`; string(body) != want {
		t.Errorf("smallest body %s, want %s", body, want)
	}
}

// hostile draws text that a remote side might send.
func hostile() *rapid.Generator[string] {
	return rapid.OneOf(rapid.String(), rapid.Just(strings.Repeat(`"\`, 1000)), rapid.Just("\x00\u2028"+strings.Repeat("\u2028", 900)),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 3000), func(b []byte) string { return string(b) }))
}

// TestMarshalProperty: whatever the texts, the body is small, valid and clean,
// and marshalling what was read from it gives the same bytes.
func TestMarshalProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := hostile()
		e := audit.Event{
			V: 1, ID: someID, TimeUS: rapid.Int64().Draw(t, "time"), Type: "x" + text.Draw(t, "type"),
			Actor: text.Draw(t, "actor"), Host: text.Draw(t, "host"), Build: text.Draw(t, "build"),
			Project: text.Draw(t, "project"), Credential: text.Draw(t, "credential"), Key: text.Draw(t, "key"),
			URL: text.Draw(t, "url"), Error: text.Draw(t, "error"), RequestID: text.Draw(t, "request"),
			Reason: text.Draw(t, "reason"), Policy: text.Draw(t, "policy"), DisplayName: text.Draw(t, "name"),
			VaultPath: text.Draw(t, "path"), Traceparent: text.Draw(t, "trace"), VaultEntity: text.Draw(t, "entity"),
			RetireAt: time.Unix(rapid.Int64().Draw(t, "retire"), 5), Counters: map[string]int64{text.Draw(t, "counter"): 1},
		}
		body, err := e.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		var back audit.Event
		if err := json.Unmarshal(body, &back); err != nil {
			t.Fatal(err)
		}
		again, err := back.Marshal()
		if err != nil || string(again) != string(body) {
			t.Fatalf("marshalled again: %s (%v), want %s", again, err, body)
		}
		if len(body) > audit.BodyLimit || !utf8.Valid(body) || strings.ContainsFunc(string(body), unicode.IsControl) {
			t.Fatalf("body of %d bytes is not fit to be stored: %q", len(body), body)
		}
	})
}

func TestMarshalCutsAndScrubs(t *testing.T) {
	t.Parallel()
	key := secret.New("hunter2-hunter2")
	e := audit.Event{V: 1, ID: someID, Type: audit.APICall, Error: "used " + key.Reveal() + "\x00" + strings.Repeat("é", 1<<20)}
	body, err := e.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(body), key.Reveal()) {
		t.Errorf("the secret is in the body: %s", body)
	}
	if len(body) > 1000 {
		t.Errorf("1 MiB of text became %d bytes", len(body))
	}
}

func TestMarshalRefuses(t *testing.T) {
	t.Parallel()
	counters := map[string]int64{}
	for range 2000 {
		counters[uuid.NewString()] = 1
	}
	for name, e := range map[string]audit.Event{
		"no type":      {ID: someID},
		"no id":        {Type: audit.Pause},
		"id":           {Type: audit.Pause, ID: "urn:uuid:" + someID},
		"call":         {Type: audit.Pause, ID: someID, Call: "7"},
		"run":          {Type: audit.Pause, ID: someID, Run: "7"},
		"status":       {Type: audit.Pause, ID: someID, Status: 70000},
		"too large":    {Type: audit.RunFinished, ID: someID, Counters: counters},
		"negative":     {Type: audit.Pause, ID: someID, Status: -1},
		"braces in id": {Type: audit.Pause, ID: "{" + someID + "}"},
	} {
		if body, err := e.Marshal(); !errors.Is(err, audit.ErrInvalid) {
			t.Errorf("%s: %s, %v; want ErrInvalid", name, body, err)
		}
	}
}

func TestSplitSnapshot(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 10, 17, 500} {
		e := audit.Event{V: 1, ID: someID, Type: audit.InventorySnapshot, Project: "p", Complete: new(true)}
		for i := range n {
			e.Keys = append(e.Keys, audit.Key{ID: uuid.NewString(), Name: strings.Repeat(`"`, 400), State: "current", Created: time.Unix(int64(i), 0).UTC()})
		}
		parts, err := audit.SplitSnapshot(e)
		if err != nil {
			t.Fatal(err)
		}
		var keys []audit.Key
		for i, p := range parts {
			keys = append(keys, p.Keys...)
			if len(parts) > 1 && (p.Part != i+1 || p.Parts != len(parts)) || len(parts) == 1 && p.Parts != 0 {
				t.Errorf("%d keys: part %d of %d is marked %d of %d", n, i+1, len(parts), p.Part, p.Parts)
			}
			p.ID = someID
			if body, err := p.Marshal(); err != nil || len(body) > audit.BodyLimit/2 {
				t.Errorf("%d keys: part of %d bytes: %v", n, len(body), err)
			}
		}
		if diff := cmp.Diff(e.Keys, keys); diff != "" {
			t.Errorf("%d keys in %d parts (-want +got):\n%s", n, len(parts), diff)
		}
	}
}

func FuzzParseStatus(f *testing.F) {
	for _, s := range []string{"", "429", "5xx", "5XX", "0xx", "099", "4x9", "4294967296", "５ｘｘ"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		low, high, err := audit.ParseStatus(s)
		if err != nil {
			return
		}
		if low < 100 || high > 999 || low > high || (high-low != 99 && high != low) || s[0] != byte('0'+low/100) {
			t.Errorf("%q gave %d to %d", s, low, high)
		}
	})
}

func FuzzDecodeMarshal(f *testing.F) {
	f.Add([]byte(`{"v":1,"id":"` + someID + `","t_us":1,"type":"pause","tick":"0000-01-01T00:00:00Z"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var e audit.Event
		if json.Unmarshal(b, &e) != nil {
			return
		}
		body, err := e.Marshal()
		if err == nil && (len(body) > audit.BodyLimit || !json.Valid(body)) {
			t.Errorf("%q became %q", b, body)
		}
	})
}
