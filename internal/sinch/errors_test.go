package sinch_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"rotator/internal/sinch"
	"rotator/internal/sinch/sinchtest"
)

func TestErrorBodies(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ body, code, message string }{
		"google":   {`{"error":{"code":501,"message":"Limit reached","status":"FAILED_PRECONDITION","details":[]}}`, "FAILED_PRECONDITION", "Limit reached"},
		"flat":     {`{"code":5,"status":"NOT_FOUND","message":"no such trunk"}`, "NOT_FOUND", "no such trunk"},
		"problem":  {`{"type":"about:blank","title":"Bad","detail":"worse","status":400}`, "", "worse"},
		"title":    {`{"type":"about:blank","title":"Bad"}`, "", "Bad"},
		"oauth":    {`{"error":"invalid_client","error_description":"unknown client","error_hint":"x"}`, "invalid_client", "unknown client"},
		"empty":    {"", "", ""},
		"web page": {"<html>", "", ""},
		"array":    {`[{"error":{"message":"x"}}]`, "", ""},
		"typed":    {`{"error":{"status":7,"message":{"a":"b"}}}`, "", ""},
		"hostile":  {`{"error":{"status":"A B","message":"a\u0000b\u001b[31m"}}`, "", "a\uFFFDb\uFFFD[31m"},
		"token":    {`{"error":{"message":"got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.AbC"}}`, "", "got [masked]"},
		"ids":      {`{"error":{"message":"no 01ARZ3NDEKTSV4RRFFQ69G5FAV or 550e8400-e29b-41d4-a716-446655440000"}}`, "", "no 01ARZ3NDEKTSV4RRFFQ69G5FAV or 550e8400-e29b-41d4-a716-446655440000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := &recorder{}
			_, err := answering(t, log, 400, []byte(tc.body)).GetKey(t.Context(), child, "a")
			var e *sinch.Error
			if !errors.As(err, &e) {
				t.Fatal(err)
			}
			if e.Status != 400 || e.Code != tc.code || e.Message != tc.message {
				t.Errorf("got %d %q %q", e.Status, e.Code, e.Message)
			}
			want := strings.Trim(strings.Join([]string{tc.code, tc.message}, ": "), ": ")
			if got := log.all()[0].result.Error; got != want {
				t.Errorf("recorded %q, want %q", got, want)
			}
		})
	}
}

// TestSecretsDoNotComeBack is the canary: a Sinch that repeats every secret it
// has seen or issued, also those whose answers were lost.
func TestSecretsDoNotComeBack(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"oauth2", "basic"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { testEcho(t, method) })
		})
	}
}

func testEcho(t *testing.T, method string) {
	t.Helper()
	g := startDirect(t, sinchtest.Config{EchoSecrets: true}, func(c *sinch.Config) { c.AuthMethod = method })
	var said []string
	note := func(err error) { said = append(said, fmt.Sprintf("%v %+v %#v", err, err, err)) }
	for _, do := range []sinchtest.Behaviour{sinchtest.AppliedLost(), sinchtest.AppliedStatus(500), sinchtest.Status(400), sinchtest.Status(409)} {
		remove := g.Fault(sinchtest.Fault{Operation: opCreate, Do: do})
		_, _, err := g.CreateKey(t.Context(), child, fmt.Sprint(len(said)))
		note(err)
		remove()
	}
	for _, status := range []int{400, 401, 403, 404, 503} {
		remove := g.Fault(sinchtest.Fault{Do: sinchtest.Status(status)})
		_, err := g.ListKeys(t.Context(), child)
		note(err)
		note(g.Verify(t.Context(), child, credentials(g.AddKey(child, fmt.Sprint("v", status), time.Now()))))
		remove()
	}
	for _, e := range g.log.all() {
		said = append(said, fmt.Sprintf("%+v", e.result))
	}
	all := strings.Join(said, "\n")
	for _, k := range g.Keys(child) {
		if s, _ := g.Secret(k.ID); strings.Contains(all, s) {
			t.Errorf("the secret of %q came back", k.DisplayName)
		}
	}
	if own := g.own.Secret.Reveal(); strings.Contains(all, own) || strings.Contains(all, "eyJ") {
		t.Error("our own secret or a token came back")
	}
	if !strings.Contains(all, "[redacted]") || !strings.Contains(all, "[masked]") {
		t.Error("nothing was echoed: this test proves nothing")
	}
}

