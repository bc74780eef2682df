package sinch_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/secret"
	"rotator/internal/sinch"
	"rotator/internal/sinch/sinchtest"
)

func sorted(keys []sinch.AccessKey) []sinch.AccessKey {
	slices.SortFunc(keys, func(a, b sinch.AccessKey) int { return strings.Compare(a.ID, b.ID) })
	return keys
}

func truth(g *rig, project string) []sinch.AccessKey {
	var keys []sinch.AccessKey
	for _, k := range g.Keys(project) {
		keys = append(keys, sinch.AccessKey{
			ID: k.ID, DisplayName: k.DisplayName, ProjectID: k.ProjectID, CreatedAt: k.CreateTime, UpdatedAt: k.UpdateTime,
		})
	}
	return sorted(keys)
}

func TestListKeys(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 2, 10} {
		t.Run(fmt.Sprintf("page size %d", size), func(t *testing.T) {
			t.Parallel()
			g := start(t, sinchtest.Config{PageSizeMax: size, ExtraFields: true})
			for i := range 7 {
				g.AddKey(child, fmt.Sprintf("key %d \x00 \u4e16", i), time.Now().Add(-time.Hour))
			}
			l, err := g.ListKeys(t.Context(), child)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(truth(g, child), sorted(l.Keys)); diff != "" {
				t.Error(diff)
			}
			if age := time.Since(l.ServerTime); age < -2*time.Second || age > time.Minute {
				t.Errorf("server time is %s old", age)
			}
		})
	}
}

func TestListKeysOfAnEmptyProject(t *testing.T) {
	t.Parallel()
	for _, arrays := range []bool{false, true} {
		g := start(t, sinchtest.Config{EmptyArrays: arrays})
		if l, err := g.ListKeys(t.Context(), child); err != nil || len(l.Keys) != 0 {
			t.Errorf("got %v, %v", l, err)
		}
	}
	c := answering(t, &recorder{}, 200, []byte(`{"accessKeys":null,"nextPageToken":null}`))
	if l, err := c.ListKeys(t.Context(), child); err != nil || len(l.Keys) != 0 {
		t.Errorf("null: got %v, %v", l, err)
	}
}

// TestListKeysIsWholeOrAnError: on the word of a listing keys are deleted.
func TestListKeysIsWholeOrAnError(t *testing.T) {
	t.Parallel()
	key := func(id, project, created string) string {
		return fmt.Sprintf(`{"accessKeyId":%q,"displayName":"a","projectId":%q,"createTime":%q}`, id, project, created)
	}
	const now = "2026-01-01T00:00:00Z"
	list := func(items ...string) string { return `{"accessKeys":[` + strings.Join(items, ",") + `]}` }
	for name, body := range map[string]string{
		"empty body":     "",
		"web page":       "<html>",
		"null":           "null",
		"array":          "[]",
		"trailing data":  "{} {}",
		"error":          `{"error":{"code":503,"status":"UNAVAILABLE"}}`,
		"keys typed":     `{"accessKeys":{}}`,
		"token typed":    `{"nextPageToken":7}`,
		"null key":       list("null"),
		"empty id":       list(key("", child, now)),
		"dots as id":     list(key("..", child, now)),
		"control in id":  `{"accessKeys":[{"accessKeyId":"a\u0000b","createTime":"` + now + `"}]}`,
		"no time":        list(key("a", child, "")),
		"bad time":       list(key("a", child, "yesterday")),
		"other project":  list(key("a", child, now), key("b", parent, now)),
		"the same twice": list(key("a", child, now), key("a", child, now)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := answering(t, &recorder{}, 200, []byte(body))
			l, err := c.ListKeys(t.Context(), child)
			matches(t, err, sinch.ErrIncomplete)
			if len(l.Keys) != 0 {
				t.Error("returned keys with an error")
			}
		})
	}
}

