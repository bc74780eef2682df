package sinchtest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/sinch/sinchtest"
)

func TestKeyLifeCycle(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	auth := g.bearer(g.own)
	const name = "bílling/\"api\" 😀~0123"
	key, _ := g.create(auth, child, name)
	g.want(g.exchange(key), http.StatusOK, "the new secret")

	at := g.clock.Now()
	g.clock.Move(time.Minute)
	path := keysPath(child, "/", key.KeyID)
	g.want(g.do(http.MethodPatch, path, auth, `{"displayName":"renamed"}`), http.StatusOK, "rename")
	want := sinchtest.Key{ID: key.KeyID, DisplayName: "renamed", ProjectID: child, CreateTime: at, UpdateTime: at.Add(time.Minute)}
	var got sinchtest.Key
	r := g.do(http.MethodGet, path, auth, "")
	if err := json.Unmarshal([]byte(r.body), &got); err != nil {
		t.Fatalf("%v: %s", err, r.body)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("get (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]sinchtest.Key{want}, g.Keys(child)); diff != "" {
		t.Errorf("Keys (-want +got):\n%s", diff)
	}

	g.want(g.do(http.MethodDelete, path, auth, ""), http.StatusOK, "delete")
	g.want(g.do(http.MethodDelete, path, auth, ""), http.StatusNotFound, "delete again")
	g.want(g.do(http.MethodGet, path, auth, ""), http.StatusNotFound, "get after delete")
	if r := g.do(http.MethodGet, keysPath(child), auth, ""); r.body != "{}" {
		t.Errorf("empty project answers %s, want {}", r.body)
	}
}

func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	auth := g.bearer(g.own)
	for name, body := range map[string]string{
		"not JSON": `{"displayName`, "no body": "", "no name": `{}`, "empty name": `{"displayName":""}`, "a number": `{"displayName":7}`,
	} {
		r := g.do(http.MethodPost, keysPath(child), auth, body)
		if r.status != http.StatusBadRequest || r.state(t) != "INVALID_ARGUMENT" {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	for i := range 10 {
		_, r := g.create(auth, child, fmt.Sprintf("key %d", i))
		g.want(r, http.StatusOK, "within the limit")
	}
	_, r := g.create(auth, child, "one too many")
	g.want(r, http.StatusBadRequest, "eleventh key")
	if r.state(t) != "FAILED_PRECONDITION" || !strings.Contains(r.body, "Limit of 10 Access Keys reached") {
		t.Errorf("eleventh key: %s", r.body)
	}
	if n := len(g.Keys(child)); n != 10 {
		t.Errorf("%d keys", n)
	}
}

func TestNamesAreUnique(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	auth := g.bearer(g.own)
	first, _ := g.create(auth, child, "a")
	second, _ := g.create(auth, child, "b")
	_, r := g.create(auth, child, "a")
	g.want(r, http.StatusConflict, "create a again")
	if !strings.Contains(r.body, "Not found") {
		t.Errorf("409 without Sinch's odd message: %s", r.body)
	}
	patch := func(key sinchtest.Issued) reply {
		return g.do(http.MethodPatch, keysPath(child, "/", key.KeyID), auth, `{"displayName":"a"}`)
	}
	g.want(patch(second), http.StatusConflict, "rename b to a")
	g.want(patch(first), http.StatusOK, "rename a to a")
	_, r = g.create(auth, parent, "a")
	g.want(r, http.StatusOK, "the same name elsewhere")
	g.RemoveKey(first.KeyID)
	_, r = g.create(auth, child, "a")
	g.want(r, http.StatusOK, "the name of a deleted key")
}

func TestDeleteBodiesVary(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	auth := g.bearer(g.own)
	bodies := map[string]bool{}
	for i := range 3 {
		key := g.AddKey(child, fmt.Sprint(i), time.Time{})
		bodies[g.do(http.MethodDelete, keysPath(child, "/", key.KeyID), auth, "").body] = true
	}
	if diff := cmp.Diff(map[string]bool{"": true, "{}": true, "OK\n": true}, bodies); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestIDsAreEscaped(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	const id = "odd/../id %2F?ü"
	g.AddSubproject(parent, id, "Odd", nil)
	g.AddKey(id, "nul \x00 name", time.Time{})
	r := g.do(http.MethodGet, keysPath(url.PathEscape(id)), g.bearer(g.own), "")
	g.want(r, http.StatusOK, "list")
	if !strings.Contains(r.body, `nul \u0000 name`) {
		t.Errorf("list: %s", r.body)
	}
	if last := g.Requests()[1]; last.Project != id {
		t.Errorf("recorded project %q", last.Project)
	}
}

func TestClockSkew(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	g.SetClockSkew(-time.Hour)
	_, r := g.create(g.bearer(g.own), child, "a")
	if got, want := r.header.Get("Date"), "Sun, 01 Mar 2026 11:00:00 GMT"; got != want {
		t.Errorf("Date %q, want %q", got, want)
	}
	if got, want := g.Keys(child)[0].CreateTime, g.clock.Now().Add(-time.Hour); !got.Equal(want) {
		t.Errorf("created %v, want %v", got, want)
	}
}

func TestEchoSecrets(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{EchoSecrets: true})
	auth := g.bearer(g.own)
	key, _ := g.create(auth, child, "a")
	_, token, _ := strings.Cut(auth, " ")
	r := g.do(http.MethodGet, keysPath(child, "/nothing"), auth, "")
	if !strings.Contains(r.body, auth) || !strings.Contains(r.body, "token: "+token) || !strings.Contains(r.body, key.Secret) {
		t.Errorf("error body keeps its secrets: %s", r.body)
	}
	for range 4 {
		if r := g.exchange(sinchtest.Issued{KeyID: "x", Secret: "typed-in-wrong"}); !strings.Contains(r.body, "x:typed-in-wrong") {
			t.Errorf("refused exchange keeps its secrets: %s", r.body)
		}
	}
}

func TestAPIRate(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{APIRate: 2})
	auth := g.bearer(g.own)
	list := func() reply { return g.do(http.MethodGet, keysPath(child), auth, "") }
	g.want(list(), http.StatusOK, "first")
	g.want(list(), http.StatusOK, "second")
	r := list()
	g.want(r, http.StatusTooManyRequests, "third")
	if r.header.Get("Retry-After") != "1" || r.state(t) != "RESOURCE_EXHAUSTED" {
		t.Errorf("429: %v %s", r.header, r.body)
	}
	g.clock.Move(time.Second)
	g.want(list(), http.StatusOK, "a second later")
}

func TestKeyOfAnotherProjectIsNotFound(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	auth := g.bearer(g.own)
	key := g.AddKey(child, "billing", time.Time{})
	path := keysPath(parent, "/", key.KeyID)
	g.want(g.do(http.MethodGet, path, auth, ""), http.StatusNotFound, "get")
	g.want(g.do(http.MethodDelete, path, auth, ""), http.StatusNotFound, "delete")
	if !g.Works(key.KeyID, key.Secret) {
		t.Error("deleted through another project")
	}
}

func TestExtraFields(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{ExtraFields: true})
	auth := g.bearer(g.own)
	for _, path := range []string{keysPath(parent), keysPath("nowhere"), keysPath(parent, "/", g.own.KeyID)} {
		if r := g.do(http.MethodGet, path, auth, ""); r.json(t)["experimental"] == nil {
			t.Errorf("%s: %s", path, r.body)
		}
	}
}
