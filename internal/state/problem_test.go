package state_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"rotator/internal/state"
)

const aDay = 24 * time.Hour

// news takes what is to be told, as "+kind project/credential: error" lines: + is
// a problem, ! a reminder, - one that is over.
func (g *rig) news() (lines []string, open int) {
	g.Helper()
	n, err := g.News(g.Context(), aDay, 50)
	g.must(err)
	if n.Total != len(n.Problems) || n.Over != len(n.Recovered) {
		g.Errorf("totals are %d and %d: %+v", n.Total, n.Over, n)
	}
	for _, p := range n.Problems {
		sign := map[bool]string{false: "+", true: "!"}[p.Reminder]
		lines = append(lines, fmt.Sprintf("%s%s %s/%s: %s", sign, p.Kind, p.Project, p.Credential, p.Error))
	}
	for _, p := range n.Recovered {
		lines = append(lines, fmt.Sprintf("-%s %s/%s: %s", p.Kind, p.Project, p.Credential, p.Error))
	}
	return lines, n.Open
}

// wantNews takes the news and compares them.
func (g *rig) wantNews(when string, open int, want ...string) {
	g.Helper()
	lines, n := g.news()
	if strings.Join(lines, "\n") != strings.Join(want, "\n") || n != open {
		g.Errorf("%s: %d are open, want %d; got\n%s\nwant\n%s", when, n, open, strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
}

// ends claims the project and gives it back with problems.
func (g *rig) ends(project string, r state.Release) {
	g.Helper()
	r.Lease, r.NextCheck = g.lease(project), g.now()
	g.must(g.Release(g.Context(), r))
}

func failed(credential, why string) state.Problem {
	return state.Problem{Credential: credential, Kind: state.ProblemFailed, Error: why}
}

func whole(problems ...state.Problem) state.Release {
	return state.Release{Problems: problems, Whole: true}
}

// TestProblems: each is told once and when it is over; what a look has not seen
// is not over.
func TestProblems(t *testing.T) {
	t.Parallel()
	g := newRig(t, "a", "b")
	g.wantNews("at first", 0)
	g.ends("a", whole(failed("api", "create: 400"), failed("mail", "verify: 401")))
	g.ends("b", whole(failed("", "list: 503")))
	g.wantNews("after failures", 3, "+failed a/api: create: 400", "+failed a/mail: verify: 401", "+failed b/: list: 503")
	backing := failed("api", "backs off")
	backing.Same = true
	g.ends("a", whole(backing, failed("mail", "verify: 403")))
	g.wantNews("while they go on", 3)
	if n := g.count(`SELECT count(*) FROM rotator.problem WHERE error IN ('create: 400', 'verify: 403')`); n != 2 {
		t.Error("a back-off hides the failure, or a failure of the same kind its new reason")
	}
	refused := state.Problem{Credential: "api", Kind: state.ProblemRefused, Error: "full_project"}
	g.ends("a", whole(refused, failed("mail", "verify: 403")))
	g.wantNews("as another kind", 3, "+refused a/api: full_project")
	g.ends("a", state.Release{Settled: []string{"api"}})
	g.wantNews("after work on one credential", 2, "-refused a/api: full_project")
	g.ends("a", state.Release{Problems: []state.Problem{failed("", "stopped")}})
	g.wantNews("after work that was cut short", 3, "+failed a/: stopped")
	g.ends("a", whole())
	g.wantNews("after a good run", 1, "-failed a/: stopped", "-failed a/mail: verify: 403")
	g.exec(`UPDATE rotator.project SET gone_at = now() WHERE id = 'b'`)
	g.wantNews("after a project went", 0, "-failed b/: list: 503")
}

// TestProblemsUntold: what came and went before anybody asked is not told, nor
// is what came back before it was told that it was over.
func TestProblemsUntold(t *testing.T) {
	t.Parallel()
	g := newRig(t, "a")
	g.ends("a", whole(failed("api", "create: 400")))
	g.ends("a", whole())
	g.wantNews("of a blip", 0)
	g.ends("a", whole(failed("api", "create: 400")))
	g.wantNews("of a failure", 1, "+failed a/api: create: 400")
	g.ends("a", whole())
	g.ends("a", whole(failed("api", "create: 400")))
	g.wantNews("of a good moment", 1)
}

// TestProblemsOfALostLease: a worker whose lease is lost has no say.
func TestProblemsOfALostLease(t *testing.T) {
	t.Parallel()
	g := newRig(t, "a")
	l := g.lease("a")
	g.expire("a")
	g.ends("a", whole(failed("api", "create: 400")))
	late := whole()
	late.Lease = l
	g.must(g.Release(g.Context(), late))
	g.wantNews("after a late release", 1, "+failed a/api: create: 400")
}

// TestProblemReminders: all that stands is told again when the oldest telling is
// a day old, and not again for another day.
func TestProblemReminders(t *testing.T) {
	t.Parallel()
	g := newRig(t, "a")
	g.ends("a", whole(failed("api", "create: 400")))
	g.wantNews("at first", 1, "+failed a/api: create: 400")
	g.exec(`UPDATE rotator.problem SET told_at = told_at - interval '25 hours'`)
	g.ends("a", whole(failed("api", "create: 400"), failed("web", "verify: 401")))
	g.wantNews("a day later", 2, "+failed a/web: verify: 401", "!failed a/api: create: 400")
	g.wantNews("just after", 2)
}

// TestProblemsOfTheList: what is wrong with the list of projects is no project's
// work, so no work settles it; the next list does.
func TestProblemsOfTheList(t *testing.T) {
	t.Parallel()
	g := newRig(t, "parent")
	refused := state.Problem{Project: "parent", Kind: state.ProblemFailed, Error: "listing subprojects: 403"}
	g.must(g.Listed(g.Context(), []state.Problem{refused, refused}))
	g.wantNews("after a refused list", 1, "+failed parent/: listing subprojects: 403")
	g.ends("parent", whole())
	g.wantNews("after good work", 1)
	g.must(g.Listed(g.Context(), nil))
	g.wantNews("after a whole list", 0, "-failed parent/: listing subprojects: 403")
}

// TestProblemsOfAge: keys past their max age are told by credential, until they
// are gone or young.
func TestProblemsOfAge(t *testing.T) {
	t.Parallel()
	g := newRig(t, "a")
	at := g.now().Add(-time.Hour)
	l := g.lease("a")
	g.apply(l.Snapshot([]state.SeenKey{{ID: "k1", Credential: "api", State: "current", CreatedAt: at, Deadline: &at}}, []byte{1}))
	g.wantNews("of an old key", 1, "+overdue a/api: past its max age: key k1, since "+at.UTC().Format(time.RFC3339))
	g.wantNews("once more", 1)
	end := whole()
	end.Lease = l
	g.must(g.Release(g.Context(), end))
	g.wantNews("after good work", 1)
	g.apply(g.lease("a").KeyGone("k1"))
	g.wantNews("without the key", 0, "-overdue a/api: past its max age: key k1, since "+at.UTC().Format(time.RFC3339))
}

// TestNewsOnce: of many that ask at once, one is told each problem.
func TestNewsOnce(t *testing.T) {
	t.Parallel()
	g := newRig(t, "a")
	g.ends("a", whole(failed("api", "create: 400"), failed("web", "create: 400")))
	for range 20 {
		g.exec(`UPDATE rotator.problem SET told_at = CASE credential WHEN 'web' THEN now() - interval '25 hours' END`)
		var mu sync.Mutex
		var all []string
		var wait sync.WaitGroup
		for range 4 {
			wait.Go(func() {
				lines, _ := g.news()
				mu.Lock()
				defer mu.Unlock()
				all = append(all, lines...)
			})
		}
		wait.Wait()
		if len(all) != 2 {
			t.Fatalf("told %v", all)
		}
	}
}