func TestListKeysGoingRound(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]sinchtest.Behaviour{
		"repeated token": sinchtest.RepeatToken(),
		"not JSON":       sinchtest.NotJSON(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t, sinchtest.Config{PageSizeMax: 1})
			for i := range 5 {
				g.AddKey(child, fmt.Sprint(i), time.Now())
			}
			g.Fault(sinchtest.Fault{Operation: "access_keys.list", After: 2, Do: do})
			_, err := g.ListKeys(t.Context(), child)
			matches(t, err, sinch.ErrIncomplete)
		})
	}
}

func TestListKeysWithoutEnd(t *testing.T) {
	t.Parallel()
	log, n := &recorder{}, 0
	cfg := config("http://sinch.test", log)
	cfg.AuthMethod = "basic"
	cfg.Base = direct{http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n++
		_, _ = fmt.Fprintf(w, `{"nextPageToken":"t%d"}`, n)
	})}
	c, err := sinch.New(cfg, sinch.Credentials{KeyID: "own", Secret: secret.New("own-secret-1234")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.ListKeys(t.Context(), child)
	matches(t, err, sinch.ErrIncomplete)
	if n > 200 {
		t.Errorf("asked for %d pages", n)
	}
}

func TestListKeysHealsOverAnEmptyPage(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{PageSizeMax: 2})
	for i := range 5 {
		g.AddKey(child, fmt.Sprint(i), time.Now())
	}
	g.Fault(sinchtest.Fault{Operation: "access_keys.list", After: 1, Times: 1, Do: sinchtest.EmptyPage()})
	g.Fault(sinchtest.Fault{Operation: "access_keys.list", After: 2, Times: 1, Do: sinchtest.CutBody()})
	l, err := g.ListKeys(t.Context(), child)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(truth(g, child), sorted(l.Keys)); diff != "" {
		t.Error(diff)
	}
}

func TestGetKey(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{ExtraFields: true})
	issued := g.AddKey(child, "billing-api", time.Now().Add(-time.Hour))
	k, err := g.GetKey(t.Context(), child, issued.KeyID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(truth(g, child)[0], k); diff != "" {
		t.Error(diff)
	}
	_, err = g.GetKey(t.Context(), child, "no-such-key")
	matches(t, err, sinch.ErrNotFound, sinch.ErrPermanent)
	_, err = g.GetKey(t.Context(), "no-such-project", issued.KeyID)
	matches(t, err, sinch.ErrForbidden, sinch.ErrPermanent)
	if !strings.Contains(err.Error(), "selected accounts") {
		t.Errorf("error %q gives no advice", err)
	}
	other := answering(t, &recorder{}, 200, []byte(`{"accessKeyId":"b","createTime":"2026-01-01T00:00:00Z"}`))
	_, err = other.GetKey(t.Context(), child, "a")
	matches(t, err, sinch.ErrIncomplete)
}

func TestRenameKey(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	issued := g.AddKey(child, "old", time.Now())
	g.AddKey(child, "taken", time.Now())
	g.Fault(sinchtest.Fault{Operation: "access_keys.update", Times: 1, Do: sinchtest.AppliedStatus(503)})
	k, err := g.RenameKey(t.Context(), child, issued.KeyID, "old (superseded 2026-01-01)")
	if err != nil || k.DisplayName != "old (superseded 2026-01-01)" {
		t.Errorf("got %+v, %v", k, err)
	}
	want := []string{"intent 1", "error 1 503", "intent 2", "ok 2 200"}
	if diff := cmp.Diff(want, g.log.story("access_keys.update")); diff != "" {
		t.Error(diff)
	}
	_, err = g.RenameKey(t.Context(), child, issued.KeyID, "taken")
	matches(t, err, sinch.ErrNameTaken, sinch.ErrPermanent)
	g.Fault(sinchtest.Fault{Operation: "access_keys.update", Do: sinchtest.NotJSON()})
	_, err = g.RenameKey(t.Context(), child, issued.KeyID, "new")
	matches(t, err, sinch.ErrStateUnknown)
}

