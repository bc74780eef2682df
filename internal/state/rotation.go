package state

import (
	"time"

	"github.com/google/uuid"
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
	return l.makes(`
		INSERT INTO rotator.rotation (project_id, id, credential, display_name, old_key_id,
			trigger, state, overlap, reason, actor, run_id)
		SELECT $1, $3, $4, $5, $6, $7, 'planned', $8::interval, $9, $10, $11::uuid FROM held`,
		n.ID, n.Credential, n.DisplayName, n.OldKeyID, n.Trigger, seconds(n.Overlap), n.Reason, n.Actor, n.Run)
}

// RotationCreated is a Change that records the new key's id.
func (l *Lease) RotationCreated(id, key string) Change {
	return l.makes(`UPDATE rotator.rotation SET state = 'created', new_key_id = $4 FROM held
		WHERE project_id = $1 AND id = $3 AND state = 'planned'`, id, key)
}

// RotationVerified is a Change that records that the new key works.
func (l *Lease) RotationVerified(id string) Change {
	return l.makes(`UPDATE rotator.rotation SET state = 'verified' FROM held
		WHERE project_id = $1 AND id = $3 AND state = 'created'`, id)
}

// RotationPublished is a Change that records that Vault's path names the new
// key since at, in a version. The key's id is recorded with it: after a crash
// it may not have been before.
func (l *Lease) RotationPublished(id, key string, version int, at time.Time) Change {
	return l.makes(`UPDATE rotator.rotation
		SET state = 'published', new_key_id = $4, vault_version = $5, published_at = $6::timestamptz, retire_at = $6::timestamptz + overlap, error = ''
		FROM held WHERE project_id = $1 AND id = $3 AND state <> 'published'`, id, key, version, at)
}

// RotationFailed is a Change that gives a rotation up. Its key, if one is
// ever listed, is an orphan for good.
func (l *Lease) RotationFailed(id, message string) Change {
	return l.makes(`UPDATE rotator.rotation SET state = 'failed', error = $4 FROM held
		WHERE project_id = $1 AND id = $3 AND state NOT IN ('published', 'failed')`, id, message)
}

// RotationKnown is a Change that records a publication which only Vault
// remembers: the database was lost, or is another one. An id that is on
// record already is left as it is.
func (l *Lease) RotationKnown(n NewRotation, key string, version int, at time.Time) Change {
	return l.does(`made AS (
		INSERT INTO rotator.rotation (project_id, id, credential, display_name, new_key_id, trigger, state,
			overlap, reason, actor, run_id, published_at, retire_at, vault_version)
		SELECT $1, $3, $4, $5, $6, $7, 'published', $8::interval, $9, $10, $11::uuid, $12::timestamptz, $12::timestamptz + $8::interval, $13::integer FROM held
		ON CONFLICT DO NOTHING)`,
		n.ID, n.Credential, n.DisplayName, key, n.Trigger, seconds(n.Overlap), n.Reason, n.Actor, n.Run, at, version)
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
	ids, credentials, names, states := []string{}, []string{}, []string{}, []string{}
	created, retire, deadlines := []time.Time{}, []*time.Time{}, []*time.Time{}
	for _, k := range keys {
		ids, credentials, names, states = append(ids, k.ID), append(credentials, k.Credential), append(names, k.DisplayName), append(states, k.State)
		created, retire, deadlines = append(created, k.CreatedAt), append(retire, k.RetireAt), append(deadlines, k.Deadline)
	}
	return l.does(`listed AS (
			INSERT INTO rotator.access_key (project_id, key_id, credential, display_name, state, created_at, retire_at, deadline)
			SELECT $1, k.* FROM held, unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::timestamptz[], $9::timestamptz[]) AS k
			ON CONFLICT (project_id, key_id) DO UPDATE
			SET credential = excluded.credential, display_name = excluded.display_name, state = excluded.state,
				created_at = excluded.created_at, retire_at = excluded.retire_at, deadline = excluded.deadline,
				seen_at = now(), gone_at = NULL
		), gone AS (
			UPDATE rotator.access_key SET gone_at = now() FROM held
			WHERE project_id = $1 AND gone_at IS NULL AND NOT key_id = ANY ($3)
		), noted AS (
			UPDATE rotator.project SET snapshot_sha256 = $10, snapshot_at = now() FROM held WHERE id = $1
		)`, ids, credentials, names, states, created, retire, deadlines, sha256)
}

// Policy is a Change that notes under which policy the project was looked at.
func (l *Lease) Policy(policy string) Change {
	return l.makes(`UPDATE rotator.project SET policy = $3 FROM held WHERE id = $1`, policy)
}

// KeyReplaced is a Change that notes a credential's new current key, and since
// when the old one, which may be empty, waits to go: until the next look, which
// may be a day off, the newest snapshot would show neither. That look replaces
// the snapshot.
func (l *Lease) KeyReplaced(current SeenKey, old string, retireAt time.Time) Change {
	return l.does(`made AS (
			INSERT INTO rotator.access_key (project_id, key_id, credential, display_name, state, created_at, deadline)
			SELECT $1, $3, $4, $5, $6, $7::timestamptz, $8::timestamptz FROM held
			ON CONFLICT (project_id, key_id) DO UPDATE
			SET credential = excluded.credential, display_name = excluded.display_name, state = excluded.state,
				created_at = excluded.created_at, retire_at = NULL, deadline = excluded.deadline, seen_at = now(), gone_at = NULL
		), replaced AS (
			UPDATE rotator.access_key SET state = 'superseded', retire_at = $10::timestamptz FROM held
			WHERE project_id = $1 AND key_id = $9 AND gone_at IS NULL
		), noted AS (
			UPDATE rotator.project SET snapshot_sha256 = NULL FROM held WHERE id = $1
		)`, current.ID, current.Credential, current.DisplayName, current.State, current.CreatedAt, current.Deadline, old, retireAt)
}

// KeyGone is a Change that marks a key as deleted.
func (l *Lease) KeyGone(key string) Change {
	return l.does(`gone AS (UPDATE rotator.access_key SET gone_at = now() FROM held WHERE project_id = $1 AND key_id = $3)`, key)
}
