package sinchtest_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"rotator/internal/sinch/sinchtest"
)

// checked starts a rig behind a Conformance.
func checked(t *testing.T, cfg sinchtest.Config) (*rig, *sinchtest.Conformance) {
	t.Helper()
	g := start(t, cfg)
	c, err := sinchtest.Check(g.Server)
	if err != nil {
		t.Fatal(err)
	}
	g.serve(c)
	return g, c
}

// TestSimulatorConforms makes every kind of answer and finds none that the
// description does not allow.
func TestSimulatorConforms(t *testing.T) {
	t.Parallel()
	g, c := checked(t, sinchtest.Config{ExtraFields: true, PageSizeMax: 2})
	auth := g.bearer(g.own)
	for range 4 {
		g.exchange(sinchtest.Issued{KeyID: "nobody", Secret: "nothing"})
	}
	for _, project := range []string{child, "nowhere", "a%2Fb"} {
		g.do(http.MethodGet, keysPath(project, "?pageSize=0&pageToken=string"), auth, "")
		g.create(auth, project, "x \"ü\" 😀 \x00")
		g.create(auth, project, "x \"ü\" 😀 \x00") // 409
		for _, key := range append(g.Keys(child), sinchtest.Key{ID: "none"}) {
			path := keysPath(project, "/", key.ID)
			g.do(http.MethodGet, path, auth, "")
			g.do(http.MethodPatch, path, auth, `{"displayName":"y"}`)
		}
		for _, probe := range []string{"v1/%/trunks?page=1&size=1", "v1/%/availableRegions", "v1/%/messages?page_size=1", "v3/%/services?pageSize=1", "v1/%/bundles"} {
			path := strings.Replace(probe, "%", "projects/"+project, 1)
			g.do(http.MethodGet, "/"+path, auth, "")
			g.do(http.MethodGet, "/probe-base/"+path, auth, "")
		}
	}
	for _, key := range g.Keys(child) {
		g.do(http.MethodDelete, keysPath(child, "/", key.ID), auth, "")
	}
	for _, version := range []string{"/v1", "/v1alpha1"} {
		collection := version + "/projects/" + parent + "/subprojects"
		r := g.do(http.MethodPost, collection, auth, `{"displayName":"n","labels":{"a":"b"}}`)
		id, _ := r.json(t)["subprojectId"].(string)
		g.do(http.MethodGet, collection+"?pageSize=5&showDeleted=true", auth, "")
		g.do(http.MethodGet, keysPath(id), auth, "") // not ready
		g.do(http.MethodGet, version+"/subprojects/"+id, auth, "")
		g.do(http.MethodPatch, version+"/subprojects/"+id, auth, `{"displayName":"m"}`)
		g.do(http.MethodDelete, version+"/subprojects/"+id, auth, "")
	}
	g.ExpireTokens()
	g.do(http.MethodGet, keysPath(child), auth, "")
	if n := len(g.Requests()); n < 60 {
		t.Errorf("only %d requests were checked", n)
	}
	if v := c.Violations(); len(v) > 0 {
		t.Errorf("%d violations:\n%s", len(v), strings.Join(v, "\n"))
	}
}

func TestBadRequestsAreViolations(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ method, path, body string }{
		"unknown path":     {"GET", "/v1/elsewhere", ""},
		"unknown method":   {"PUT", keysPath(child), ""},
		"page size":        {"GET", keysPath(child, "?pageSize=1001"), ""},
		"bad JSON":         {"POST", keysPath(child), `{`},
		"no name":          {"POST", keysPath(child), `{}`},
		"unknown member":   {"POST", keysPath(child), `{"displayName":"a","expiry":1}`},
		"no body":          {"POST", keysPath(child), ``},
		"subproject":       {"POST", "/v1alpha1/projects/p/subprojects", `{"displayName":""}`},
		"credentials form": {"POST", "/oauth2/token", `grant_type=client_credentials&client_id=x`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, c := checked(t, sinchtest.Config{})
			auth := g.bearer(g.own)
			if v := c.Violations(); len(v) > 0 {
				t.Fatalf("before: %q", v)
			}
			g.do(tc.method, tc.path, auth, tc.body)
			if len(c.Violations()) == 0 {
				t.Error("no violation")
			}
		})
	}
}

func TestMissingCredentialsAreAViolation(t *testing.T) {
	t.Parallel()
	g, c := checked(t, sinchtest.Config{})
	g.do(http.MethodGet, keysPath(child), "", "")
	if len(c.Violations()) != 1 {
		t.Errorf("violations: %q, want one", c.Violations())
	}
}

// TestBadAnswersAreViolations puts a wrong server behind the check.
func TestBadAnswersAreViolations(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status int
		body   string
	}{
		"missing members": {200, `{"accessKeys":[{"accessKeyId":"x"}]}`},
		"leaked secret":   {200, `{"accessKeys":[{"accessKeyId":"x","displayName":"","projectId":"p","createTime":"2019-08-24T14:15:22Z","updateTime":"2019-08-24T14:15:22Z","secret":"s"}]}`},
		"bad time":        {200, `{"accessKeys":[{"accessKeyId":"x","displayName":"","projectId":"p","createTime":"yesterday","updateTime":"2019-08-24T14:15:22Z"}]}`},
		"flat error":      {500, `{"code":500}`},
		"not JSON":        {200, `<html>`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := sinchtest.Check(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
			}))
			if err != nil {
				t.Fatal(err)
			}
			g := start(t, sinchtest.Config{})
			g.serve(c)
			g.do(http.MethodGet, keysPath(child), "Bearer x", "")
			if len(c.Violations()) != 1 {
				t.Errorf("violations: %q, want one", c.Violations())
			}
		})
	}
}

func TestFaultsAreExempt(t *testing.T) {
	t.Parallel()
	g, c := checked(t, sinchtest.Config{})
	auth := g.bearer(g.own)
	for _, do := range []sinchtest.Behaviour{
		sinchtest.Answer(200, "nonsense", nil), sinchtest.NotJSON(), sinchtest.AppliedLost(),
		sinchtest.Lost(), sinchtest.CutBody(), sinchtest.Delay(time.Millisecond),
	} {
		remove := g.Fault(sinchtest.Fault{Do: do})
		g.do(http.MethodGet, keysPath(child), auth, "")
		remove()
	}
	if v := c.Violations(); len(v) > 0 {
		t.Errorf("violations: %q", v)
	}
	if n := len(g.Requests()); n != 7 {
		t.Errorf("%d requests, want 7", n)
	}
}
