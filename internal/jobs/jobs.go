// Package jobs is the work: a run goes over the projects that are due, and
// each project is looked at, planned and brought one safe step further under
// its lease. Everything that other packages can do comes together here, in
// the order that keeps the invariants of ARCHITECTURE.md:
//
//	discover → claim → look → decide → orphans, retire, rotate → look again
//
// A run is level-triggered: it remembers nothing, so a crash or a missed tick
// needs no repair beyond the next run.
package jobs

import (
	"context"
	"iter"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"rotator/internal/audit"
	"rotator/internal/rotation"
	"rotator/internal/secret"
	"rotator/internal/sinch"
	"rotator/internal/state"
	"rotator/internal/vault"
)

// Keys is what jobs need of Sinch's access keys. Errors match the sentinels
// of package sinch.
type Keys interface {
	// ListKeys returns a project's keys, every page or an error.
	ListKeys(ctx context.Context, project string) (sinch.Listing, error)
	GetKey(ctx context.Context, project, key string) (sinch.AccessKey, error)
	// CreateKey sends one create. Only an error that matches
	// sinch.ErrNotApplied proves that no key was made.
	CreateKey(ctx context.Context, project, displayName string) (sinch.AccessKey, secret.Value, error)
	RenameKey(ctx context.Context, project, key, displayName string) (sinch.AccessKey, error)
	// DeleteKey returns nil when the key is gone, also if it was before.
	DeleteKey(ctx context.Context, project, key string) error
	// Verify returns nil when the new key has been proven to work.
	Verify(ctx context.Context, project string, cred sinch.Credentials) error
}

// Directory is what jobs need to find projects.
type Directory interface {
	// Subprojects streams the parent's subprojects page by page.
	Subprojects(ctx context.Context, parent string) iter.Seq2[sinch.Subproject, error]
}

// Identity is rotator's own access key in use.
type Identity interface {
	// KeyID is the key that this process authenticates with.
	KeyID() string
	// ListOwn proves that the credentials can list the project's keys.
	ListOwn(ctx context.Context, project string, cred sinch.Credentials) error
	// Use switches to the credentials.
	Use(own sinch.Credentials)
	// Share divides the rate limits among so many processes.
	Share(processes int)
	// ServerSkew is how far Sinch's clock is ahead of this host's.
	ServerSkew() (time.Duration, bool)
}

// Secrets is what jobs need of Vault. Errors match the sentinels of package
// vault.
type Secrets interface {
	Path(project, credential string) (string, error)
	Read(ctx context.Context, path string) (vault.Secret, error)
	ReadVersion(ctx context.Context, path string, n int) (vault.Secret, error)
	Metadata(ctx context.Context, path string) (vault.Metadata, error)
	SetMetadata(ctx context.Context, path string, custom map[string]string) error
	// CanWrite returns nil when our login may do everything a rotation
	// needs at the path.
	CanWrite(ctx context.Context, path string) error
	// Put writes a version if cas is still the newest. Only an error that
	// matches vault.ErrStateUnknown leaves open whether it was applied.
	Put(ctx context.Context, path string, d vault.Data, cas int) (version int, err error)
	// Confirm returns nil when the version, read back, holds d.
	Confirm(ctx context.Context, path string, version int, d vault.Data) error
	// Rewrite moves the path on, so that a write still under way fails.
	Rewrite(ctx context.Context, path string, cas int) (version int, err error)
	Destroy(ctx context.Context, path string, versions []int) error
}

// Spill keeps outcomes on disk while the audit log cannot be written. When
// Write returns nil, they survive a crash of this process.
type Spill interface {
	Write(events ...audit.Event) error
}

// Log is the audit log. When a method returns nil, the events are committed,
// together with the entry's state change.
type Log interface {
	Append(ctx context.Context, events ...audit.Event) error
	// Post writes an event without the caller's waiting for it, no later than
	// what is written next; after is told how that went.
	Post(ctx context.Context, e audit.Event, after func(error)) error
	// Stamp gives an event its id and time before it is written.
	Stamp(e audit.Event) audit.Event
	Commit(ctx context.Context, e audit.Entry) error
	// OpenIntents returns projects' intents, each's from a sequence number on, of
	// which nobody knows how they ended, and the log's size before it looked.
	OpenIntents(ctx context.Context, since map[string]int64) (open map[string][]audit.Record, size int64, err error)
}

// Config is what a Runner works with.
type Config struct {
	Keys      Keys
	Directory Directory
	Identity  Identity
	Secrets   Secrets
	State     *state.Store
	Log       Log
	Anchors   Anchors
	Logger    *slog.Logger

	Parent  string // the parent project's id
	Policy  rotation.Policy
	Scope   rotation.Scope
	Labels  rotation.LabelMode
	Self    string // rotator's own credential, "" when it is to be found
	Onboard string // a first credential for projects without one, "" for none
	Actor   string
	Host    string
	Process uuid.UUID // identifies this process in leases

	Concurrency  int           // projects at once
	Lease        time.Duration // how long a silent worker keeps a project
	Recheck      time.Duration // every project is looked at this often
	MaxSkew      time.Duration // clocks that differ more forbid deleting
	MaxFailures  int           // consecutive projects failing at one step end the run
	MaxRotations int           // per run, negative means unlimited
	MaxDeletions int           // per run, negative means unlimited

	Grace time.Duration // for the key in hand after a stop

	// Now is this host's clock, compared with the others'; it decides
	// nothing else.
	Now func() time.Time
	// Progress is told after each project how many are done; it may be nil.
	Progress func(done, total int)
}

// Runner does runs.
type Runner struct{ Config }

// New returns a Runner.
func New(cfg Config) *Runner { return &Runner{Config: cfg} }
