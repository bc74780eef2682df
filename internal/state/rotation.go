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

// Publication is what is known once Vault's path names a rotation's new key.
type Publication struct {
	Rotation, Credential, Path string
	Version                    int // of the path
	At                         time.Time
	// Key is the new key's id, recorded here too: after a crash it may not
	// have been before.
	Key string
	// Seen is the new key for the inventory, and Replaced the old one, which may
	// be empty: until the next look, which may be a day off, the newest snapshot
	// would show neither. A Seen without an id leaves that to the next look.
	Seen     SeenKey
	Replaced string
	Overlap  time.Duration // that the old key still has
}

// RotationPublished is a Change that records a publication: the rotation's, the
// credential's current key, whose failures are forgotten, and both keys.
func (l *Lease) RotationPublished(p Publication) Change {
	sql, args := held+`, made AS (
			UPDATE rotator.rotation
			SET state = 'published', new_key_id = $4, vault_version = $5, published_at = $6::timestamptz, retire_at = $6::timestamptz + overlap, error = ''
			FROM held WHERE project_id = $1 AND id = $3 AND state <> 'published' RETURNING 1
		), current AS (
			INSERT INTO rotator.credential (project_id, name, vault_path, current_key_id)
			SELECT $1, $7, $8, $4 FROM made
			ON CONFLICT (project_id, name) DO UPDATE
			SET vault_path = excluded.vault_path, current_key_id = excluded.current_key_id,
				failures = 0, not_before = NULL, last_error = ''
		)`, []any{p.Rotation, p.Key, p.Version, p.At, p.Credential, p.Path}
	if p.Seen.ID != "" {
		sql += `, seen AS (
			INSERT INTO rotator.access_key (project_id, key_id, credential, display_name, state, created_at, deadline)
			SELECT $1, $4, $9, $10, $11, $12::timestamptz, $13::timestamptz FROM made
			ON CONFLICT (project_id, key_id) DO UPDATE
			SET credential = excluded.credential, display_name = excluded.display_name, state = excluded.state,
				created_at = excluded.created_at, retire_at = NULL, deadline = excluded.deadline, seen_at = now(), gone_at = NULL
		), replaced AS (
			UPDATE rotator.access_key SET state = 'superseded', retire_at = $6::timestamptz + $15::interval FROM made
			WHERE project_id = $1 AND key_id = $14 AND gone_at IS NULL
		), noted AS ( -- the next look makes a new snapshot
			UPDATE rotator.project SET snapshot_sha256 = NULL FROM made WHERE id = $1
		)`
		args = append(args, p.Seen.Credential, p.Seen.DisplayName, p.Seen.State, p.Seen.CreatedAt, p.Seen.Deadline, p.Replaced, seconds(p.Overlap))
	}
	return l.change(sql+` SELECT FROM made`, args...)
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

// KeyGone is a Change that marks a key as deleted.
func (l *Lease) KeyGone(key string) Change {
	return l.does(`gone AS (UPDATE rotator.access_key SET gone_at = now() FROM held WHERE project_id = $1 AND key_id = $3)`, key)
}
