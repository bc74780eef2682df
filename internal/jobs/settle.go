package jobs

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"rotator/internal/audit"
	"rotator/internal/call"
	"rotator/internal/rotation"
	"rotator/internal/state"
)

// settle brings the records in line with what is: after a crash, a
// rotation's key is published if any readable version names it, and its
// rotation has failed if none does. Nobody else can be working on it, since
// we hold the lease. A publication that only Vault remembers is recorded.
func (w *work) settle(ctx context.Context, v *view) error {
	named := map[string]publication{} // by rotation id
	for cred, path := range v.Paths {
		for i, ver := range append(slices.Clone(path.Older), path.Current) {
			if ver.Readable && ver.RotationID != "" && ver.KeyID != "" {
				named[ver.RotationID] = publication{cred, ver, i == len(path.Older)}
			}
		}
	}
	for id, rec := range v.Records {
		pub, isNamed := named[id]
		var err error
		switch {
		case rec.State == rotation.Published, v.Paths[rec.Credential].Err != "":
			continue
		case isNamed:
			rec, err = w.settlePublished(ctx, rec, pub)
		case rec.State != rotation.Failed:
			rec.State = rotation.Failed
			err = w.rotationFailed(w.about(ctx, rec), id, rec.NewKeyID, "abandoned: the process that worked on it ended before the key was published")
		}
		if err != nil {
			return failedAt("settle", err)
		}
		v.Records[id] = rec
	}
	return w.learn(ctx, v, named)
}

// publication is a version that names a key.
type publication struct {
	credential string
	rotation.Version
	current bool
}

// about returns a context whose events are about the rotation.
func (w *work) about(ctx context.Context, rec rotation.Record) context.Context {
	return within(ctx, func(s *scope) {
		s.cred, s.rotation, s.replaces, s.trigger = rec.Credential, rec.ID, rec.OldKeyID, string(rec.Trigger)
	})
}

func (w *work) settlePublished(ctx context.Context, rec rotation.Record, pub publication) (rotation.Record, error) {
	path, err := w.Secrets.Path(w.lease.Project.ID, pub.credential)
	if err != nil {
		return rec, err //nolint:wrapcheck // vault says what is wrong with the name
	}
	rec.State, rec.NewKeyID, rec.PublishedAt = rotation.Published, pub.KeyID, pub.CreatedAt
	return rec, w.published(w.about(ctx, rec), state.Publication{
		Rotation: rec.ID, Credential: rec.Credential, Path: path, Version: pub.Number, At: pub.CreatedAt,
		Key: pub.KeyID, Replaced: rec.OldKeyID, Overlap: rec.Overlap,
	}, rec.Trigger)
}

// learn records publications of listed keys that the database does not know,
// so that its memory is whole before any version is destroyed.
func (w *work) learn(ctx context.Context, v *view, named map[string]publication) error {
	for id, pub := range named {
		listed := slices.IndexFunc(v.Keys, func(k rotation.Key) bool { return k.ID == pub.KeyID })
		if _, known := v.Records[id]; known || listed < 0 || rotation.ParseName(v.Keys[listed].DisplayName).RotationID != id {
			continue
		}
		rec := rotation.Record{
			ID: id, Credential: pub.credential, NewKeyID: pub.KeyID, Trigger: rotation.Scheduled, State: rotation.Published,
			Overlap: v.Policy.Overlap, StartedAt: pub.CreatedAt, PublishedAt: pub.CreatedAt,
		}
		path, err := w.Secrets.Path(w.lease.Project.ID, pub.credential)
		if err != nil {
			continue // a name without a path was never published by us
		}
		e := event(w.about(ctx, rec), audit.RotationPublished)
		e.Key, e.VaultPath, e.VaultVersion = pub.KeyID, path, pub.Number
		e.Reason = "known from Vault only: recorded anew"
		err = commit(ctx, w.Log, audit.Entry{Events: []audit.Event{e}, Update: w.lease.RotationKnown(state.NewRotation{
			ID: id, Credential: rec.Credential, DisplayName: call.Clean(v.Keys[listed].DisplayName, 1024), Trigger: string(rec.Trigger),
			Reason: e.Reason, Actor: w.Actor, Run: w.id, Overlap: rec.Overlap,
		}, pub.KeyID, pub.Number, pub.CreatedAt)})
		if err != nil {
			return failedAt("settle", err)
		}
		v.Records[id] = rec
	}
	return nil
}

