package main

import (
	"fmt"
	"math"
	"time"

	"rotator/internal/rotation"
)

// A run's requests to Sinch's resource APIs: one look at each project, then
// for a rotation create, read and rename; for a deletion a look, delete and
// read, and one more look at each project in which keys were deleted. Every new
// key costs a token besides (SINCH.md section 1).
const (
	callsOfRotation = 3
	callsOfDeletion = 3
	pageOfProjects  = 1000
	// callsBeside is how many calls a step makes beside those, to Vault and
	// for tokens.
	callsBeside = 7
)

// forecast says how long a run will take that does what the plan says.
type forecast struct {
	looks             float64 // requests to resource APIs that plan made
	resources, tokens float64 // requests of the run
	calls             float64 // of any kind that the run makes for each that plan made
}

func (r *planReport) forecast() forecast {
	deletes := map[string]bool{}
	for _, a := range r.Actions {
		if a.Action == rotation.Retire || a.Action == rotation.DeleteOrphan {
			deletes[a.ProjectID] = true
		}
	}
	looks := math.Ceil(float64(r.Projects)/pageOfProjects) + float64(r.Projects)
	rotated, removed := float64(r.Rotated), float64(r.Retired+r.OrphansDeleted)
	steps := callsOfRotation*rotated + callsOfDeletion*removed
	looking := looks + float64(r.Keys)
	return forecast{
		looks:     looks,
		resources: looks + steps + float64(len(deletes)),
		tokens:    rotated + 1,
		calls:     (looking + steps + callsBeside*(rotated+removed)) / max(looking, 1),
	}
}

// estimate is how long such a run takes: the rate limits hold it back, or else
// the servers, which took looked for the plan.
func (f forecast) estimate(s sinchSettings, looked time.Duration) time.Duration {
	limited := max(queued(f.resources, s.RateLimit, s.RateLimit), queued(f.tokens, s.TokenRate, float64(s.TokenBurst)))
	servers := looked - queued(f.looks, s.RateLimit, s.RateLimit) // what the limits did not take
	return max(limited, time.Duration(f.calls*float64(servers)))
}

// queued is how long so many requests take at a rate, of which a burst is free.
func queued(requests, perSecond, burst float64) time.Duration {
	if perSecond <= 0 || requests <= burst {
		return 0
	}
	return time.Duration((requests - burst) / perSecond * float64(time.Second))
}

// estimateLine tells it to people; empty where there is nothing to do.
func (r *planReport) estimateLine() string {
	if r.Rotated+r.Retired+r.OrphansDeleted == 0 {
		return ""
	}
	return fmt.Sprintf("a run would take about %s at the present rate limits (SINCH_RATE_LIMIT, SINCH_TOKEN_RATE_LIMIT)\n",
		(time.Duration(r.EstimatedSeconds) * time.Second).String())
}