func FuzzErrorBody(f *testing.F) {
	f.Add(400, []byte(`{"error":{"code":400,"message":"m","status":"S"}}`))
	f.Add(401, []byte(`{"error":"invalid_client","error_description":"\u0000"}`))
	f.Add(503, []byte(`{"status":1e999,"message":["\ud800"]}`))
	f.Add(409, []byte("\xff<html>"))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if status < 300 || status > 499 || status == 408 || status == 429 { // others are repeated
			status = 400
		}
		log := &recorder{}
		_, _, err := answering(t, log, status, body).CreateKey(t.Context(), child, "a")
		var e *sinch.Error
		if !errors.As(err, &e) || e.Status != status {
			t.Fatalf("error is %v", err)
		}
		for _, text := range []string{e.Code, e.Message, log.all()[1].result.Error} {
			if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) || len(text) > 600 {
				t.Errorf("text %q is not fit to be stored", text)
			}
		}
	})
}

func FuzzListAnswer(f *testing.F) {
	f.Add([]byte(`{"accessKeys":[{"accessKeyId":"string","displayName":"string","projectId":"01child","createTime":"2019-08-24T14:15:22Z","updateTime":"2019-08-24T14:15:22Z"}],"nextPageToken":""}`))
	f.Add([]byte(`{"accessKeys":null}`))
	f.Add([]byte(`{"subprojects":[{"subprojectId":"s","labels":{"a":"b"}}]}`))
	f.Add([]byte(`{"nextPageToken":"string"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		c := answering(t, &recorder{}, 200, body)
		l, err := c.ListKeys(t.Context(), child)
		if err != nil && !errors.Is(err, sinch.ErrIncomplete) {
			t.Errorf("error is %v", err)
		}
		seen := map[string]bool{}
		for _, k := range l.Keys {
			if k.ID == "" || seen[k.ID] || k.ProjectID != child {
				t.Errorf("listed %+v", k)
			}
			seen[k.ID] = true
		}
		for s, err := range c.Subprojects(t.Context(), parent) {
			if err == nil && s.ParentID != parent {
				t.Errorf("listed %+v", s)
			}
		}
	})
}

func FuzzCreateAnswer(f *testing.F) {
	f.Add([]byte(`{"accessKey":{"accessKeyId":"string","displayName":"string","projectId":"01child","createTime":"2019-08-24T14:15:22Z","updateTime":"2019-08-24T14:15:22Z"},"secret":"string"}`))
	f.Add([]byte(`{"accessKey":{},"secret":""}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		log := &recorder{}
		k, s, err := answering(t, log, 200, body).CreateKey(t.Context(), child, "a")
		switch {
		case err == nil && (k.ID == "" || s.IsZero() || log.all()[1].result.Key == ""):
			t.Errorf("created %+v", k)
		case err != nil && (!errors.Is(err, sinch.ErrStateUnknown) || !s.IsZero()):
			t.Errorf("error is %v", err)
		}
	})
}

func FuzzParseProbes(f *testing.F) {
	f.Add("numbers,fax=http://127.0.0.1:1")
	f.Add("fax=\x00,=,")
	f.Fuzz(func(t *testing.T, text string) {
		probes, err := sinch.ParseProbes(text)
		for _, p := range probes {
			if err != nil || p.Name == "" || len(p.Bases) == 0 {
				t.Errorf("%q gives %+v, %v", text, p, err)
			}
		}
	})
}

// TestLostCreatesKeepNoText: an answer to a create that was perhaps applied
// may name a secret that nothing here can recognise.
func TestLostCreatesKeepNoText(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{500: "", 302: "", 400: "made abcdef"} {
		log := &recorder{}
		c := answering(t, log, status, []byte(`{"error":{"status":"INTERNAL","message":"made abcdef"}}`))
		_, _, err := c.CreateKey(t.Context(), child, "a")
		var e *sinch.Error
		if !errors.As(err, &e) || e.Code != "INTERNAL" || e.Message != want {
			t.Errorf("%d: error is %v", status, err)
		}
		if got := strings.Contains(log.all()[1].result.Error, "abcdef"); got != (want != "") {
			t.Errorf("%d: recorded %q", status, log.all()[1].result.Error)
		}
	}
}
