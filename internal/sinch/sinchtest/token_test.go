package sinchtest_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"rotator/internal/sinch/sinchtest"
)

func TestTokenEndpointRefuses(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	good := "Basic " + base64.StdEncoding.EncodeToString([]byte(g.own.KeyID+":"+g.own.Secret))
	bad := "Basic " + base64.StdEncoding.EncodeToString([]byte(g.own.KeyID+":wrong"))
	const grant = "grant_type=client_credentials"
	for name, tc := range map[string]struct {
		method, auth, body string
		status             int
	}{
		"good":                {http.MethodPost, good, grant, 200},
		"wrong secret":        {http.MethodPost, bad, grant, 401},
		"no credentials":      {http.MethodPost, "", grant, 401},
		"credentials in form": {http.MethodPost, "", grant + "&client_id=" + g.own.KeyID + "&client_secret=" + g.own.Secret, 401},
		"another grant":       {http.MethodPost, good, "grant_type=password", 400},
		"no grant":            {http.MethodPost, good, "", 400},
		"not a form":          {http.MethodPost, good, "%zz", 400},
		"GET":                 {http.MethodGet, good, "", 405},
	} {
		if r := g.do(tc.method, "/oauth2/token", tc.auth, tc.body); r.status != tc.status {
			t.Errorf("%s: %d %s, want %d", name, r.status, r.body, tc.status)
		}
	}
}

func TestTokenEndpointTakesEncodedCredentials(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	encoded := strings.ReplaceAll(url.QueryEscape(g.own.KeyID), "-", "%2D")
	g.want(g.exchange(sinchtest.Issued{KeyID: encoded, Secret: g.own.Secret}), http.StatusOK, "encoded id")
}

func TestRefusedExchangesVaryInShape(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{InvalidClientStatus: 400})
	shapes := map[string]bool{}
	for range 4 {
		r := g.exchange(sinchtest.Issued{KeyID: "nobody", Secret: "nothing"})
		g.want(r, http.StatusBadRequest, "unknown key")
		shapes[strings.Join(members(r.json(t)), " ")] = true
	}
	if len(shapes) != 4 {
		t.Errorf("shapes: %v, want 4", shapes)
	}
}

func TestTokenBucket(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	for range 30 {
		g.want(g.exchange(g.own), http.StatusOK, "within the burst")
	}
	r := g.exchange(g.own)
	g.want(r, http.StatusTooManyRequests, "past the burst")
	if r.body != "" || r.header.Get("X-Envoy-Ratelimited") != "true" || r.header.Get("Retry-After") != "" {
		t.Errorf("429: body %q header %v", r.body, r.header)
	}
	g.clock.Move(100 * time.Millisecond)
	g.want(g.exchange(g.own), http.StatusOK, "one token later")
	g.want(g.exchange(g.own), http.StatusTooManyRequests, "and no second")

	free := start(t, sinchtest.Config{TokenRate: -1})
	for range 50 {
		free.want(free.exchange(free.own), http.StatusOK, "unlimited")
	}
}

func TestTokenLife(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	auth := g.bearer(g.own)
	list := func() reply { return g.do(http.MethodGet, keysPath(parent), auth, "") }
	g.clock.Move(time.Hour - time.Second)
	g.want(list(), http.StatusOK, "young token")
	g.clock.Move(time.Second)
	r := list()
	g.want(r, http.StatusUnauthorized, "old token")
	const want = `Bearer error="invalid_token", error_description="Jwt expired at 2026-03-01T13:00:00Z"`
	if got := r.header.Get("WWW-Authenticate"); got != want {
		t.Errorf("www-authenticate %q, want %q", got, want)
	}

	auth = g.bearer(g.own)
	g.want(list(), http.StatusOK, "new token")
	g.ExpireTokens()
	if r := list(); r.status != 401 || !strings.Contains(r.header.Get("WWW-Authenticate"), "Jwt expired at") {
		t.Errorf("expired by force: %d %v", r.status, r.header)
	}
	auth = g.bearer(g.own)
	g.want(list(), http.StatusOK, "token after that")
}