// repair writes custom metadata that was lost, so that people still see in
// Vault whose path it is.
func (w *work) repair(ctx context.Context, v *view) error {
	for cred, p := range v.Paths {
		rec, ours := v.Records[p.Current.RotationID]
		if p.Managed || p.Err != "" || !ours || p.Current.KeyID == "" || rec.NewKeyID != p.Current.KeyID {
			continue
		}
		path, err := w.Secrets.Path(w.lease.Project.ID, cred)
		if err == nil {
			err = w.Secrets.SetMetadata(w.about(ctx, rec), path, customMetadata(cred, cred))
		}
		if err != nil && lostForGood(ctx, err) {
			return failedAt("repair", err)
		}
		if err != nil {
			w.Logger.WarnContext(ctx, "custom metadata not repaired", "project", w.lease.Project.ID, "err", message(err))
		}
	}
	return nil
}

// snapshotEvery is how often an unchanged inventory is recorded again.
const snapshotEvery = 24 * time.Hour

// snapshot records the provider's own list of keys, when it changed, else
// once a day.
func (w *work) snapshot(ctx context.Context, v *view, plan rotation.Plan) error {
	if !v.Complete {
		return nil
	}
	seen := make([]state.SeenKey, 0, len(plan.Keys))
	keys := make([]audit.Key, 0, len(plan.Keys))
	for _, k := range plan.Keys {
		name := call.Clean(k.DisplayName, 1024)
		s := state.SeenKey{ID: k.ID, Credential: call.Clean(k.Credential, 1024), DisplayName: name, State: string(k.State), CreatedAt: k.CreatedAt}
		if !k.RetireAt.IsZero() {
			s.RetireAt = &k.RetireAt
		}
		if !k.Deadline.IsZero() {
			s.Deadline = &k.Deadline
		}
		seen = append(seen, s)
		keys = append(keys, audit.Key{ID: k.ID, Name: name, Created: k.CreatedAt.UTC(), State: string(k.State)})
	}
	sum, err := digest(seen)
	if err != nil {
		return err
	}
	p := w.lease.Project
	if slices.Equal(sum, p.SnapshotSHA256) && p.SnapshotAt != nil && v.Now.Sub(*p.SnapshotAt) < snapshotEvery {
		return nil
	}
	e := event(ctx, audit.InventorySnapshot)
	e.Traceparent = "" // many a project has one a day, and its run says it
	e.Keys, e.Complete = keys, &v.Complete
	e.MaxAgeS, e.OverlapS, e.Policy = int64(v.Policy.MaxAge.Seconds()), wholeSeconds(v.Policy.Overlap), describe(v.Policy)
	inScope := slices.ContainsFunc(plan.Keys, func(k rotation.KeyView) bool { return k.InScope })
	e.InScope = &inScope
	parts, err := audit.SplitSnapshot(e)
	if err != nil {
		return fmt.Errorf("describing the inventory: %w", err)
	}
	return commit(ctx, w.Log, audit.Entry{Events: parts, Update: w.lease.Snapshot(seen, sum)})
}

func digest(seen []state.SeenKey) ([]byte, error) {
	text, err := json.Marshal(seen)
	if err != nil {
		return nil, fmt.Errorf("describing the inventory: %w", err)
	}
	sum := sha256.Sum256(text)
	return sum[:], nil
}
