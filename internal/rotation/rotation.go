// Package rotation is the domain of rotator, pure: keys, credentials, policy,
// and the planner that says what is due and what may go. It does no I/O and
// has no clock: everything it knows comes in as values, so that `plan`,
// `run-now` and `serve` reach the same conclusions from the same facts.
//
// The words are those of ARCHITECTURE.md: a credential is a name in a project
// that a line of access keys fills over time; one of them is current, the one
// that the newest version of the credential's Vault path names.
package rotation

import "time"

// KeyCap is how many access keys a Sinch project holds at most.
const KeyCap = 10

// Key is an access key as Sinch lists it. There is no secret in it: Sinch
// shows that once, at creation.
type Key struct {
	ID          string
	DisplayName string
	CreatedAt   time.Time
}

// Project is a Sinch project, the parent or one of its subprojects.
type Project struct {
	ID     string
	Name   string // display name, not unique
	Labels map[string]string
}

// Trigger says why a rotation was started.
type Trigger string

// Triggers.
const (
	Scheduled   Trigger = "schedule"
	Manual      Trigger = "manual"
	Compromised Trigger = "compromised"
	Drift       Trigger = "drift" // the current key vanished at Sinch
)

// State is how far a rotation has come.
type State string

// States of a rotation, in their order. Failed ends it: its key, if one is
// ever listed, is an orphan, for good.
const (
	Planned   State = "planned"   // intent committed; a create may have been sent
	Created   State = "created"   // the new key's id is known
	Verified  State = "verified"  // the new key has been proven to work
	Published State = "published" // Vault's path names the new key
	Failed    State = "failed"    // given up before publication
)

// Record is a rotation as this installation's database knows it.
type Record struct {
	ID          string
	Credential  string
	OldKeyID    string // empty for a credential without a key before
	NewKeyID    string // empty until the create's answer was committed
	Trigger     Trigger
	State       State
	Overlap     time.Duration
	StartedAt   time.Time
	PublishedAt time.Time // zero until published
}

// Version is one version of a credential's Vault path.
type Version struct {
	Number     int
	CreatedAt  time.Time
	Readable   bool   // neither deleted nor destroyed, and its data was read
	KeyID      string // the access key that it names, empty if none
	RotationID string // the rotation that wrote it, empty if none
}

// Path is what a credential's Vault path holds.
type Path struct {
	// Err says why the path could not be looked at; empty when it was.
	// Nothing is done for the credential then.
	Err string
	// Managed reports the custom metadata managed_by=rotator.
	Managed bool
	// Current is the newest version; its Number is 0 where there is none.
	// A newest version that is deleted, destroyed or names no key has an
	// empty KeyID: there is no current key then.
	Current Version
	// Older are the versions before Current in ascending order. They are
	// only looked up where the credential has keys beside its current one.
	Older []Version
}
