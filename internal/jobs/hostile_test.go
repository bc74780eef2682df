package jobs_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"rotator/internal/jobs"
	"rotator/internal/sinch/sinchtest"
)

// readAt returns the key that a Vault path, as a result names it, holds.
func (g *rig) readAt(path string) (keyID, keySecret string) {
	g.t.Helper()
	s, err := g.vault.Client(g.t).KVv2("secret").Get(g.t.Context(), path)
	if err != nil {
		g.t.Fatalf("reading %q from Vault: %v", path, err)
	}
	keyID, _ = s.Data["key_id"].(string)
	keySecret, _ = s.Data["key_secret"].(string)
	return keyID, keySecret
}

// perProject is a run's one result for each project; a second one fails.
func (g *rig) perProject(r *jobs.Report) map[string]jobs.Result {
	g.t.Helper()
	out := map[string]jobs.Result{}
	for _, res := range r.Results {
		if other, twice := out[res.ProjectID]; twice {
			g.t.Errorf("two results for %q: %+v and %+v", res.ProjectID, other, res)
		}
		out[res.ProjectID] = res
	}
	return out
}

func hostileNames() []string {
	return []string{
		"a/b", "../../sys/raw", "..", ".", "/", "~", "x~", `quo"te'd`, "`$(x)`", "per%2Fcent%00", "Ünïcödé", "日本語", "👩‍👩‍👧",
		"line\nbreak", "tab\tand\x1b[31mred\x7f", "\u202eright to left", " leading", "trailing ", "   ", "UPPER",
		strings.Repeat("x", 200), strings.Repeat("é", 200), strings.Repeat("👍", 200), "ends-in-0123456789ab",
		"'; DROP TABLE rotator.project; --", "{{.Secret}}", "x (superseded 2025-01-01)", "a~b (superseded soon)", "name, with: *",
	}
}

func TestHostileNamesAreRotatedLikeAnyOther(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	old := map[string]string{}
	for i, name := range hostileNames() {
		id := fmt.Sprintf("p%02d", i)
		old[id] = g.project(id, name, 89*day).KeyID
	}
	first := g.run(jobs.Order{}, overlap(time.Second))
	g.wantExit(first, jobs.ExitConverged)
	results := g.perProject(first)
	paths := map[string]string{}
	for i, name := range hostileNames() {
		id := fmt.Sprintf("p%02d", i)
		res := results[id]
		if res.Action != jobs.Rotated || res.VaultPath == "" {
			t.Errorf("%q: result %+v", name, res)
			continue
		}
		path := strings.TrimPrefix(string(res.VaultPath), g.prefix+"/"+id+"/")
		if paths[path] != "" || strings.ContainsAny(path, "/ \n\x00") || path == ".." {
			t.Errorf("%q lives at %q, like %q", name, path, paths[path])
		}
		paths[path] = name
		if key, text := g.readAt(string(res.VaultPath)); key == old[id] || !g.sim.Works(key, text) {
			t.Errorf("%q: the key in Vault, %s, is the old one or does not work", name, key)
		}
	}
	overlapped(time.Second)
	second := g.run(jobs.Order{}, overlap(time.Second))
	g.wantExit(second, jobs.ExitConverged)
	if second.Retired != len(hostileNames()) || len(second.Results) != second.Retired {
		t.Errorf("second run: %d retired of %d, results %+v", second.Retired, len(hostileNames()), second.Results)
	}
	if third := g.run(jobs.Order{Reason: "again", Projects: []string{"p00", "p13", "p20", "p22"}}, overlap(time.Second)); len(third.Results) != 0 {
		t.Errorf("third run had something to do: %+v", third.Results)
	}
	g.wantWholeLog()
}

func TestNamesThatCannotBeKeptEndInAClearResult(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.project("nul", "a\x00b", 89*day)
	g.project("marked", "x~0123456789abc", 89*day) // like another installation's
	g.project("good", "x", 89*day)
	r := g.run(jobs.Order{})
	results := g.perProject(r)
	if res := results["nul"]; res.Action != jobs.Skipped || !strings.Contains(string(res.Error), "NUL") {
		t.Errorf("a NUL in the name: %+v", res)
	}
	if res, found := results["marked"]; found || len(g.listed("marked")) != 1 {
		t.Errorf("a key that nobody vouches for was touched: %+v", res)
	}
	if results["good"].Action != jobs.Rotated || len(results) != 2 {
		t.Errorf("results %+v, want the project beside them rotated", r.Results)
	}
	g.consistent("good", "x")
}

