package jobs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"rotator/internal/audit"
	"rotator/internal/call"
	"rotator/internal/rotation"
	"rotator/internal/secret"
	"rotator/internal/sinch"
	"rotator/internal/state"
	"rotator/internal/vault"
)

// attempt is one rotation under way. The new key's secret lives here, and
// nowhere else outside of Vault.
type attempt struct {
	*work
	step   rotation.Step
	policy rotation.Policy // of the project
	path   string          // in Vault, below the mount
	cas    int             // the version that publishing must find newest
	id     string          // of the rotation
	key    sinch.AccessKey
	secret secret.Value
}

// rotate replaces a credential's key: plan → create → verify → publish →
// supersede. Each arrow is one committed transaction, in which the intent of what
// comes next stands too; a crash between two of them is settled by the next run
// from what Sinch, Vault and the database say.
func (w *work) rotate(ctx context.Context, v *view, s rotation.Step) error {
	ctx = within(ctx, func(sc *scope) { sc.trigger, sc.replaces = string(s.Trigger), s.Key.ID })
	path, err := w.Secrets.Path(w.lease.Project.ID, s.Credential)
	if err == nil {
		err = w.Secrets.CanWrite(ctx, path)
	}
	if err == nil && !v.Paths[s.Credential].Managed {
		err = w.Secrets.SetMetadata(ctx, path, customMetadata(s.Credential, s.Key.DisplayName))
	}
	if err != nil {
		return failedAt("check_vault", err)
	}
	a := &attempt{work: w, step: s, policy: v.Policy, path: path, cas: v.versions[s.Credential]}
	if err := traced(ctx, "create", a.create); err != nil {
		return err
	}
	ctx = within(ctx, func(sc *scope) { sc.rotation = a.id })
	version, err := a.provenAndPublished(ctx)
	if err != nil {
		return a.giveUp(ctx, err)
	}
	if err := traced(ctx, "supersede", func(ctx context.Context) error { return a.supersede(ctx, version) }); err != nil {
		return err
	}
	w.note(Result{
		Credential: s.Credential, Action: Rotated, RotationID: Text(a.id),
		OldKeyID: Text(s.Key.ID), NewKeyID: Text(a.key.ID),
	})
	return w.switchOwn(ctx, v, a)
}

// maxNames bounds how many fresh names a create is tried under in a run,
// where each refusal proves that nothing was created.
const maxNames = 3

// create makes the new key. A name is sent once; only an answer that proves
// that the key was not created is followed by another name.
func (a *attempt) create(ctx context.Context) error {
	for n := 1; ; n++ {
		err := a.createOnce(ctx)
		if err == nil || n == maxNames || !errors.Is(err, sinch.ErrNotApplied) || !retriable(err) || lostForGood(ctx, err) {
			return err
		}
		if err := wait(ctx, time.Duration(n)*time.Second); err != nil {
			return err
		}
	}
}

// retriable reports refusals that a fresh name may get past: a token that had
// expired, or too many requests.
func retriable(err error) bool {
	return errors.Is(err, sinch.ErrUnauthenticated) || errors.Is(err, sinch.ErrRetryable)
}

