package evidence

const (
	rotationSection = "Rotation and deletion"
	ageSection      = "Ages"
)

// rotationQuestions are about what was replaced and deleted, by whom and why.
func rotationQuestions() []question {
	return []question{
		{
			id: "rotations", section: rotationSection, title: "Rotations",
			about: "Every rotation of which a step was taken in the period, with the time of each step: planned, the new key created, proven to work, published to its consumers, " +
				"the old key superseded, its overlap's end, the old key deleted. The outcome is that at the end of the period. Actor and reason are what whoever asked for it said.",
			columns: columns("rotation_id", Text, "project_id", Text, "credential", Text, "outcome", Text, "trigger", Text, "actor", Text, "reason", Text,
				"old_key_id", Text, "new_key_id", Text, "planned_at", Time, "created_at", Time, "verified_at", Time, "published_at", Time,
				"superseded_at", Time, "retire_at", Time, "old_key_deleted_at", Time, "failed_at", Time, "error", Text,
				"vault_path", Text, "vault_version", Number, "overlap_s", Seconds, "run_id", Text),
			sql: `WITH step AS (
    SELECT e.rotation_id, e.seq, e.type, e.occurred_at, e.project_id, e.credential, e.key_id, e.run_id, e.body
    FROM audit.event e
    WHERE e.type IN ('rotation.planned', 'rotation.created', 'rotation.verified', 'rotation.published', 'rotation.failed', 'key.superseded')
        AND e.occurred_at < :'to'::timestamptz
        AND e.rotation_id IN (
            SELECT rotation_id FROM audit.event
            WHERE type IN ('rotation.planned', 'rotation.created', 'rotation.verified', 'rotation.published', 'rotation.failed', 'key.superseded')
                AND occurred_at >= :'from'::timestamptz AND occurred_at < :'to'::timestamptz)
), rotation AS (
    SELECT rotation_id, min(project_id) AS project_id, min(credential) AS credential,
        min(occurred_at) FILTER (WHERE type = 'rotation.planned') AS planned_at,
        min(occurred_at) FILTER (WHERE type = 'rotation.created') AS created_at,
        min(occurred_at) FILTER (WHERE type = 'rotation.verified') AS verified_at,
        min(occurred_at) FILTER (WHERE type = 'rotation.published') AS published_at,
        min(occurred_at) FILTER (WHERE type = 'rotation.failed') AS failed_at,
        min(occurred_at) FILTER (WHERE type = 'key.superseded') AS superseded_at,
        max((body ->> 'retire_at')::timestamptz) FILTER (WHERE type = 'key.superseded') AS retire_at,
        min(key_id) FILTER (WHERE type IN ('rotation.created', 'rotation.published')) AS new_key_id,
        min(body ->> 'replaces') AS old_key_id,
        min(body ->> 'trigger') FILTER (WHERE type = 'rotation.planned') AS trigger,
        min(body ->> 'actor') FILTER (WHERE type = 'rotation.planned') AS actor,
        min(body ->> 'reason') FILTER (WHERE type = 'rotation.planned') AS reason,
        min(body ->> 'error') FILTER (WHERE type = 'rotation.failed') AS error,
        min(body ->> 'vault_path') FILTER (WHERE type = 'rotation.published') AS vault_path,
        min((body ->> 'vault_version')::bigint) FILTER (WHERE type = 'rotation.published') AS vault_version,
        min((body ->> 'overlap_s')::bigint) FILTER (WHERE type IN ('rotation.planned', 'rotation.published')) AS overlap_s,
        (array_agg(run_id ORDER BY seq) FILTER (WHERE run_id IS NOT NULL))[1]::text AS run_id
    FROM step
    GROUP BY rotation_id
)
SELECT r.rotation_id, r.project_id, r.credential,
    CASE WHEN r.published_at IS NOT NULL THEN 'published' WHEN r.failed_at IS NOT NULL THEN 'failed' ELSE 'open' END AS outcome,
    r.trigger, r.actor, r.reason, r.old_key_id, r.new_key_id, r.planned_at, r.created_at, r.verified_at, r.published_at,
    r.superseded_at, r.retire_at, d.deleted_at AS old_key_deleted_at, r.failed_at, r.error, r.vault_path, r.vault_version, r.overlap_s, r.run_id
FROM rotation r
LEFT JOIN LATERAL (
    SELECT min(e.occurred_at) AS deleted_at FROM audit.event e
    WHERE e.key_id = r.old_key_id AND e.project_id = r.project_id AND e.type = 'key.retired' AND e.occurred_at < :'to'::timestamptz
) d ON true
ORDER BY least(r.planned_at, r.created_at, r.verified_at, r.published_at, r.superseded_at, r.failed_at), r.rotation_id`,
		},
		{
			id: "deletions", section: rotationSection, title: "Deletions", rows: someWrong,
			about: "Every key that rotator deleted in the period and then saw to be gone: superseded ones, and orphans that a failed attempt had left behind. " +
				"The limit is the one that was on record for the project at that time. A key that was older at its deletion is an exception.",
			columns: columns("deleted_at", Time, "project_id", Text, "credential", Text, "key_id", Text, "kind", Text, "created_at", Time,
				"age_s", Seconds, "max_age_s", Seconds, "exception", Bool, "trigger", Text, "actor", Text, "reason", Text, "rotation_id", Text, "run_id", Text),
			sql: `WITH ` + inForce + `, ` + deletion + `
SELECT deleted_at, project_id, credential, key_id, kind, created_at,
    extract(epoch FROM age)::bigint AS age_s, extract(epoch FROM max_age)::bigint AS max_age_s, coalesce(age > max_age, false) AS exception,
    trigger, actor, reason, rotation_id, run_id
FROM deletion
ORDER BY deleted_at, project_id, key_id`,
		},
	}
}

