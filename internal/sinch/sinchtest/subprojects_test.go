package sinchtest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/sinch/sinchtest"
)

func TestSubprojectLifeCycle(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"/v1", "/v1alpha1"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			g := start(t, sinchtest.Config{})
			auth := g.bearer(g.own)
			collection := version + "/projects/" + parent + "/subprojects"
			r := g.do(http.MethodPost, collection, auth, `{"displayName":"New","labels":{"a":"b"}}`)
			g.want(r, http.StatusOK, "create")
			var made sinchtest.Subproject
			if err := json.Unmarshal([]byte(r.body), &made); err != nil {
				t.Fatal(err)
			}
			want := sinchtest.Subproject{
				ID: made.ID, DisplayName: "New", ParentID: parent, Labels: map[string]string{"a": "b"},
				CreateTime: g.clock.Now(), UpdateTime: g.clock.Now(),
			}
			if diff := cmp.Diff(want, made); diff != "" {
				t.Errorf("create (-want +got):\n%s", diff)
			}

			path := version + "/subprojects/" + made.ID
			g.want(g.do(http.MethodGet, path, auth, ""), http.StatusOK, "get")
			r = g.do(http.MethodPatch, path, auth, `{"labels":{"c":"d"}}`)
			g.want(r, http.StatusOK, "update")
			if !strings.Contains(r.body, `"labels":{"c":"d"}`) || !strings.Contains(r.body, `"displayName":"New"`) {
				t.Errorf("update: %s", r.body)
			}
			g.want(g.do(http.MethodDelete, path, auth, ""), http.StatusOK, "delete")
			g.want(g.do(http.MethodGet, path, auth, ""), http.StatusNotFound, "get after delete")
			g.want(g.do(http.MethodGet, keysPath(made.ID), auth, ""), http.StatusNotFound, "keys after delete")
			if r := g.do(http.MethodGet, collection, auth, ""); strings.Contains(r.body, made.ID) {
				t.Errorf("deleted subproject is listed: %s", r.body)
			}
			if r := g.do(http.MethodGet, collection+"?showDeleted=true", auth, ""); !strings.Contains(r.body, `"deleted":true`) {
				t.Errorf("showDeleted: %s", r.body)
			}
		})
	}
}

func TestNewSubprojectIsNotReady(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	auth := g.bearer(g.own)
	statuses := map[int]bool{}
	var ids []string
	for i := range 8 {
		r := g.do(http.MethodPost, "/v1/projects/"+parent+"/subprojects", auth, fmt.Sprintf(`{"displayName":"s%d"}`, i))
		id, _ := r.json(t)["subprojectId"].(string)
		ids = append(ids, id)
		statuses[g.do(http.MethodGet, keysPath(id), auth, "").status] = true
	}
	if diff := cmp.Diff(map[int]bool{403: true, 404: true}, statuses); diff != "" {
		t.Errorf("young subprojects (-want +got):\n%s", diff)
	}
	g.clock.Move(30 * time.Second)
	for _, id := range ids {
		g.want(g.do(http.MethodGet, keysPath(id), auth, ""), http.StatusOK, "after 30 s")
	}
}

func TestSubprojectRefusals(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	own := g.bearer(g.own)
	childs := g.bearer(g.AddKey(child, "billing", time.Time{}))
	collection, long := "/v1/projects/"+parent+"/subprojects", strings.Repeat("x", 256)
	for name, tc := range map[string]struct {
		method, auth, path, body string
		status                   int
	}{
		"bad JSON":          {"POST", own, collection, `{`, 400},
		"no name":           {"POST", own, collection, `{}`, 400},
		"long name":         {"POST", own, collection, `{"displayName":"` + long + `"}`, 400},
		"empty label":       {"POST", own, collection, `{"displayName":"x","labels":{"a":""}}`, 400},
		"long label":        {"PATCH", own, "/v1/subprojects/" + child, `{"labels":{"` + long + `":"x"}}`, 400},
		"nested":            {"POST", own, "/v1/projects/" + child + "/subprojects", `{"displayName":"x"}`, 400},
		"odd showDeleted":   {"GET", own, collection + "?showDeleted=perhaps", ``, 400},
		"by a child":        {"GET", childs, collection, ``, 403},
		"a child of itself": {"GET", childs, "/v1/subprojects/" + child, ``, 200},
		"a parent":          {"GET", own, "/v1/subprojects/" + parent, ``, 404},
		"none":              {"GET", own, "/v1/subprojects/none", ``, 403},
	} {
		if r := g.do(tc.method, tc.path, tc.auth, tc.body); r.status != tc.status {
			t.Errorf("%s: %d %s, want %d", name, r.status, r.body, tc.status)
		}
	}
}

func TestRefusedVersions(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{Refuse: map[string]int{"v1": 405}})
	auth := g.bearer(g.own)
	get := func(version string) int {
		return g.do(http.MethodGet, "/"+version+"/projects/"+parent+"/subprojects", auth, "").status
	}
	if a, b := get("v1"), get("v1alpha1"); a != 405 || b != 200 {
		t.Errorf("v1 %d, v1alpha1 %d, want 405 and 200", a, b)
	}
	g.Refuse("v1", 0)
	g.Refuse("v1alpha1", 501)
	if a, b := get("v1"), get("v1alpha1"); a != 200 || b != 501 {
		t.Errorf("v1 %d, v1alpha1 %d, want 200 and 501", a, b)
	}
}
