package sinchtest_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/sinch/sinchtest"
)

// TestFixtures sends the commands of Sinch's own pages (SINCH.md section 8).
func TestFixtures(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	key := g.AddKey(parent, "mine", time.Time{})

	// curl …/oauth2/token -d grant_type=client_credentials --user ID:SECRET
	r := g.exchange(g.own)
	g.want(r, http.StatusOK, "token")
	token := r.json(t)
	if diff := cmp.Diff([]string{"access_token", "expires_in", "scope", "token_type"}, members(token)); diff != "" {
		t.Errorf("token answer (-want +got):\n%s", diff)
	}
	if token["expires_in"] != 3599.0 || token["scope"] != "" || !strings.EqualFold(fmt.Sprint(token["token_type"]), "bearer") {
		t.Errorf("token answer: %v %v %v", token["expires_in"], token["scope"], token["token_type"])
	}
	auth := "Bearer " + fmt.Sprint(token["access_token"])

	// curl …/v1alpha1/projects/{p}/subprojects -H "Authorization: Bearer …"
	r = g.do(http.MethodGet, "/v1alpha1/projects/"+parent+"/subprojects", auth, "")
	g.want(r, http.StatusOK, "subprojects")
	if diff := cmp.Diff([]string{"nextPageToken", "subprojects"}, members(r.json(t))); diff != "" {
		t.Errorf("subprojects answer (-want +got):\n%s", diff)
	}

	// curl -i -X GET '…/accessKeys?pageSize=0&pageToken=string'
	r = g.do(http.MethodGet, keysPath(parent, "?pageSize=0&pageToken=string"), auth, "")
	g.want(r, http.StatusOK, "list")
	listed := r.json(t)
	if diff := cmp.Diff([]string{"accessKeys", "nextPageToken"}, members(listed)); diff != "" {
		t.Errorf("list answer (-want +got):\n%s", diff)
	}
	fields := []string{"accessKeyId", "createTime", "displayName", "projectId", "updateTime"}
	keys, _ := listed["accessKeys"].([]any)
	if len(keys) != 2 || !slices.Equal(members(keys[0]), fields) {
		t.Errorf("listed: %v", keys)
	}

	// curl -i -X POST '…/accessKeys' -d '{"displayName": "My production Access Key"}'
	r = g.do(http.MethodPost, keysPath(parent), auth, `{"displayName": "My production Access Key"}`)
	g.want(r, http.StatusOK, "create")
	made := r.json(t)
	if !slices.Equal(members(made), []string{"accessKey", "secret"}) || !slices.Equal(members(made["accessKey"]), fields) {
		t.Errorf("create answer: %v", members(made))
	}

	// curl -i -X PATCH '…/accessKeys/{id}' -d '{"displayName": "My staging Access Key"}'
	r = g.do(http.MethodPatch, keysPath(parent, "/", key.KeyID), auth, `{"displayName": "My staging Access Key"}`)
	g.want(r, http.StatusOK, "update")
	if updated := r.json(t); !slices.Equal(members(updated), fields) || updated["displayName"] != "My staging Access Key" {
		t.Errorf("update answer: %v", updated)
	}
}

func members(of any) []string {
	m, _ := of.(map[string]any)
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
