package state

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Rotation is a rotation's row. No secret is in it.
type Rotation struct {
	ID          string
	Credential  string
	DisplayName string
	OldKeyID    string
	NewKeyID    string
	Trigger     string
	State       string
	Overlap     time.Duration
	StartedAt   time.Time
	PublishedAt *time.Time
	RetireAt    *time.Time
}

// NewRotation is what a rotation's row starts with.
type NewRotation struct {
	ID, Credential, DisplayName string
	OldKeyID, Trigger, Reason   string
	Actor                       string
	Run                         uuid.UUID
	Overlap                     time.Duration
}

// PlanRotation is a Change that records the intent to rotate.
func (l *Lease) PlanRotation(n NewRotation) Change {
	return guarded(l, change(`
		INSERT INTO rotator.rotation (id, project_id, credential, display_name, old_key_id,
			trigger, state, overlap, reason, actor, run_id)
		VALUES ($1, $2, $3, $4, $5, $6, 'planned', $7::interval, $8, $9, $10)`,
		n.ID, l.Project.ID, n.Credential, n.DisplayName, n.OldKeyID,
		n.Trigger, seconds(n.Overlap), n.Reason, n.Actor, n.Run))
}

// RotationCreated is a Change that records the new key's id.
func (l *Lease) RotationCreated(id, key string) Change {
	return guarded(l, change(`UPDATE rotator.rotation SET state = 'created', new_key_id = $3
		WHERE project_id = $1 AND id = $2 AND state = 'planned'`, l.Project.ID, id, key))
}

// RotationVerified is a Change that records that the new key works.
func (l *Lease) RotationVerified(id string) Change {
	return guarded(l, change(`UPDATE rotator.rotation SET state = 'verified'
		WHERE project_id = $1 AND id = $2 AND state = 'created'`, l.Project.ID, id))
}

// RotationPublished is a Change that records that Vault's path names the new
// key since at, in a version. The key's id is recorded with it: after a crash
// it may not have been before.
func (l *Lease) RotationPublished(id, key string, version int, at time.Time) Change {
	return guarded(l, change(`UPDATE rotator.rotation
		SET state = 'published', new_key_id = $3, vault_version = $4, published_at = $5::timestamptz, retire_at = $5::timestamptz + overlap, error = ''
		WHERE project_id = $1 AND id = $2 AND state <> 'published'`, l.Project.ID, id, key, version, at))
}

// RotationFailed is a Change that gives a rotation up. Its key, if one is
// ever listed, is an orphan for good.
func (l *Lease) RotationFailed(id, message string) Change {
	return guarded(l, change(`UPDATE rotator.rotation SET state = 'failed', error = $3
		WHERE project_id = $1 AND id = $2 AND state NOT IN ('published', 'failed')`, l.Project.ID, id, message))
}

// RotationKnown is a Change that records a publication which only Vault
// remembers: the database was lost, or is another one. An id that is on
// record already is left as it is.
func (l *Lease) RotationKnown(n NewRotation, key string, version int, at time.Time) Change {
	return guarded(l, always(`
		INSERT INTO rotator.rotation (id, project_id, credential, display_name, new_key_id, trigger, state,
			overlap, reason, actor, run_id, published_at, retire_at, vault_version)
		VALUES ($1, $2, $3, $4, $5, $6, 'published', $7::interval, $8, $9, $10, $11::timestamptz, $11::timestamptz + $7::interval, $12)
		ON CONFLICT DO NOTHING`,
		n.ID, l.Project.ID, n.Credential, n.DisplayName, key, n.Trigger, seconds(n.Overlap),
		n.Reason, n.Actor, n.Run, at, version))
}

// SeenKey is a key as a complete listing showed it, classified.
type SeenKey struct {
	ID, Credential, DisplayName, State string
	CreatedAt                          time.Time
	RetireAt                           *time.Time
	Deadline                           *time.Time // when it reaches the max age; nil out of scope
}

// Snapshot is a Change that replaces what is known of a project's keys by a
// complete listing; keys that are no longer listed are marked gone.
func (l *Lease) Snapshot(keys []SeenKey, sha256 []byte) Change {
	ids := make([]string, 0, len(keys))
	changes := []Change{l.Held()}
	for _, k := range keys {
		ids = append(ids, k.ID)
		changes = append(changes, change(`
			INSERT INTO rotator.access_key (project_id, key_id, credential, display_name, state, created_at, retire_at, deadline)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
			ON CONFLICT (project_id, key_id) DO UPDATE
			SET credential = excluded.credential, display_name = excluded.display_name, state = excluded.state,
				created_at = excluded.created_at, retire_at = excluded.retire_at, deadline = excluded.deadline,
				seen_at = now(), gone_at = NULL`,
			l.Project.ID, k.ID, k.Credential, k.DisplayName, k.State, k.CreatedAt, k.RetireAt, k.Deadline))
	}
	changes = append(changes,
		always(`UPDATE rotator.access_key SET gone_at = now()
			WHERE project_id = $1 AND gone_at IS NULL AND NOT key_id = ANY ($2)`, l.Project.ID, ids),
		change(`UPDATE rotator.project SET snapshot_sha256 = $2, snapshot_at = now() WHERE id = $1`, l.Project.ID, sha256))
	return All(changes...)
}

// Policy is a Change that notes under which policy the project was looked at.
func (l *Lease) Policy(policy string) Change {
	return guarded(l, change(`UPDATE rotator.project SET policy = $2 WHERE id = $1`, l.Project.ID, policy))
}

// KeyReplaced is a Change that notes a credential's new current key, and since
// when the old one, which may be empty, waits to go: until the next look, which
// may be a day off, the newest snapshot would show neither. That look replaces
// the snapshot.
func (l *Lease) KeyReplaced(current SeenKey, old string, retireAt time.Time) Change {
	return All(l.Held(),
		change(`
			INSERT INTO rotator.access_key (project_id, key_id, credential, display_name, state, created_at, deadline)
			VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (project_id, key_id) DO UPDATE
			SET credential = excluded.credential, display_name = excluded.display_name, state = excluded.state,
				created_at = excluded.created_at, retire_at = NULL, deadline = excluded.deadline, seen_at = now(), gone_at = NULL`,
			l.Project.ID, current.ID, current.Credential, current.DisplayName, current.State, current.CreatedAt, current.Deadline),
		always(`UPDATE rotator.access_key SET state = 'superseded', retire_at = $3::timestamptz
			WHERE project_id = $1 AND key_id = $2 AND gone_at IS NULL`, l.Project.ID, old, retireAt),
		always(`UPDATE rotator.project SET snapshot_sha256 = NULL WHERE id = $1`, l.Project.ID))
}

// KeyGone is a Change that marks a key as deleted.
func (l *Lease) KeyGone(key string) Change {
	return All(l.Held(), always(`UPDATE rotator.access_key SET gone_at = now()
		WHERE project_id = $1 AND key_id = $2`, l.Project.ID, key))
}

// always is a Change of one statement that applies even if no row is touched.
func always(sql string, args ...any) Change {
	c := change(sql, args...)
	return func(ctx context.Context, tx pgx.Tx) (bool, error) {
		_, err := c(ctx, tx)
		return err == nil, err
	}
}