func TestDeleteKey(t *testing.T) {
	t.Parallel()
	const op = "access_keys.delete"
	for name, tc := range map[string]struct {
		do    sinchtest.Behaviour
		times int
		story []string
		want  []error
	}{
		"at once":     {sinchtest.Delay(0), 1, []string{"intent 1", "ok 1 200"}, nil},
		"not JSON":    {sinchtest.NotJSON(), 0, []string{"intent 1", "ok 1 200"}, nil},
		"204":         {sinchtest.AppliedAnswer(204, "", nil), 0, []string{"intent 1", "ok 1 204"}, nil},
		"404":         {sinchtest.Status(404), 0, []string{"intent 1", "error 1 404"}, nil},
		"lost though": {sinchtest.AppliedLost(), 1, []string{"intent 1", "unknown 1 0", "intent 2", "error 2 404"}, nil},
		"500 though":  {sinchtest.AppliedStatus(500), 1, []string{"intent 1", "error 1 500", "intent 2", "error 2 404"}, nil},
		"429":         {sinchtest.RateLimited(""), 1, []string{"intent 1", "error 1 429", "intent 2", "ok 2 200"}, nil},
		"401 once":    {sinchtest.ExpireTokens(), 1, []string{"intent 1", "error 1 401", "intent 2", "ok 2 200"}, nil},
		"401":         {sinchtest.Status(401), 0, []string{"intent 1", "error 1 401", "intent 2", "error 2 401"}, []error{sinch.ErrUnauthenticated, sinch.ErrPermanent}},
		"403":         {sinchtest.Status(403), 0, []string{"intent 1", "error 1 403"}, []error{sinch.ErrForbidden, sinch.ErrPermanent}},
		"redirect":    {sinchtest.Answer(307, "", http.Header{"Location": {"/"}}), 0, []string{"intent 1", "error 1 307"}, []error{sinch.ErrStateUnknown}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t, sinchtest.Config{})
			issued := g.AddKey(child, "a", time.Now())
			g.Fault(sinchtest.Fault{Operation: op, Times: tc.times, Do: tc.do})
			err := g.DeleteKey(t.Context(), child, issued.KeyID)
			matches(t, err, tc.want...)
			if (err == nil) != (tc.want == nil) {
				t.Errorf("error %v", err)
			}
			if diff := cmp.Diff(tc.story, g.log.story(op)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestIDsStayOneSegment(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	for _, id := range []string{"a/b", "a%2Fb", "../x", "a b?c#d", "\u4e16"} {
		g.AddSubproject(parent, id, "odd", nil)
		g.AddKey(id, "k", time.Now())
		l, err := g.ListKeys(t.Context(), id)
		if err != nil {
			t.Errorf("%q: %v", id, err)
			continue
		}
		if diff := cmp.Diff(truth(g, id), sorted(l.Keys)); diff != "" {
			t.Errorf("%q: %s", id, diff)
		}
	}
	before := len(g.log.all())
	for _, id := range []string{"", ".", "..", "a\x00b", "\xff", strings.Repeat("x", 129)} {
		_, err := g.ListKeys(t.Context(), id)
		matches(t, err, sinch.ErrPermanent, sinch.ErrNotApplied)
		matches(t, g.DeleteKey(t.Context(), child, id), sinch.ErrPermanent, sinch.ErrNotApplied)
		_, _, err = g.CreateKey(t.Context(), id, "a")
		matches(t, err, sinch.ErrPermanent, sinch.ErrNotApplied)
		for _, err := range g.Client.Subprojects(t.Context(), id) {
			matches(t, err, sinch.ErrPermanent, sinch.ErrNotApplied)
		}
		err = g.Verify(t.Context(), id, g.own)
		matches(t, err, sinch.ErrPermanent, sinch.ErrNotApplied, sinch.ErrVerify)
	}
	if len(g.log.all()) != before {
		t.Error("a request left for an id that is none")
	}
}