func (a *attempt) createOnce(ctx context.Context) error {
	id, err := rotation.NewID(a.Now(), rand.Reader)
	if err != nil {
		return failedAt("plan", err)
	}
	a.id, a.rotation = id, id
	ctx = within(ctx, func(sc *scope) { sc.rotation = id })
	name := rotation.DisplayName(a.step.Credential, id)
	var events []audit.Event
	if a.step.Trigger == rotation.Drift {
		drift := event(ctx, audit.KeyDrift)
		drift.Key, drift.Replaces, drift.Reason = a.step.Key.ID, "", a.step.Reason
		events = append(events, drift)
	}
	planned := event(ctx, audit.RotationPlanned)
	planned.Reason, planned.DisplayName = because(ctx, a.step.Reason), name
	planned.MaxAgeS, planned.OverlapS = int64(a.policy.MaxAge.Seconds()), wholeSeconds(a.step.Overlap)
	announcing, plan := carrying(ctx, audit.Entry{Events: append(events, planned), Update: a.lease.PlanRotation(state.NewRotation{
		ID: id, Credential: a.step.Credential, DisplayName: call.Clean(name, 1024), OldKeyID: a.step.Key.ID,
		Trigger: string(a.step.Trigger), Reason: call.Clean(planned.Reason, 1024), Actor: a.Actor, Run: a.run.id, Overlap: a.step.Overlap,
	})})
	a.key, a.secret, err = a.Keys.CreateKey(followed(announcing), a.lease.Project.ID, name)
	if err := plan.commit(ctx, a.Log); err != nil {
		return failedAt("plan", err)
	}
	if err != nil {
		return a.giveUp(ctx, failedAt("create", fmt.Errorf("creating an access key: %w", err)))
	}
	created := event(ctx, audit.RotationCreated)
	created.Key, created.DisplayName, created.KeyCreatedAt = a.key.ID, name, a.key.CreatedAt.UTC()
	err = commit(ctx, a.Log, audit.Entry{Events: []audit.Event{created}, Update: a.lease.RotationCreated(id, a.key.ID)})
	if err != nil {
		return a.giveUp(ctx, failedAt("create", err))
	}
	return nil
}

// provenAndPublished lets the new key prove itself and writes it to Vault,
// where consumers find it. It returns the version.
func (a *attempt) provenAndPublished(ctx context.Context) (int, error) {
	own := sinch.Credentials{KeyID: a.key.ID, Secret: a.secret}
	err := traced(ctx, "verify", func(ctx context.Context) error { return a.Keys.Verify(ctx, a.lease.Project.ID, own) })
	if err != nil {
		return 0, failedAt("verify", err)
	}
	verified := event(ctx, audit.RotationVerified)
	verified.Key = a.key.ID
	announcing, proof := carrying(ctx, audit.Entry{Events: []audit.Event{verified}, Update: a.lease.RotationVerified(a.id)})
	var version int
	err = traced(announcing, "publish", func(ctx context.Context) (err error) { version, err = a.publish(ctx); return err })
	if err := proof.commit(ctx, a.Log); err != nil {
		return 0, failedAt("verify", err)
	}
	if err != nil {
		return 0, failedAt("publish", err)
	}
	return version, nil
}

// maxPuts bounds how often one publication is sent. Sending it again is safe:
// of two writes with the same check-and-set only one can win.
const maxPuts = 3

// publish writes the path and reads it back. A lost answer is settled by
// reading.
func (a *attempt) publish(ctx context.Context) (int, error) {
	d := vault.Data{
		ProjectID: a.lease.Project.ID, KeyID: a.key.ID, KeySecret: a.secret,
		CreatedAt: a.key.CreatedAt, RotationID: a.id,
	}
	version, err := a.Secrets.Put(followed(ctx), a.path, d, a.cas)
	for n := 1; err != nil; n++ {
		if !errors.Is(err, vault.ErrStateUnknown) && !errors.Is(err, vault.ErrCASMismatch) || lostForGood(ctx, err) {
			return 0, fmt.Errorf("writing Vault: %w", err)
		}
		seen, readErr := a.Secrets.Read(ctx, a.path)
		switch {
		case readErr != nil && !errors.Is(readErr, vault.ErrNotFound):
			return 0, fmt.Errorf("writing Vault: %w; and reading it back: %w", err, readErr)
		case seen.Data.KeyID == a.key.ID:
			version, err = seen.Version, nil
			continue
		case seen.Version != a.cas:
			return 0, fmt.Errorf("writing Vault: somebody else wrote version %d of the path meanwhile: %w", seen.Version, vault.ErrCASMismatch)
		case n == maxPuts:
			return 0, fmt.Errorf("writing Vault: %w", err)
		}
		if err := wait(ctx, time.Duration(n)*time.Second); err != nil {
			return 0, err
		}
		version, err = a.Secrets.Put(followed(ctx), a.path, d, a.cas)
	}
	if err := a.Secrets.Confirm(ctx, a.path, version, d); err != nil {
		return 0, fmt.Errorf("reading back what was written: %w", err)
	}
	return version, nil
}

