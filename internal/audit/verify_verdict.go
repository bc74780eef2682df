package audit

import (
	"cmp"
	"slices"
	"time"

	"rotator/internal/call"
)

// Exit codes of `audit verify` (DESIGN.md section 4).
const (
	VerifiedIntact   = 0
	VerifiedTampered = 1
	NotChecked       = 2 // what was needed could not be had, or not be read
	NotProvable      = 3 // nothing speaks against the log, but not enough for it
)

// Verdict is what a verification found. Its JSON is a contract.
type Verdict struct {
	ExitCode int    `json:"exit_code"`
	Word     string `json:"verdict"` // intact, tampered, not checked, not provable
	Origin   string `json:"origin,omitempty"`
	First    int64  `json:"first_seq"` // that was looked at
	Events   int64  `json:"events"`    // that were looked at
	Size     int64  `json:"size"`      // of the log: one more than its last event's seq
	Root     string `json:"root,omitempty"`

	// Findings are what speaks against the log, in the order of events: at
	// most MaxFindings of each kind. Found counts all, by their kind.
	Findings []Finding      `json:"findings"`
	Found    map[string]int `json:"found"`
	// Unproven is what keeps an intact log from being proven so, Unchecked
	// what could not be checked. Warnings need a person, notes do not.
	Unproven  []string `json:"unproven"`
	Unchecked []string `json:"unchecked"`
	Warnings  []string `json:"warnings"`
	Notes     []string `json:"notes"`

	Checkpoints int            `json:"checkpoints"` // that the log was held against
	Last        *LastAnchor    `json:"last_checkpoint"`
	Epochs      []EpochVerdict `json:"epochs"`
	Tail        Tail           `json:"tail"`
	Open        []OpenCall     `json:"open_calls"`
	Keys        []VerifierKey  `json:"keys"`

	Seconds float64 `json:"seconds"`
	Rate    float64 `json:"events_per_second"`
}

// Kinds of findings.
const (
	FoundMissing    = "missing"    // events are gone
	FoundAltered    = "altered"    // events, or their hashes, are not what was written
	FoundExtra      = "extra"      // events stand twice, or where none can be
	FoundColumn     = "column"     // a query column does not say what its body says
	FoundHead       = "head"       // the head is not that of the events
	FoundCheckpoint = "checkpoint" // a checkpoint is not signed as it should be, or contradicts others
	FoundOrigin     = "origin"     // log and checkpoints carry different names
	FoundEpoch      = "epoch"      // an epoch that no person has opened as it should be
	FoundCall       = "call"       // an outcome of a change that was never announced
	FoundRun        = "run"        // a run's counters are not its events
)

// Finding is one thing that speaks against the log.
type Finding struct {
	Kind string `json:"kind"`
	// From and To are the first and last event concerned, nil where it is
	// about none; the times are those that the events claim.
	From     *int64    `json:"from_seq,omitempty"`
	To       *int64    `json:"to_seq,omitempty"`
	FromTime time.Time `json:"from_time,omitzero"`
	ToTime   time.Time `json:"to_time,omitzero"`
	Text     string    `json:"text"`
}

// LastAnchor is the largest checkpoint of the newest epoch that the log fits.
type LastAnchor struct {
	Epoch int       `json:"epoch"`
	Size  int64     `json:"size"`
	At    time.Time `json:"at,omitzero"`
	Root  string    `json:"root"`
}

// EpochVerdict is what was found about one epoch. An epoch that another one
// follows ended with a loss: the events from Common on, up to Anchored, are
// those that somebody accepted to be gone.
type EpochVerdict struct {
	Epoch       int       `json:"epoch"`
	Checkpoints int       `json:"checkpoints"` // that fit
	Lost        int       `json:"lost"`        // checkpoints of what was lost
	Common      int64     `json:"common,omitempty"`
	CommonAt    time.Time `json:"common_at,omitzero"`
	Anchored    int64     `json:"anchored,omitempty"`
	AnchoredAt  time.Time `json:"anchored_at,omitzero"`
	Reason      string    `json:"reason,omitempty"` // of the rebase that ended it
	Actor       string    `json:"actor,omitempty"`
}