// deletion: the keys that rotator deleted in the period; builds on in_force.
const deletion = `deletion AS (
    SELECT e.occurred_at AS deleted_at, e.project_id, e.credential, e.key_id,
        CASE e.type WHEN 'key.retired' THEN 'superseded' ELSE 'orphan' END AS kind,
        (e.body ->> 'key_created_at')::timestamptz AS created_at,
        e.occurred_at - (e.body ->> 'key_created_at')::timestamptz AS age,
        coalesce(l.max_age, (e.body ->> 'max_age_s')::bigint * interval '1 second') AS max_age,
        e.body ->> 'trigger' AS trigger, e.body ->> 'actor' AS actor, e.body ->> 'reason' AS reason, e.rotation_id, e.run_id::text AS run_id
    FROM audit.event e
    LEFT JOIN in_force l ON l.project_id = e.project_id AND l.since <= e.occurred_at AND e.occurred_at < l.until
    WHERE e.type IN ('key.retired', 'key.orphan_deleted') AND e.occurred_at >= :'from'::timestamptz AND e.occurred_at < :'to'::timestamptz
)`

// aged: the keys in scope at the end of the period and those deleted in it,
// with their share of the limit; builds on deletion.
const aged = `aged AS (
    SELECT 'at the end' AS moment, age, max_age_s * interval '1 second' AS max_age
    FROM audit.keys_and_limits(:'to'::timestamptz - interval '1 microsecond')
    WHERE in_scope
    UNION ALL
    SELECT 'at deletion', age, max_age FROM deletion
)`

