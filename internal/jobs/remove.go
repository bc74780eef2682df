package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"rotator/internal/audit"
	"rotator/internal/rotation"
	"rotator/internal/sinch"
	"rotator/internal/state"
	"rotator/internal/vault"
)

// remove deletes a superseded key or an orphan. First Vault is made safe
// (nobody can roll back to the key, no late publication can name it), then
// everything that the decision rests on is looked at again, and only if the
// planner still says the same is the key deleted.
func (w *work) remove(ctx context.Context, v *view, s rotation.Step) error {
	path, err := w.Secrets.Path(w.lease.Project.ID, s.Credential)
	if err != nil {
		return failedAt("delete", err)
	}
	err = traced(ctx, "move_on", func(ctx context.Context) error {
		if s.Action == rotation.DeleteOrphan {
			return w.moveOn(ctx, v, path, s.Credential)
		}
		return w.destroyVersions(ctx, v, path, s)
	})
	if errors.Is(err, vault.ErrCASMismatch) {
		return errMovedOn
	}
	if err != nil {
		return failedAt("move_on", fmt.Errorf("making Vault safe before the deletion: %w", err))
	}
	fresh, err := w.eye.look(ctx, w.lease.Project, nil)
	if err != nil {
		return err
	}
	return w.decideAgain(ctx, fresh, s)
}

// decideAgain deletes the key if the planner still says so on fresh facts.
func (w *work) decideAgain(ctx context.Context, fresh *view, s rotation.Step) error {
	for _, now := range rotation.Decide(fresh.Facts).Steps {
		if now.Key.ID != s.Key.ID || now.Action == rotation.Rotate || now.Action == rotation.Skip {
			continue
		}
		if now.Action == rotation.Refuse {
			return w.refuse(ctx, now, now.Guard, now.Reason)
		}
		if guard, reason, ok := rotation.GuardDelete(fresh.Facts, s.Key); !ok {
			return w.refuse(ctx, s, guard, reason)
		}
		return traced(ctx, "delete", func(ctx context.Context) error { return w.delete(ctx, fresh.Policy, s) })
	}
	return errMovedOn
}

// moveOn writes the path's newest data again, so that a publication that is
// still under way somewhere finds another version than it expects, and fails.
func (w *work) moveOn(ctx context.Context, v *view, path, credential string) error {
	if !v.Paths[credential].Managed {
		if err := w.Secrets.SetMetadata(ctx, path, customMetadata(credential, credential)); err != nil {
			return err //nolint:wrapcheck // wrapped by remove
		}
	}
	_, err := w.Secrets.Rewrite(ctx, path, v.versions[credential])
	return err //nolint:wrapcheck // as above
}

// destroyVersions destroys the older versions that name the key. Only what
// rotator wrote is ever destroyed.
func (w *work) destroyVersions(ctx context.Context, v *view, path string, s rotation.Step) error {
	var versions []int
	for _, older := range v.Paths[s.Credential].Older {
		if older.Readable && older.KeyID == s.Key.ID && older.RotationID != "" {
			versions = append(versions, older.Number)
		}
	}
	if len(versions) == 0 {
		return nil
	}
	return w.Secrets.Destroy(ctx, path, versions) //nolint:wrapcheck // wrapped by remove
}

// maxConfirms bounds how often a deleted key is asked after.
const maxConfirms = 5

// delete deletes the key, confirms that it is gone, and records it.
func (w *work) delete(ctx context.Context, p rotation.Policy, s rotation.Step) error {
	project := w.lease.Project.ID
	if err := w.Keys.DeleteKey(ctx, project, s.Key.ID); err != nil {
		return failedAt("delete", fmt.Errorf("deleting access key %s: %w", s.Key.ID, err))
	}
	for n := 1; ; n++ {
		_, err := w.Keys.GetKey(ctx, project, s.Key.ID)
		if errors.Is(err, sinch.ErrNotFound) {
			break
		}
		if err != nil {
			return failedAt("delete", fmt.Errorf("confirming that access key %s is gone: %w", s.Key.ID, err))
		}
		if n == maxConfirms {
			return failedAt("delete", fmt.Errorf("access key %s is still there after its deletion was answered with success", s.Key.ID))
		}
		if err := wait(ctx, time.Duration(n)*time.Second); err != nil {
			return failedAt("delete", err)
		}
	}
	return w.deleted(ctx, p, s)
}

func (w *work) deleted(ctx context.Context, p rotation.Policy, s rotation.Step) error {
	kind, action := audit.KeyRetired, Retired
	if s.Action == rotation.DeleteOrphan {
		kind, action = audit.KeyOrphanDeleted, OrphanDeleted
	}
	e := event(ctx, kind)
	e.Key, e.DisplayName, e.KeyCreatedAt = s.Key.ID, s.Key.DisplayName, s.Key.CreatedAt.UTC()
	e.Reason, e.MaxAgeS = because(ctx, s.Reason), int64(p.MaxAge.Seconds())
	err := commit(ctx, w.Log, audit.Entry{Events: []audit.Event{e}, Update: w.lease.KeyGone(s.Key.ID)})
	if err != nil {
		return failedAt("delete", err)
	}
	w.note(Result{Credential: s.Credential, Action: action, RotationID: Text(s.RotationID), OldKeyID: Text(s.Key.ID)})
	return nil
}

// refuse records that a guard stands against a step.
func (w *work) refuse(ctx context.Context, s rotation.Step, guard, reason string) error {
	e := event(ctx, audit.GuardRefused)
	e.Key, e.Reason = s.Key.ID, guard+": "+reason
	if err := commit(ctx, w.Log, audit.Entry{Events: []audit.Event{e}, Update: w.lease.Held()}); err != nil {
		return failedAt("refuse", err)
	}
	w.Logger.WarnContext(ctx, "guard refused", "project", w.lease.Project.ID, "key", s.Key.ID, "guard", guard, "reason", reason)
	w.note(Result{Credential: s.Credential, Action: Refused, RotationID: Text(s.RotationID), OldKeyID: Text(s.Key.ID), Error: Text(guard + ": " + reason)})
	return nil
}

// credentialFailed notes a failed attempt, for the back-off.
func (w *work) credentialFailed(ctx context.Context, v *view, s rotation.Step, cause error) error {
	path, err := w.Secrets.Path(w.lease.Project.ID, s.Credential)
	if err != nil {
		return nil //nolint:nilerr // a name without a path is not remembered; the failure itself is in the results
	}
	failures := v.failures[s.Credential] + 1
	v.failures[s.Credential] = failures
	return w.change(ctx, w.lease.CredentialFailed(s.Credential, path, message(cause), failures))
}

// change makes a state change that no audit row tells of: bookkeeping for
// the schedule, under the lease.
func (w *work) change(ctx context.Context, c state.Change) error {
	applied, err := w.State.Apply(ctx, c)
	if err != nil {
		return failedAt("database", err)
	}
	if !applied {
		return errLeaseLost
	}
	return nil
}
