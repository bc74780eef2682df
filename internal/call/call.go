// Package call is how rotator talks HTTP to Sinch and Vault: one attempt is
// one Call, and Transport sees to it that each is recorded and that no
// mutating one leaves before its intent is committed (DESIGN.md invariants 3
// and 9). Clients only label their requests; they cannot forget to record.
package call

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// Services that are called.
const (
	Sinch = "sinch"
	Vault = "vault"
)

// Outcome says how an attempt ended.
type Outcome string

// Outcomes. Unknown means that no complete answer came: the call may or may
// not have been applied.
const (
	OK      Outcome = "ok"
	Error   Outcome = "error"
	Unknown Outcome = "unknown"
)

// ErrNotSent marks an attempt that did not leave this process: its intent
// could not be committed, or was refused. It certainly changed nothing.
var ErrNotSent = errors.New("call was not sent")

// ErrNotRecorded marks an attempt that was sent but whose outcome could not
// be recorded. A mutation may have been applied.
var ErrNotRecorded = errors.New("outcome of the call could not be recorded")

// Label is what a client says about the request it is about to send.
type Label struct {
	Operation   string // AUDIT.md section 5, such as "access_keys.create"
	Mutating    bool   // a create, update or delete: intent before, outcome after
	Project     string // Sinch project id
	Key         string // access key id, where the request names one
	DisplayName string // access key name, where the request sets one
	VaultPath   string // credential's path below the mount
	VaultCAS    int    // version that a write expects; only with VaultPath

	// Attempts counts real attempts of one logical operation; share it
	// between retries. Nil counts as the first attempt.
	Attempts *atomic.Int32

	// Inspect adds to r what the answer tells (error text, key id). It must
	// not put a secret there; text is sanitised and scrubbed afterwards.
	// A nil Inspect records the status alone.
	Inspect func(status int, body []byte, r *Result)
}

// Call is one attempt.
type Call struct {
	Label

	ID      string // UUIDv7; joins intent and outcome
	Service string // Sinch or Vault
	Method  string
	URL     string // without user info and query values
	Attempt int    // from 1

	Traceparent string // sent along; each attempt has one of its own
}

// Result is how an attempt ended.
type Result struct {
	Status       int // HTTP status, 0 when there was no answer
	Outcome      Outcome
	Error        string // sanitised, at most 500 bytes
	RequestID    string // the server's own id of the request
	Key          string // access key id learned from the answer
	VaultVersion int    // version learned from the answer
	Duration     time.Duration
}

// Recorder writes attempts to the audit log.
type Recorder interface {
	// Intent is called before a mutating attempt is sent. Only when it
	// returns nil is the intent committed and the attempt sent.
	Intent(ctx context.Context, c Call) error
	// Outcome is called after every attempt. When it returns nil, the
	// outcome is committed (or will be before the next intent).
	Outcome(ctx context.Context, c Call, r Result) error
}

type labelKey struct{}

// With returns a context whose requests carry the label.
func With(ctx context.Context, l Label) context.Context {
	return context.WithValue(ctx, labelKey{}, l)
}

// LabelOf returns the label of a context.
func LabelOf(ctx context.Context) (Label, bool) {
	l, ok := ctx.Value(labelKey{}).(Label)
	return l, ok
}
