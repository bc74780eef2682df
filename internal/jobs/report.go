package jobs

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"rotator/internal/rotation"
)

// Action is what was done, as `run-now -o json` spells it.
type Action string

// Actions of a run's results.
const (
	Rotated       Action = "rotated"
	Retired       Action = "retired"
	OrphanDeleted Action = "orphan_deleted"
	Skipped       Action = "skipped" // due, but not now
	Failed        Action = "failed"
	Refused       Action = "refused" // a guard stands against it
)

// Text is a string that JSON shows as null when it is empty.
type Text string

// MarshalJSON writes the string, or null.
func (t Text) MarshalJSON() ([]byte, error) {
	if t == "" {
		return []byte("null"), nil
	}
	return json.Marshal(string(t)) //nolint:wrapcheck // a string always encodes
}

// Result is what a run did about one credential, or about a whole project
// when Credential is empty.
type Result struct {
	ProjectID  string `json:"project_id"`
	Credential string `json:"credential"`
	Action     Action `json:"action"`
	RotationID Text   `json:"rotation_id"`
	OldKeyID   Text   `json:"old_key_id"`
	NewKeyID   Text   `json:"new_key_id"`
	VaultPath  Text   `json:"vault_path"`
	Error      Text   `json:"error"`

	// Tried is what a Failed result is about, empty where a whole project
	// failed; Step is where it failed.
	Tried rotation.Action `json:"-"`
	Step  string          `json:"-"`

	cause cause
	guard string // that a skip is for, empty for most
}

// cause says why something was skipped, for the exit code.
type cause int

const (
	causeNone    cause = iota
	causeBusy          // another process works on the project
	causeUndone        // a limit, a pause or a full project
	causeFailing       // backing off after failures
	causeNotice        // nothing is undone: a label that changes nothing
)

// Report is a run's outcome; its JSON is a contract (DESIGN.md section 4).
type Report struct {
	RunID          uuid.UUID `json:"run_id"`
	Trigger        string    `json:"trigger"`
	StartedAt      time.Time `json:"started_at"`
	FinishedAt     time.Time `json:"finished_at"`
	Projects       int       `json:"projects"`
	Keys           int       `json:"keys"`
	Rotated        int       `json:"rotated"`
	Retired        int       `json:"retired"`
	OrphansDeleted int       `json:"orphans_deleted"`
	Skipped        int       `json:"skipped"`
	Failed         int       `json:"failed"`
	Refused        int       `json:"refused"`
	Results        []Result  `json:"results"`

	// Warnings are forecasts and notices that need a person.
	Warnings []string `json:"-"`
	// Missing reports that what was asked for by name was not found.
	Missing bool `json:"-"`
	// Stopped reports that the run was told to stop before it was through.
	Stopped bool `json:"-"`

	matched bool

	mu sync.Mutex
}

func (r *Report) add(results ...Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, res := range results {
		r.Results = append(r.Results, res)
		*r.counter(res.Action)++
	}
}

func (r *Report) counter(a Action) *int {
	switch a {
	case Rotated:
		return &r.Rotated
	case Retired:
		return &r.Retired
	case OrphanDeleted:
		return &r.OrphansDeleted
	case Skipped:
		return &r.Skipped
	case Refused:
		return &r.Refused
	case Failed:
		return &r.Failed
	}
	return &r.Failed
}

func (r *Report) looked(keys int, matched bool, warnings []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Projects++
	r.Keys += keys
	r.matched = r.matched || matched
	r.Warnings = append(r.Warnings, warnings...)
}

// tells reports whether there is a result for the project.
func (r *Report) tells(project string) bool {
	return slices.ContainsFunc(r.Results, func(res Result) bool { return res.ProjectID == project })
}

// counters are what the run's closing event says.
func (r *Report) counters() map[string]int64 {
	return map[string]int64{
		"projects": int64(r.Projects), "keys": int64(r.Keys), "rotated": int64(r.Rotated), "retired": int64(r.Retired),
		"orphans_deleted": int64(r.OrphansDeleted), "skipped": int64(r.Skipped), "failed": int64(r.Failed), "refused": int64(r.Refused),
	}
}

// Exit codes (DESIGN.md section 4).
const (
	ExitConverged = 0
	ExitUsage     = 1
	ExitDown      = 2 // a dependency is unreachable or refuses us
	ExitFailed    = 3 // some credentials failed, the rest is done
	ExitRefused   = 4 // a guard, a pause, a limit or a full project
	ExitBusy      = 5 // everything due is being worked on elsewhere
)

// ExitCode says how the run ended.
func (r *Report) ExitCode() int {
	var failed, refused, busy bool
	for _, res := range r.Results {
		switch {
		case res.Action == Failed || res.cause == causeFailing:
			failed = true
		case res.Action == Refused || res.cause == causeUndone:
			refused = true
		case res.cause == causeBusy:
			busy = true
		}
	}
	switch {
	case failed && r.Projects == 0:
		return ExitDown // no project could even be looked at
	case failed:
		return ExitFailed
	case refused, r.Stopped:
		return ExitRefused
	case busy && r.Rotated+r.Retired+r.OrphansDeleted == 0:
		return ExitBusy
	}
	return ExitConverged
}

// nothing returns why no project could even be looked at, or nil.
func (r *Report) nothing() error {
	if r.ExitCode() != ExitDown {
		return nil
	}
	for _, res := range r.Results {
		if res.Action == Failed {
			return fmt.Errorf("no project could be looked at: %s", res.Error)
		}
	}
	return errors.New("no project could be looked at")
}