// TestHostileAnswersHurtTheirProjectOnly: whatever one project's answers look
// like, it ends in a result, and the others are done.
func TestHostileAnswersHurtTheirProjectOnly(t *testing.T) {
	t.Parallel()
	g := newRig(t, func(c *sinchtest.Config) { c.PageSizeMax, c.ExtraFields = 2, true })
	faults := map[string]sinchtest.Fault{
		"list-page":   {Operation: "access_keys.list", Do: sinchtest.NotJSON()},
		"list-array":  {Operation: "access_keys.list", Do: sinchtest.AppliedAnswer(200, `[]`, nil)},
		"list-null":   {Operation: "access_keys.list", Do: sinchtest.AppliedAnswer(200, `null`, nil)},
		"list-blank":  {Operation: "access_keys.list", Do: sinchtest.AppliedAnswer(200, ``, nil)},
		"list-huge":   {Operation: "access_keys.list", Do: sinchtest.AppliedAnswer(200, `{"accessKeys":[],"x":"`+strings.Repeat("x", 2<<20)+`"}`, nil)},
		"list-loop":   {Operation: "access_keys.list", Do: sinchtest.RepeatToken()},
		"list-error":  {Operation: "access_keys.list", Do: sinchtest.AppliedAnswer(200, `{"error":{"code":500}}`, nil)},
		"list-noid":   {Operation: "access_keys.list", Do: sinchtest.AppliedAnswer(200, `{"accessKeys":[{"displayName":"x","createTime":"2020-01-01T00:00:00Z"}]}`, nil)},
		"create-page": {Operation: "access_keys.create", Do: sinchtest.NotJSON()},
		"create-obj":  {Operation: "access_keys.create", Do: sinchtest.EmptyObject()},
		"get-page":    {Operation: "access_keys.get", Do: sinchtest.NotJSON()},
		"get-301":     {Operation: "access_keys.get", Do: sinchtest.Answer(301, "", map[string][]string{"Location": {"http://192.0.2.1/"}})},
	}
	for id, f := range faults {
		g.project(id, "api", 89*day)
		f.Project = id
		g.sim.Fault(f)
	}
	g.tune = quickVerify
	mild := map[string]sinchtest.Behaviour{"shuffled": sinchtest.Shuffle(7), "empty-page": sinchtest.EmptyPage(), "fields": sinchtest.UnknownFields()}
	for id, b := range mild {
		g.project(id, "api", 89*day)
		for n := range 4 {
			g.sim.AddKey(id, fmt.Sprintf("young-%d", n), time.Now())
		}
		times := 0
		if id == "empty-page" {
			times = 1
		}
		g.sim.Fault(sinchtest.Fault{Operation: "access_keys.list", Project: id, Times: times, Do: b})
	}
	g.sim.Fault(sinchtest.Fault{Operation: "access_keys.update", Do: sinchtest.NotJSON()}) // the mark is best effort
	r := g.run(jobs.Order{}, overlap(7*day), func(c *jobs.Config) { c.MaxFailures = 100 })
	g.wantExit(r, jobs.ExitFailed)
	failed := map[string]string{}
	for _, res := range r.Results {
		if res.Action == jobs.Failed {
			failed[res.ProjectID] += string(res.Error)
		}
	}
	for id := range faults {
		if len(failed[id]) < 20 {
			t.Errorf("%s: no clear result, but %q", id, failed[id])
		}
		if strings.ContainsAny(failed[id], "\x00\x1b") || len(failed[id]) > 4096 {
			t.Errorf("%s: the error is not harmless: %q", id, failed[id])
		}
	}
	for id := range mild {
		if actions(r)[id+"/api"] != jobs.Rotated {
			t.Errorf("%s: %v", id, actions(r)[id+"/api"])
			continue
		}
		g.consistent(id, "api")
	}
}

// subprojectsAnswer is a page of the subprojects API.
func subprojectsAnswer(t *testing.T, ids ...string) string {
	t.Helper()
	items := []map[string]any{}
	for _, id := range ids {
		items = append(items, map[string]any{"subprojectId": id, "displayName": "P\x00\n" + id, "parentProjectId": parent, "labels": map[string]string{"\x00": "\x00"}})
	}
	raw, err := json.Marshal(map[string]any{"subprojects": items})
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestHostileProjectIDsAreLeftAlone(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.project("good1", "api", 89*day)
	g.project("good2", "api", 89*day)
	hostile := []string{"a/b", "..", ".", "../other", "a\x00b", strings.Repeat("x", 300), "a b", "%2e%2e", "é", "-rf", "a?b=c", "a#b"}
	ids := append([]string{"good1"}, hostile...)
	ids = append(ids, "good2", "good1", parent)
	g.sim.Fault(sinchtest.Fault{Operation: "subprojects.list", Do: sinchtest.Answer(200, subprojectsAnswer(t, ids...), nil)})
	r := g.run(jobs.Order{}, overlap(0))
	g.wantExit(r, jobs.ExitFailed)
	for _, id := range []string{"good1", "good2"} {
		if g.consistent(id, "api"); len(g.listed(id)) != 1 {
			t.Errorf("%s holds %v", id, g.listed(id))
		}
	}
	if r.Rotated != 2 || r.Retired != 2 {
		t.Errorf("%d rotated, %d retired, want each of the two once: %+v", r.Rotated, r.Retired, r.Results)
	}
	for _, q := range g.sim.Requests() {
		if q.Operation == "unknown" || q.Project != "" && q.Project != parent && q.Project != "good1" && q.Project != "good2" {
			t.Errorf("%s %s was sent", q.Method, q.Path)
		}
	}
}

// TestProjectWithoutAnID: one item of the list that cannot be read must not
// take the rest of the fleet with it.
func TestProjectWithoutAnID(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.project("good1", "api", 89*day)
	g.sim.Fault(sinchtest.Fault{Operation: "subprojects.list", Do: sinchtest.Answer(200, subprojectsAnswer(t, "good1", "", "\x00"), nil)})
	r := g.run(jobs.Order{}, overlap(0))
	g.wantExit(r, jobs.ExitFailed)
	if r.Rotated != 1 {
		t.Errorf("the project with an id was not done: %+v", r.Results)
	}
}
