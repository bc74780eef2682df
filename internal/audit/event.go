package audit

import "time"

// Version is the version of the event format, in every event as "v".
const Version = 1

// Phase tells the rows of one mutating call apart.
type Phase string

// Phases. A mutating call has an intent before it and an outcome after it; an
// intent whose outcome was lost is resolved by asking the other side. Reads,
// token exchanges and logins are one outcome. Other events have no phase.
const (
	Intent   Phase = "intent"
	Result   Phase = "outcome"
	Resolved Phase = "resolved"
)

// Outcome says how a call ended.
type Outcome string

// Outcomes. Unknown means that no complete answer came; such an event has no
// status.
const (
	OK      Outcome = "ok"
	Error   Outcome = "error"
	Unknown Outcome = "unknown"
)

// Types of events. The views of schema audit read them; what each must carry
// beside run, actor and trigger stands behind it.
const (
	RunStarted  = "run.started"  // trigger, tick (of a scheduled run)
	RunFinished = "run.finished" // counters
	APICall     = "api.call"     // call, phase, op, method, url, attempt, status, outcome

	// A rotation replaces the key `replaces` by `key`, once that is known.
	RotationPlanned   = "rotation.planned"   // rotation, project, credential, replaces, trigger, reason, overlap_s
	RotationCreated   = "rotation.created"   // … key, display_name, key_created_at
	RotationVerified  = "rotation.verified"  // … key
	RotationPublished = "rotation.published" // … key, vault_path, vault_version
	RotationFailed    = "rotation.failed"    // … error, key where one was created

	KeySuperseded    = "key.superseded"     // project, credential, key (the old one), rotation, retire_at
	KeyRetired       = "key.retired"        // project, credential, key (deleted), rotation, trigger
	KeyOrphanDeleted = "key.orphan_deleted" // project, credential, key (deleted), rotation
	KeyDrift         = "key.drift"          // project, credential, key (vanished at Sinch)

	InventorySnapshot = "inventory.snapshot" // project, keys, complete, in_scope, max_age_s, overlap_s
	PolicyChanged     = "policy.changed"     // project, policy, max_age_s, overlap_s
	Pause             = "pause"              // reason
	Resume            = "resume"             // reason
	GuardRefused      = "guard.refused"      // reason, project, credential, key
	LeaseLost         = "lease.lost"         // project

	AuditExported         = "audit.exported"
	AuditSpillReplayed    = "audit.spill_replayed"
	AuditPartitionDropped = "audit.partition_dropped" // note, frontier, counters, reason
	AuditRebased          = "audit.rebased"           // epoch, note, counters, reason
)

// Event is one entry of the log. A field is absent from the body when it does
// not apply. Text may come from outside: Marshal makes it harmless. A secret
// never goes in; a key's fingerprint at most.
//
// The order of the fields is the order in the body. New fields go to the end
// and are optional; none is ever renamed or removed.
type Event struct {
	V            int              `json:"v"`                       // Version
	ID           string           `json:"id"`                      // UUIDv7
	TimeUS       int64            `json:"t_us"`                    // microseconds since 1970 UTC
	Type         string           `json:"type"`                    //
	Phase        Phase            `json:"phase,omitempty"`         //
	Call         string           `json:"call,omitempty"`          // UUID, joins an intent to its outcome
	Run          string           `json:"run,omitempty"`           //
	Rotation     string           `json:"rotation,omitempty"`      //
	Actor        string           `json:"actor,omitempty"`         // who caused it: a claim
	Trigger      string           `json:"trigger,omitempty"`       // schedule, manual, compromised, drift
	Host         string           `json:"host,omitempty"`          //
	Build        string           `json:"build,omitempty"`         // version of the program
	ConfigSHA256 string           `json:"config_sha256,omitempty"` //
	Project      string           `json:"project,omitempty"`       // Sinch project id
	Credential   string           `json:"credential,omitempty"`    //
	Key          string           `json:"key,omitempty"`           // access key id
	Replaces     string           `json:"replaces,omitempty"`      // id of the key that Key replaces
	Op           string           `json:"op,omitempty"`            // operation, AUDIT.md section 5
	Method       string           `json:"method,omitempty"`        // HTTP method
	URL          string           `json:"url,omitempty"`           // without query secrets
	Attempt      int              `json:"attempt,omitempty"`       // from 1
	Status       int              `json:"status,omitempty"`        // HTTP status, absent without an answer
	Outcome      Outcome          `json:"outcome,omitempty"`       //
	Error        string           `json:"error,omitempty"`         //
	RequestID    string           `json:"request_id,omitempty"`    // the server's id of the request
	DurationUS   int64            `json:"duration_us,omitempty"`   // microseconds
	Traceparent  string           `json:"traceparent,omitempty"`   // W3C trace context
	Reason       string           `json:"reason,omitempty"`        // a person's, or a guard's
	Policy       string           `json:"policy,omitempty"`        // in words
	DisplayName  string           `json:"display_name,omitempty"`  // access key name
	KeyCreatedAt time.Time        `json:"key_created_at,omitzero"` // RFC 3339 UTC, Sinch's createTime
	MaxAgeS      int64            `json:"max_age_s,omitempty"`     // seconds
	OverlapS     *int64           `json:"overlap_s,omitempty"`     // seconds; 0 is an answer
	InScope      *bool            `json:"in_scope,omitempty"`      //
	VaultPath    string           `json:"vault_path,omitempty"`    //
	VaultVersion int              `json:"vault_version,omitempty"` //
	RetireAt     time.Time        `json:"retire_at,omitzero"`      // RFC 3339 UTC
	Tick         time.Time        `json:"tick,omitzero"`           // RFC 3339 UTC, planned time of a run
	Counters     map[string]int64 `json:"counters,omitempty"`      //
	Keys         []Key            `json:"keys,omitempty"`          // of an inventory.snapshot
	Part         int              `json:"part,omitempty"`          // from 1, of Parts
	Parts        int              `json:"parts,omitempty"`         // absent when there is one
	Complete     *bool            `json:"complete,omitempty"`      // whether the listing was whole
	DBUser       string           `json:"db_user,omitempty"`       // who Postgres says we are
	VaultEntity  string           `json:"vault_entity,omitempty"`  // who Vault says we are
	Epoch        int              `json:"epoch,omitempty"`         // that an audit.rebased opens
	Note         string           `json:"note,omitempty"`          // a note that the log's key has signed
	Frontier     string           `json:"frontier,omitempty"`      // of the tree where dropped partitions ended, base64
}

// Key is one access key of an inventory snapshot, as the provider lists it.
type Key struct {
	ID      string    `json:"id"`
	Name    string    `json:"name,omitempty"`
	Created time.Time `json:"created,omitzero"` // RFC 3339 UTC
	// State is what the key is to us: current, superseded, orphan or
	// unmanaged (outside the scope).
	State string `json:"state,omitempty"`
}