// supersede records the publication, from which the old key's overlap runs,
// and marks the old key for people. The mark is best effort.
func (a *attempt) supersede(ctx context.Context, version int) error {
	now, err := a.State.Now(ctx)
	if err != nil {
		return failedAt("supersede", err)
	}
	err = a.published(ctx, state.Publication{
		Rotation: a.id, Credential: a.step.Credential, Path: a.path, Version: version, At: now,
		Key: a.key.ID, Replaced: a.step.Key.ID, Overlap: a.step.Overlap, Seen: a.seen(),
	}, a.step.Trigger)
	if err != nil {
		return failedAt("supersede", err)
	}
	a.checkBy(now.Add(a.step.Overlap))
	if a.step.Key.ID == "" || a.step.Trigger == rotation.Drift || rotation.ParseName(a.step.Key.DisplayName).Superseded {
		return nil
	}
	name := rotation.SupersededName(a.step.Key.DisplayName, now)
	if _, err := a.Keys.RenameKey(ctx, a.lease.Project.ID, a.step.Key.ID, name); err != nil {
		if lostForGood(ctx, err) {
			return failedAt("mark", err)
		}
		a.Logger.WarnContext(ctx, "old key not marked as superseded in its name", "project", a.lease.Project.ID, "key", a.step.Key.ID, "err", message(err))
	}
	return nil
}

// seen is the new key as the next look's snapshot will show it.
func (a *attempt) seen() state.SeenKey {
	deadline := a.key.CreatedAt.Add(a.policy.MaxAge)
	return state.SeenKey{
		ID: a.key.ID, Credential: call.Clean(a.step.Credential, 1024),
		DisplayName: call.Clean(rotation.DisplayName(a.step.Credential, a.id), 1024),
		State:       string(rotation.CurrentKey), CreatedAt: a.key.CreatedAt, Deadline: &deadline,
	}
}

// published records that Vault's path is known to name a key. After a drift
// there is no old key any more.
func (w *work) published(ctx context.Context, p state.Publication, trigger rotation.Trigger) error {
	e := event(ctx, audit.RotationPublished)
	e.Key, e.Replaces, e.Rotation = p.Key, p.Replaced, p.Rotation
	e.VaultPath, e.VaultVersion, e.OverlapS = p.Path, p.Version, wholeSeconds(p.Overlap)
	events := []audit.Event{e}
	if trigger == rotation.Drift {
		p.Replaced = ""
	}
	if p.Replaced != "" {
		old := event(ctx, audit.KeySuperseded)
		old.Key, old.Replaces, old.Rotation, old.RetireAt = p.Replaced, "", p.Rotation, p.At.Add(p.Overlap).UTC()
		events = append(events, old)
	}
	return commit(ctx, w.Log, audit.Entry{Events: events, Update: w.lease.RotationPublished(p)})
}

// giveUp records that the rotation has failed, so that its key is an orphan,
// and returns the error. After a lost lease or with the log down it records
// nothing: the next run settles.
func (a *attempt) giveUp(ctx context.Context, err error) error {
	if lostForGood(ctx, err) {
		return err
	}
	return errors.Join(err, a.rotationFailed(ctx, a.id, a.key.ID, message(err)))
}

func (w *work) rotationFailed(ctx context.Context, id, key, why string) error {
	e := event(ctx, audit.RotationFailed)
	e.Rotation, e.Key, e.Error = id, key, why
	return commit(ctx, w.Log, audit.Entry{Events: []audit.Event{e}, Update: w.lease.RotationFailed(id, why)})
}

// customMetadata is what people see of a path in Vault.
func customMetadata(credential, displayName string) map[string]string {
	return map[string]string{"managed_by": "rotator", "credential": credential, "display_name": displayName}
}

// because is the reason that a person gave, else the planner's.
func because(ctx context.Context, planned string) string {
	if given := scopeOf(ctx).reason; given != "" {
		return given
	}
	return planned
}

func wholeSeconds(d time.Duration) *int64 {
	s := int64(d.Seconds())
	return &s
}

// wait waits, unless the work ends first.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
