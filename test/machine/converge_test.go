package machine_test

import (
	"time"

	"pgregory.net/rapid"

	"rotator/internal/jobs"
	"rotator/internal/rotation"
)

// The world waits for an overlap minRounds times at least, until whatever was
// late has gone, and maxRounds at most.
const minRounds, maxRounds = 2, 5

// converges lets rotator work undisturbed while overlaps pass, until a second
// run right after the first finds nothing to do. Then everything must be in
// order, but for what a guard refuses; people's acts are behind those.
func (w *world) converges(rt *rapid.T) {
	w.advance(rt, 2*day) // past every back-off
	var last *jobs.Report
	for round := 1; ; round++ {
		w.calm(rt, jobs.Order{})
		w.check(rt)
		last = w.calm(rt, jobs.Order{})
		w.check(rt)
		done := last.Rotated+last.Retired+last.OrphansDeleted+last.Failed == 0
		if done && round >= minRounds {
			break
		}
		if round == maxRounds {
			rt.Fatalf("still not converged: %+v", last.Results)
		}
		w.advance(rt, w.policy.Overlap+time.Hour)
	}
	if code := last.ExitCode(); code != jobs.ExitConverged && code != jobs.ExitRefused {
		rt.Errorf("exit code %d after everything is quiet: %+v", code, last.Results)
	}
	held := map[string]bool{}
	for _, r := range last.Results {
		held[r.ProjectID+"/"+r.Credential], held[string(r.OldKeyID)] = true, true
		rt.Logf("left: %+v", r)
	}
	w.checkRotations(rt)
	for _, project := range w.projects() {
		w.checkSettled(rt, project, held)
	}
}

// checkRotations looks for rotations and intents whose end is not known.
func (w *world) checkRotations(rt *rapid.T) {
	var open, intents int
	must(rt, w.db.QueryRow(w.ctx, `SELECT
		(SELECT count(*) FROM rotator.rotation WHERE state NOT IN ('published', 'failed')),
		(SELECT count(*) FROM audit.event i WHERE i.phase = 'intent' AND NOT EXISTS
			(SELECT FROM audit.event o WHERE o.call_id = i.call_id AND o.phase IN ('outcome', 'resolved')))`).Scan(&open, &intents))
	if open+intents > 0 {
		rt.Errorf("%d rotations and %d intents are left open", open, intents)
	}
}

// checkSettled looks for what should have gone: orphans, keys past their age
// limit, and paths that name a key that does not work.
func (w *world) checkSettled(rt *rapid.T, project string, held map[string]bool) {
	orphans := map[string]bool{}
	rows, err := w.db.Query(w.ctx, `SELECT display_name FROM rotator.rotation WHERE project_id = $1 AND state = 'failed'`, project)
	must(rt, err)
	defer rows.Close()
	for rows.Next() {
		var name string
		must(rt, rows.Scan(&name))
		orphans[name] = true
	}
	must(rt, rows.Err())
	current := map[string]bool{}
	for name := range w.creds[project] {
		_, key, text := w.read(rt, path(project, name))
		current[key] = true
		if key != "" && !w.sim.Works(key, text) && !held[project+"/"+name] {
			rt.Errorf("%s/%s: Vault still names key %s, which does not work", project, name, key)
		}
	}
	for _, k := range w.sim.Keys(project) {
		switch {
		case held[k.ID], w.renamed[k.ID], w.excluded[k.ID] != "":
		case orphans[k.DisplayName]:
			rt.Errorf("%s: key %s (%s) is an orphan", project, k.ID, k.DisplayName)
		case held[project+"/"+rotation.ParseName(k.DisplayName).Credential]:
		case !current[k.ID] && w.now().Sub(k.UpdateTime) < w.policy.Overlap: // superseded late, behind a full project
		case w.policy.Adopt == rotation.AdoptKeep && rotation.ParseName(k.DisplayName).RotationID == "":
		case w.now().Sub(k.CreateTime) > w.policy.MaxAge:
			rt.Errorf("%s: key %s (%s) is %s old (current: %t)", project, k.ID, k.DisplayName, w.now().Sub(k.CreateTime), current[k.ID])
		}
	}
}
