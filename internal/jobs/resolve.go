package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"rotator/internal/audit"
	"rotator/internal/call"
	"rotator/internal/rotation"
	"rotator/internal/vault"
)

// resolve closes the intents that a crash, or a database that was away, left
// without an outcome: what Sinch and Vault show now is the evidence. It is
// done under the lease, before anything is decided.
func (w *work) resolve(ctx context.Context, v *view) error {
	if w.resolved {
		return nil
	}
	if w.intents == nil {
		project := w.lease.Project.ID
		open, size, err := w.Log.OpenIntents(ctx, map[string]int64{project: w.lease.Project.ResolvedSeq})
		if err != nil {
			return failedAt("resolve", err)
		}
		w.intents = &intents{open[project], size}
	}
	all, size := true, w.intents.size
	for _, intent := range w.intents.open {
		applied, evidence, err := w.evidence(ctx, v, intent.Event)
		if err != nil {
			if lostForGood(ctx, err) {
				return failedAt("resolve", err)
			}
			w.Logger.WarnContext(ctx, "open intent not resolved, the next run tries again", "project", w.lease.Project.ID, "call", intent.Event.Call, "err", message(err))
			all = false
			continue
		}
		e := intent.Event
		e.ID, e.TimeUS, e.Phase, e.Run = "", 0, audit.Resolved, w.id.String()
		e.Outcome, e.Reason = audit.Unknown, "not applied yet, though it may still arrive: "+evidence
		if applied {
			e.Outcome, e.Reason = audit.OK, "applied: "+evidence
		}
		if err := commit(ctx, w.Log, audit.Entry{Events: []audit.Event{e}, Update: w.lease.Held()}); err != nil {
			return failedAt("resolve", err)
		}
	}
	w.intents = nil
	if w.resolved = all; all {
		w.resolvedSeq = size
	}
	return nil
}

// evidence says whether a call of which only the intent is known was applied,
// and what shows it.
func (w *work) evidence(ctx context.Context, v *view, e audit.Event) (applied bool, what string, err error) {
	switch e.Op {
	case "access_keys.create":
		k, listed := v.listed(func(k rotation.Key) bool { return call.Clean(k.DisplayName, 1024) == e.DisplayName })
		return listed, present(listed, "Sinch lists key "+k.ID+" under this name", "Sinch lists no key of this name"), nil
	case "access_keys.update":
		_, listed := v.listed(func(k rotation.Key) bool {
			return k.ID == e.Key && call.Clean(k.DisplayName, 1024) == e.DisplayName
		})
		return listed, present(listed, "Sinch lists the key under this name", "Sinch does not list the key under this name"), nil
	case "access_keys.delete":
		_, listed := v.listed(func(k rotation.Key) bool { return k.ID == e.Key })
		return !listed, present(listed, "Sinch still lists the key", "Sinch no longer lists the key"), nil
	}
	return w.vaultEvidence(ctx, e)
}

func (w *work) vaultEvidence(ctx context.Context, e audit.Event) (applied bool, what string, err error) {
	meta, err := w.Secrets.Metadata(ctx, e.VaultPath)
	if errors.Is(err, vault.ErrNotFound) {
		return false, "Vault has nothing at the path", nil
	}
	if err != nil {
		return false, "", fmt.Errorf("asking Vault how a call ended: %w", err)
	}
	switch e.Op {
	case "vault.metadata":
		ours := meta.Custom["managed_by"] == "rotator"
		return ours, present(ours, "the custom metadata is there", "the custom metadata is not there"), nil
	case "vault.write":
		return w.wroteVersion(ctx, e, meta)
	}
	gone := false
	for _, ver := range meta.Versions {
		gone = gone || ver.Destroyed || ver.Deleted
	}
	return gone, present(gone, "the path has deleted or destroyed versions", "the path has no deleted or destroyed version"), nil
}

// wroteVersion looks at the version that the write would have made: the one
// after that which its check-and-set expected.
func (w *work) wroteVersion(ctx context.Context, e audit.Event, meta vault.Metadata) (bool, string, error) {
	n := e.VaultVersion + 1
	i := slices.IndexFunc(meta.Versions, func(m vault.VersionMeta) bool { return m.Number == n })
	if i < 0 {
		return false, fmt.Sprintf("the path has no version %d", n), nil
	}
	if m := meta.Versions[i]; m.Deleted || m.Destroyed {
		return true, fmt.Sprintf("the path has had a version %d, which is deleted", n), nil
	}
	s, err := w.Secrets.ReadVersion(ctx, e.VaultPath, n)
	if err != nil {
		return false, "", fmt.Errorf("asking Vault how a write ended: %w", err)
	}
	same := s.Data.KeyID == e.Key
	return same, present(same, fmt.Sprintf("version %d names the key", n), fmt.Sprintf("version %d names another key", n)), nil
}

// listed returns the first listed key that fits.
func (v *view) listed(fits func(rotation.Key) bool) (rotation.Key, bool) {
	if i := slices.IndexFunc(v.Keys, fits); i >= 0 {
		return v.Keys[i], true
	}
	return rotation.Key{}, false
}

func present(yes bool, is, isNot string) string {
	if yes {
		return is
	}
	return isNot
}
