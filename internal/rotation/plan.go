package rotation

import "time"

// Facts is everything the planner looks at: one project at one instant.
type Facts struct {
	Now     time.Time // the database's clock
	Project Project
	Policy  Policy // of the project, label overrides applied

	Keys     []Key // what Sinch lists
	Complete bool  // whether every page of the listing was read, none twice
	// Blocked says why nothing may be deleted now although each key by
	// itself might (clock skew, a listing that shrank beyond belief, a log
	// behind its anchor); zero when nothing stands against it.
	Blocked Block

	Scope   Scope           // the zero Scope, of an excluded project, contains nothing
	Onboard string          // name of a first credential where there is none; empty for none
	Paths   map[string]Path // by credential, for those that Credentials names; what Vault holds
	// Records are rotations, by their id: those that made, or were to
	// replace, a listed key; those whose id a listed key's name carries; all
	// unfinished ones; and each credential's last published one, without
	// which a key that vanished at Sinch would be forgotten.
	Records map[string]Record

	Gone      map[string]bool      // key ids that a GET answered with 404
	Own       map[string]bool      // key ids that live rotator processes authenticate with
	SelfName  string               // the credential that is rotator's own, in its project; empty elsewhere
	NotBefore map[string]time.Time // by credential: back-off after failed attempts

	Request Request
}

// Block is a reason that stands against every deletion.
type Block struct {
	Guard  string // its name, such as "clock_skew"; empty when there is none
	Reason string // one sentence for people, with the remedy
}

// Request is what a person asked for; the zero Request asks for nothing
// beyond the schedule.
type Request struct {
	Credentials []string       // only these (patterns have been resolved); empty means all
	Key         string         // only the credential of this key
	Force       bool           // rotate although nothing is due
	Compromised bool           // rotate now, overlap as given, older keys go too; a superseded Key: only retire it, now
	Overlap     *time.Duration // instead of the policy's; nil means the policy's (0 when Compromised)
	// Done are the credentials for which this run has carried the request
	// out: Force and Compromised rotate each once, not at every look.
	Done map[string]bool
}

// Action is what a Step does.
type Action string

// Actions, as `plan -o json` spells them.
const (
	Rotate       Action = "rotate"
	Retire       Action = "retire"
	DeleteOrphan Action = "delete_orphan"
	Skip         Action = "skip"   // due, but not now
	Refuse       Action = "refuse" // a guard stands against it
)

// Step is one thing to do, or a reason not to.
type Step struct {
	Action     Action
	Credential string
	Key        Key    // the key rotated away from, or to be deleted; zero if none
	RotationID string // of an orphan or a superseded key, where known
	Trigger    Trigger
	Overlap    time.Duration // of a Rotate
	Guard      string        // of a Refuse or Skip: what stands against it, such as GuardLastKey
	Reason     string        // one sentence for people, with the remedy where one is needed
	DueAt      time.Time
	Deadline   time.Time // when the age limit is reached
}

// KeyState is what a listed key is to us.
type KeyState string

// Key states, as `keys -o json` spells them.
const (
	CurrentKey    KeyState = "current"
	AdoptableKey  KeyState = "adopted"    // made by people, in scope, no Vault path yet
	SupersededKey KeyState = "superseded" // its successor is published
	HeldKey       KeyState = "held"       // superseded, kept by ROTATOR_ADOPT=keep
	OrphanKey     KeyState = "orphan"
	UnknownKey    KeyState = "unknown"   // carries our marker and nobody vouches for it, or its path could not be read
	UnmanagedKey  KeyState = "unmanaged" // out of scope, or a person's beside a credential's own
)

// KeyView is one listed key, classified.
type KeyView struct {
	Key
	Credential string
	State      KeyState
	InScope    bool
	Own        bool
	RotationID string
	DueAt      time.Time // when its credential's rotation is due; zero unless that rotates away from this key
	Deadline   time.Time // created + max age
	RetireAt   time.Time // when it may be deleted; zero unless superseded or held
}

// Plan is what should happen in one project now.
type Plan struct {
	Steps []Step    // in the order in which they should be taken
	Keys  []KeyView // every listed key, by credential, then age (newest first)
	// Warnings are forecasts that need a person before a deadline, such as
	// a project whose slots cannot fit every rotation.
	Warnings []string
	// NextCheck is when the next step falls due; zero when nothing will.
	NextCheck time.Time
}