// ageQuestions are about how old keys became, against their limit.
func ageQuestions() []question {
	return []question{
		{
			id: "ages", section: ageSection, title: "Ages in figures",
			about: "How old the keys in scope were at the end of the period, and how old those were that were deleted in it. " +
				"The median is an age that a key really had, as is the one that 95 in 100 do not exceed.",
			columns: columns("moment", Text, "keys", Number, "youngest_s", Seconds, "median_s", Seconds, "p95_s", Seconds, "oldest_s", Seconds,
				"older_than_limit", Number, "without_limit", Number),
			sql: `WITH ` + inForce + `, ` + deletion + `, ` + aged + `
SELECT moment, count(*) AS keys,
    extract(epoch FROM min(age))::bigint AS youngest_s,
    extract(epoch FROM percentile_disc(0.5) WITHIN GROUP (ORDER BY age))::bigint AS median_s,
    extract(epoch FROM percentile_disc(0.95) WITHIN GROUP (ORDER BY age))::bigint AS p95_s,
    extract(epoch FROM max(age))::bigint AS oldest_s,
    count(*) FILTER (WHERE age > max_age) AS older_than_limit,
    count(*) FILTER (WHERE max_age IS NULL) AS without_limit
FROM aged
GROUP BY moment
ORDER BY moment DESC`,
		},
		{
			id: "age_distribution", section: ageSection, title: "Ages as shares of the limit",
			about: "The same keys, counted by how much of their limit they had used up: more than over_pct, and at most up_to_pct per cent. " +
				"Past the limit there is no upper bound. Keys whose limit is not on record are in the row without bounds.",
			columns: columns("over_pct", Number, "up_to_pct", Number, "at_end", Number, "at_deletion", Number),
			sql: `WITH ` + inForce + `, ` + deletion + `, ` + aged + `, counted AS (
    SELECT CASE WHEN max_age IS NOT NULL THEN least(greatest(ceil(extract(epoch FROM age) / extract(epoch FROM max_age) * 10), 1), 11)::int END AS tenth,
        count(*) FILTER (WHERE moment = 'at the end') AS at_end,
        count(*) FILTER (WHERE moment = 'at deletion') AS at_deletion
    FROM aged
    GROUP BY tenth
)
SELECT (t.tenth - 1) * 10 AS over_pct, CASE WHEN t.tenth < 11 THEN t.tenth * 10 END AS up_to_pct,
    coalesce(c.at_end, 0) AS at_end, coalesce(c.at_deletion, 0) AS at_deletion
FROM (SELECT generate_series(1, 11) AS tenth UNION ALL SELECT NULL) t
LEFT JOIN counted c ON c.tenth IS NOT DISTINCT FROM t.tenth
ORDER BY t.tenth`,
		},
		{
			id: "overdue_at_end", section: ageSection, title: "Keys older than their limit at the end", rows: objects,
			about: "Keys in scope that were older than their limit at the end of the period, with the last thing on record that stood in the way.",
			columns: columns("project_id", Text, "credential", Text, "key_id", Text, "state", Text, "created_at", Time,
				"age_s", Seconds, "max_age_s", Seconds, "overdue_s", Seconds, "on_record", Text),
			sql: `WITH overdue AS (
    SELECT project_id, credential, key_id, state, created_at, age, max_age_s * interval '1 second' AS max_age, :'to'::timestamptz AS overdue_to
    FROM audit.keys_and_limits(:'to'::timestamptz - interval '1 microsecond')
    WHERE in_scope AND age > max_age_s * interval '1 second'
)
SELECT o.project_id, o.credential, o.key_id, o.state, o.created_at,
    extract(epoch FROM o.age)::bigint AS age_s, extract(epoch FROM o.max_age)::bigint AS max_age_s,
    extract(epoch FROM o.age - o.max_age)::bigint AS overdue_s, ` + excuse + `
ORDER BY overdue_s DESC, o.project_id, o.key_id`,
		},
		{
			id: "overdue", section: ageSection, title: "Keys older than their limit at any time in the period", rows: objects,
			about: "Every stretch of the period in which a key in scope was older than the limit that was then on record, one row for each limit. " +
				"A key that was gone without a deletion on record counts up to the last list that shows it.",
			columns: columns("project_id", Text, "credential", Text, "key_id", Text, "state", Text, "created_at", Time, "max_age_s", Seconds,
				"overdue_from", Time, "overdue_to", Time, "overdue_s", Seconds, "at_end", Bool, "on_record", Text),
			sql: `WITH ` + inForce + `, ` + population + `, overdue AS (
    SELECT p.project_id, p.credential, p.key_id, p.state, p.created_at, p.at_end, l.max_age,
        greatest(p.created_at + l.max_age, l.since, :'from'::timestamptz) AS overdue_from,
        least(CASE WHEN NOT p.at_end THEN coalesce(p.deleted_at, p.last_listed_at, p.created_at) END, l.until, :'to'::timestamptz) AS overdue_to
    FROM population p
    JOIN in_force l ON l.project_id = p.project_id
    WHERE p.in_scope AND p.created_at IS NOT NULL
)
SELECT o.project_id, o.credential, o.key_id, o.state, o.created_at, extract(epoch FROM o.max_age)::bigint AS max_age_s,
    o.overdue_from, o.overdue_to, extract(epoch FROM o.overdue_to - o.overdue_from)::bigint AS overdue_s,
    o.at_end AND o.overdue_to = :'to'::timestamptz AS at_end, ` + excuse + `
WHERE o.overdue_from < o.overdue_to
ORDER BY o.overdue_from, o.project_id, o.key_id`,
		},
	}
}

// excuse is the end of a statement over a table expression `overdue`: that the
// key is held, else the last failure or refusal on record for it or its
// credential, else a pause.
const excuse = `coalesce(CASE o.state WHEN 'held' THEN 'held: made by somebody else, and ROTATOR_ADOPT=keep' END, r.said, p.said, 'nothing on record') AS on_record
FROM overdue o
LEFT JOIN LATERAL (
    SELECT coalesce(e.body ->> 'error', e.body ->> 'reason', e.type) AS said
    FROM audit.event e
    WHERE e.project_id = o.project_id AND (e.credential = o.credential OR e.key_id = o.key_id)
        AND e.type IN ('rotation.failed', 'guard.refused') AND e.occurred_at > o.created_at AND e.occurred_at < o.overdue_to
    ORDER BY e.seq DESC LIMIT 1
) r ON true
LEFT JOIN LATERAL (
    SELECT CASE e.type WHEN 'pause' THEN 'paused: ' || coalesce(e.body ->> 'reason', 'no reason given') END AS said
    FROM audit.event e
    WHERE e.type IN ('pause', 'resume') AND e.occurred_at < o.overdue_to
    ORDER BY e.seq DESC LIMIT 1
) p ON true`