// Tail is the end of the log that no checkpoint covers yet.
type Tail struct {
	Events int64     `json:"events"`
	From   time.Time `json:"from,omitzero"`
	To     time.Time `json:"to,omitzero"`
	// Oldest is the time of the first event there that needs a checkpoint.
	Oldest time.Time `json:"oldest,omitzero"`
}

// OpenCall is a change that was announced and of which the log does not say
// how it ended.
type OpenCall struct {
	Seq        int64     `json:"seq"`
	At         time.Time `json:"at"`
	Call       string    `json:"call"`
	Operation  string    `json:"operation"`
	Project    string    `json:"project_id,omitempty"`
	Credential string    `json:"credential,omitempty"`
	Key        string    `json:"key_id,omitempty"`
	// State is why it may be open: "recent" (no checkpoint covers it yet),
	// "leased" (somebody works on the project), "checkpoint" (it is about
	// one, which speaks for itself); "unexplained" keeps the log from being
	// proven.
	State string `json:"state"`
}

// VerifierKey is a key that checkpoints may be signed with.
type VerifierKey struct {
	Key string `json:"key"`
	// Pinned says that trust in it comes from outside, not from where the
	// checkpoints are kept.
	Pinned bool `json:"pinned"`
}

// MaxFindings is how many findings of one kind a verdict lists.
const MaxFindings = 50

// textLimit is the longest text of a verdict, in bytes.
const textLimit = 2000

func (v *Verdict) keys(k *Keyring) {
	for _, key := range k.Trusted() {
		v.Keys = append(v.Keys, VerifierKey{Key: key, Pinned: k.Pinned})
	}
	for _, key := range k.Strangers() {
		v.Warnings = append(v.Warnings, "a signing key was introduced that nobody who is trusted vouches for: "+call.Clean(key, nameLimit))
	}
}

// find notes a finding.
func (v *verification) find(f Finding) {
	if v.verdict.Found[f.Kind]++; v.verdict.Found[f.Kind] <= MaxFindings {
		f.Text = call.Clean(f.Text, textLimit)
		v.verdict.Findings = append(v.verdict.Findings, f)
	}
}

// code is the exit code: what was found counts more than what could not be
// looked at, and that more than what is not proven.
func (v *Verdict) code() (int, string) {
	switch {
	case len(v.Found) > 0:
		return VerifiedTampered, "tampered"
	case len(v.Unchecked) > 0:
		return NotChecked, "not checked"
	case len(v.Unproven) > 0:
		return NotProvable, "not provable"
	}
	return VerifiedIntact, "intact"
}

func (v *Verdict) sum(took time.Duration) {
	v.ExitCode, v.Word = v.code()
	v.Findings, v.Epochs = append([]Finding{}, v.Findings...), append([]EpochVerdict{}, v.Epochs...) // in JSON none is [], not null
	v.Open, v.Keys = append([]OpenCall{}, v.Open...), append([]VerifierKey{}, v.Keys...)
	v.Seconds = took.Seconds()
	if v.Seconds > 0 {
		v.Rate = float64(v.Events) / v.Seconds
	}
	slices.SortStableFunc(v.Findings, func(a, b Finding) int { return cmp.Compare(place0(a), place0(b)) })
	for _, list := range []*[]string{&v.Unproven, &v.Unchecked, &v.Warnings, &v.Notes} {
		for i, text := range *list {
			(*list)[i] = call.Clean(text, textLimit)
		}
		if *list == nil {
			*list = []string{}
		}
	}
}

// place0 sorts findings: those about no event come last.
func place0(f Finding) int64 {
	if f.From == nil {
		return 1<<63 - 1
	}
	return *f.From
}
