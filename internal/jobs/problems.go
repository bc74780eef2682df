package jobs

import (
	"rotator/internal/call"
	"rotator/internal/rotation"
	"rotator/internal/state"
)

// problems are what results leave open for a person to see to, one for each
// credential of a project: a failure before a refusal. What only waits for its
// time is none.
func problems(results []Result) (found []state.Problem) {
	type place struct{ project, credential string }
	at := map[place]int{}
	for _, r := range results {
		p := state.Problem{
			Project: r.ProjectID, Credential: call.Clean(r.Credential, 1024), Error: call.Sanitize(string(r.Error)),
			Kind: kindOf(r), Same: r.guard == rotation.GuardBackOff,
		}
		if p.Kind == "" {
			continue
		}
		where := place{p.Project, p.Credential}
		i, ok := at[where]
		switch {
		case !ok:
			at[where] = len(found)
			found = append(found, p)
		case found[i].Kind == state.ProblemRefused && p.Kind == state.ProblemFailed:
			found[i] = p
		}
	}
	return found
}

// kindOf is the kind of problem that a result is, empty for none.
func kindOf(r Result) string {
	switch {
	case r.Action == Failed, r.cause == causeFailing:
		return state.ProblemFailed
	case r.Action == Refused, r.guard == rotation.GuardFullProject:
		return state.ProblemRefused
	}
	return ""
}

// problems adds to how the work ended which problems stand. Work on all of the
// project that came to its end knows them all; else it knows what it did.
func (w *work) problems(end *state.Release, whole bool) {
	end.Problems = problems(w.results)
	end.Whole = whole && len(w.eye.request.Credentials) == 0 && w.eye.request.Key == ""
	for _, r := range w.results {
		if r.Action == Rotated {
			end.Settled = append(end.Settled, r.Credential)
		}
	}
}

// Own are the refusals that are no project's: the audit log is not what its
// checkpoints say, and nothing was changed.
func (r *Report) Own() (own []Result) {
	for _, res := range r.Results {
		if res.ProjectID == "" && res.Action == Refused {
			own = append(own, res)
		}
	}
	return own
}