func TestDeletedKey(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	key := g.AddKey(child, "billing", time.Time{})
	auth := g.bearer(key)
	list := func() reply { return g.do(http.MethodGet, keysPath(child), auth, "") }
	g.want(list(), http.StatusOK, "live key")

	if !g.RemoveKey(key.KeyID) || g.RemoveKey(key.KeyID) {
		t.Error("RemoveKey: want true once")
	}
	if g.Works(key.KeyID, key.Secret) {
		t.Error("Works after deletion")
	}
	g.want(g.exchange(key), http.StatusUnauthorized, "new token of a deleted key")
	g.clock.Move(time.Minute)
	g.want(list(), http.StatusOK, "issued token within its minute")
	g.clock.Move(time.Millisecond)
	r := list()
	g.want(r, http.StatusUnauthorized, "issued token past its minute")
	if r.body != "" || r.header.Get("WWW-Authenticate") != "" {
		t.Errorf("401 of a deleted key: %q %v, want neither body nor www-authenticate", r.body, r.header)
	}
	if secret, known := g.Secret(key.KeyID); !known || secret != key.Secret {
		t.Error("the secret of a deleted key is forgotten")
	}
}

func TestKeyDelay(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{KeyDelay: 5 * time.Second})
	key, _ := g.create(g.bearer(g.own), child, "new")
	g.want(g.exchange(key), http.StatusUnauthorized, "while it propagates")
	g.clock.Move(5 * time.Second)
	g.want(g.exchange(key), http.StatusOK, "after that")
	if !g.Works(key.KeyID, key.Secret) || g.Works(key.KeyID, "wrong") || g.Works("nobody", key.Secret) {
		t.Error("Works disagrees")
	}
}

func TestWhoMayActWhere(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{BasicDeleteDenied: true})
	g.AddSubproject(parent, "child-2", "Other", nil)
	childKey := g.AddKey(child, "billing", time.Time{})
	own, childs := g.bearer(g.own), g.bearer(childKey)
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(childKey.KeyID+":"+childKey.Secret))
	wrong := "Basic " + base64.StdEncoding.EncodeToString([]byte(childKey.KeyID+":wrong"))
	for name, tc := range map[string]struct {
		method, auth, path string
		status             int
	}{
		"parent on itself":        {"GET", own, keysPath(parent), 200},
		"parent on child":         {"GET", own, keysPath(child), 200},
		"child on itself":         {"GET", childs, keysPath(child), 200},
		"child on parent":         {"GET", childs, keysPath(parent), 403},
		"child on sibling":        {"GET", childs, keysPath("child-2"), 403},
		"no such project":         {"GET", own, keysPath("nowhere"), 403},
		"basic":                   {"GET", basic, keysPath(child), 200},
		"basic, wrong secret":     {"GET", wrong, keysPath(child), 401},
		"basic delete":            {"DELETE", basic, keysPath(child, "/", childKey.KeyID), 403},
		"nobody":                  {"GET", "", keysPath(child), 401},
		"forged token":            {"GET", own[:len(own)-4] + "AAAA", keysPath(child), 401},
		"not a token":             {"GET", "Bearer x", keysPath(child), 401},
		"unknown path":            {"GET", own, "/v1/elsewhere", 404},
		"unknown method":          {"PUT", own, keysPath(child), 405},
		"empty project":           {"GET", own, keysPath(""), 404},
		"probe":                   {"GET", childs, "/v1/projects/" + child + "/trunks?page=1&size=1", 200},
		"probe under prefix":      {"GET", childs, "/probe-base/v3/projects/" + child + "/services", 200},
		"probe elsewhere":         {"GET", childs, "/v1/projects/" + parent + "/bundles", 403},
		"probe numbers":           {"GET", childs, "/v1/projects/" + child + "/availableRegions", 200},
		"probe conversation":      {"GET", childs, "/v1/projects/" + child + "/messages?page_size=1", 200},
		"probe without any token": {"GET", "", "/v1/projects/" + child + "/messages", 401},
	} {
		if r := g.do(tc.method, tc.path, tc.auth, ""); r.status != tc.status {
			t.Errorf("%s: %d %s, want %d", name, r.status, r.body, tc.status)
		}
	}
}
