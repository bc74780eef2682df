package jobs

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"rotator/internal/audit"
	"rotator/internal/vault"
)

// Anchors keeps checkpoints of the audit log outside the database, and holds
// the log against them. Errors match audit.ErrBehind, audit.ErrForged or
// audit.ErrOverdue where a guard stands against going on.
type Anchors interface {
	// Check returns nil when the log continues its newest checkpoint and
	// that is young enough.
	Check(ctx context.Context) error
	// Anchor makes a checkpoint if anything happened since the last one;
	// without reads, if anything was changed.
	Anchor(ctx context.Context, reads bool) error
	// Settle resolves what a crash left open, from a sequence number of the
	// log on, and returns the one to go on from.
	Settle(ctx context.Context, since int64) (next int64, err error)
	// Permit returns nil when a key may be made or deleted now.
	Permit(ctx context.Context, deletion bool) error
	// Broken returns why nothing at all may be changed any more, or nil.
	Broken() error
	// Keep makes checkpoints while something changes, until ctx ends.
	Keep(ctx context.Context)
}

// Guards of the audit log's checkpoints, as events and results name them.
const (
	guardBehind  = "log_behind_anchor"
	guardForged  = "checkpoint_forged"
	guardOverdue = "checkpoint_overdue"
)

// anchorGuard names the guard that an error of Anchors means, "" for none.
func anchorGuard(err error) string {
	switch {
	case errors.Is(err, audit.ErrForged):
		return guardForged
	case errors.Is(err, audit.ErrBehind):
		return guardBehind
	case errors.Is(err, audit.ErrOverdue):
		return guardOverdue
	}
	return ""
}

// trusted reports whether the log is what its checkpoints say. A guard that
// stands against the whole run is recorded and reported; any other error
// means that Vault could not be asked.
func (s *run) trusted(ctx context.Context) (bool, error) {
	err := s.Anchors.Check(ctx)
	if err == nil {
		return true, s.settleAnchors(ctx)
	}
	if anchorGuard(err) == "" {
		return false, fmt.Errorf("holding the audit log against its checkpoints: %w", err)
	}
	return false, s.standStill(ctx, err)
}

// anchorsSettled is the setting that says up to where in the log no intent to
// write a checkpoint is open.
const anchorsSettled = "anchors_settled_seq"

func (s *run) settleAnchors(ctx context.Context) error {
	text, err := s.State.Setting(ctx, anchorsSettled)
	if err != nil {
		return err //nolint:wrapcheck // state says what it was doing
	}
	since, _ := strconv.ParseInt(text, 10, 64) // what is not there, or damaged, means from the beginning
	next, err := s.Anchors.Settle(ctx, since)
	if err != nil {
		return fmt.Errorf("settling checkpoints: %w", err)
	}
	return s.State.SetSetting(ctx, anchorsSettled, strconv.FormatInt(next, 10)) //nolint:wrapcheck // as above
}

// standStill records that a guard ends the whole run.
func (s *run) standStill(ctx context.Context, why error) error {
	text := anchorGuard(why) + ": " + message(why)
	s.Logger.ErrorContext(ctx, "guard refused", "guard", anchorGuard(why), "err", why)
	s.report.add(Result{Action: Refused, Error: Text(text)})
	e := event(ctx, audit.GuardRefused)
	e.Reason = text
	if err := s.Log.Append(ctx, e); err != nil {
		return fmt.Errorf("recording the refusal: %w: %w", err, why)
	}
	return nil
}

// anchoring keeps making checkpoints until the function is called.
func (s *run) anchoring(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.Anchors.Keep(ctx)
	}()
	return func() { cancel(); <-stopped }
}

// permit reports whether a key may be made or deleted now, as far as the log's
// checkpoints are concerned.
func (w *work) permit(ctx context.Context, deletion bool) (guard, reason string, ok bool) {
	err := w.Anchors.Permit(ctx, deletion)
	if err == nil {
		return "", "", true
	}
	return anchorGuard(err), message(err), false
}

// AuditStore is where the audit log keeps checkpoints and keys in Vault. What
// it does belongs to no project: its intents need no lease.
func AuditStore(documents *vault.Documents) audit.Store { return auditStore{documents} }

type auditStore struct{ documents *vault.Documents }

// aside returns a context for work on checkpoints within other work.
func aside(ctx context.Context) context.Context {
	return within(ctx, func(s *scope) { *s = scope{run: s.run, trigger: s.trigger, anchoring: true} })
}

func (a auditStore) Create(ctx context.Context, path string, fields map[string]string) error {
	err := a.documents.Create(aside(ctx), path, fields)
	if errors.Is(err, vault.ErrExists) {
		return fmt.Errorf("%w: %w", audit.ErrExists, err)
	}
	return err //nolint:wrapcheck // audit says what it was doing, here and below
}

func (a auditStore) Read(ctx context.Context, path string, version int) (map[string]string, error) {
	fields, err := a.documents.ReadVersion(aside(ctx), path, version)
	if errors.Is(err, vault.ErrNotFound) {
		return nil, fmt.Errorf("%w: %w", audit.ErrAbsent, err)
	}
	return fields, err //nolint:wrapcheck // as above
}

func (a auditStore) List(ctx context.Context, folder string) ([]string, error) {
	names, err := a.documents.List(aside(ctx), folder)
	for i, name := range names {
		names[i] = strings.TrimSuffix(name, "/")
	}
	return names, err //nolint:wrapcheck // as above
}

// AuditTransit signs for the audit log with a key of Vault Transit. The
// reference is "transit:<mount>/<key>".
func AuditTransit(store *vault.Store, ref string) (audit.Transit, error) {
	path, ok := strings.CutPrefix(ref, "transit:")
	i := strings.LastIndexByte(path, '/')
	if !ok || i < 1 || i == len(path)-1 {
		return nil, fmt.Errorf("%q is no signer; want transit:<mount>/<key>", ref)
	}
	return transit{store, vault.TransitKey{Mount: path[:i], Name: path[i+1:]}}, nil
}

type transit struct {
	store *vault.Store
	key   vault.TransitKey
}

func (t transit) PublicKeys(ctx context.Context) (map[int]ed25519.PublicKey, int, error) {
	return t.store.TransitPublicKeys(aside(ctx), t.key) //nolint:wrapcheck // as above
}

func (t transit) Sign(ctx context.Context, version int, message []byte) ([]byte, error) {
	return t.store.TransitSign(aside(ctx), t.key, version, message) //nolint:wrapcheck // as above
}
