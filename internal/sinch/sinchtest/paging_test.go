package sinchtest_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/sinch/sinchtest"
)

// walk lists a collection to its end, or to 40 pages.
func (g *rig) walk(auth, path, field, id string, size int) (ids []string, pages int) {
	g.t.Helper()
	for token := ""; pages < 40; {
		r := g.do(http.MethodGet, fmt.Sprintf("%s?pageSize=%d&pageToken=%s", path, size, url.QueryEscape(token)), auth, "")
		g.want(r, http.StatusOK, "page")
		pages++
		body := r.json(g.t)
		items, _ := body[field].([]any)
		for _, item := range items {
			m, _ := item.(map[string]any)
			ids = append(ids, fmt.Sprint(m[id]))
		}
		if token, _ = body["nextPageToken"].(string); token == "" {
			break
		}
	}
	return ids, pages
}

func TestPaging(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ size, clamp, pages int }{
		{0, 0, 1}, {1, 0, 10}, {3, 0, 4}, {10, 0, 1}, {9, 0, 2}, {1000, 0, 1}, {1000, 4, 3}, {2, 4, 5},
	} {
		t.Run(fmt.Sprintf("%d clamped to %d", tc.size, tc.clamp), func(t *testing.T) {
			t.Parallel()
			g := start(t, sinchtest.Config{PageSizeMax: tc.clamp})
			auth := g.bearer(g.own)
			var keys, subs []string
			for i := range 10 {
				keys = append(keys, g.AddKey(child, fmt.Sprint(i), time.Time{}).KeyID)
				if i > 0 { // the rig has one already
					g.AddSubproject(parent, fmt.Sprintf("more-%d", i), "More", nil)
				}
			}
			subs = g.Subprojects(parent)

			got, pages := g.walk(auth, keysPath(child), "accessKeys", "accessKeyId", tc.size)
			if pages != tc.pages {
				t.Errorf("%d pages of keys, want %d", pages, tc.pages)
			}
			if slices.Equal(got, keys) || slices.IsSorted(got) {
				t.Error("keys are listed in order")
			}
			slices.Sort(got)
			slices.Sort(keys)
			if diff := cmp.Diff(keys, got); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}

			got, pages = g.walk(auth, "/v1/projects/"+parent+"/subprojects", "subprojects", "subprojectId", tc.size)
			if pages != tc.pages {
				t.Errorf("%d pages of subprojects, want %d", pages, tc.pages)
			}
			if diff := cmp.Diff(subs, got); diff != "" {
				t.Errorf("subprojects (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPageArguments(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{EmptyArrays: true})
	auth := g.bearer(g.own)
	g.AddKey(parent, "second", time.Time{})
	next, _ := g.do(http.MethodGet, keysPath(parent, "?pageSize=1"), auth, "").json(t)["nextPageToken"].(string)
	for query, status := range map[string]int{
		"?pageSize=1000": 200, "?pageSize=1001": 400, "?pageSize=-1": 400, "?pageSize=many": 400,
		"?pageToken=made-up": 400, "?pageToken=" + next: 200,
	} {
		if r := g.do(http.MethodGet, keysPath(parent, query), auth, ""); r.status != status {
			t.Errorf("%s: %d %s, want %d", query, r.status, r.body, status)
		}
	}
	g.want(g.do(http.MethodGet, keysPath(child, "?pageToken=", next), auth, ""), http.StatusBadRequest, "token of another project")
	if r := g.do(http.MethodGet, keysPath(child), auth, ""); r.body != `{"accessKeys":[],"nextPageToken":""}` {
		t.Errorf("empty project: %s", r.body)
	}
}
