package evidence

const exceptionSection = "Exceptions"

// failureQuestions are about what went another way than it should.
func failureQuestions() []question {
	return []question{
		{
			id: "failed_rotations", section: exceptionSection, title: "Failed rotations", rows: objects,
			about: "Rotations that were given up in the period. The old key stays in use; a new one that had been made is an orphan and is deleted. " +
				"Published later names the next rotation of the same credential that succeeded, by the end of the period.",
			columns: columns("failed_at", Time, "project_id", Text, "credential", Text, "rotation_id", Text, "error", Text, "orphan_key_id", Text,
				"published_later_at", Time, "trigger", Text, "actor", Text, "run_id", Text),
			sql: `SELECT e.occurred_at AS failed_at, e.project_id, e.credential, e.rotation_id, e.body ->> 'error' AS error, e.key_id AS orphan_key_id,
    (SELECT min(n.occurred_at) FROM audit.event n
     WHERE n.project_id = e.project_id AND n.credential = e.credential AND n.type = 'rotation.published'
        AND n.seq > e.seq AND n.occurred_at < :'to'::timestamptz) AS published_later_at,
    e.body ->> 'trigger' AS trigger, e.body ->> 'actor' AS actor, e.run_id::text AS run_id
FROM audit.event e
WHERE e.type = 'rotation.failed' AND e.occurred_at >= :'from'::timestamptz AND e.occurred_at < :'to'::timestamptz
ORDER BY e.seq`,
		},
		{
			id: "refusals", section: exceptionSection, title: "What guards refused", rows: objects,
			about: "Steps that rotator did not take because a guard stood against them: the guard's name, and why. A refusal is a control that worked; " +
				"one that comes again and again needs a person.",
			columns: columns("refused_at", Time, "project_id", Text, "credential", Text, "key_id", Text, "guard", Text, "reason", Text, "trigger", Text, "actor", Text, "run_id", Text),
			sql: `SELECT occurred_at AS refused_at, project_id, credential, key_id,
    split_part(body ->> 'reason', ':', 1) AS guard, body ->> 'reason' AS reason,
    body ->> 'trigger' AS trigger, body ->> 'actor' AS actor, run_id::text AS run_id
FROM audit.event
WHERE type = 'guard.refused' AND occurred_at >= :'from'::timestamptz AND occurred_at < :'to'::timestamptz
ORDER BY seq`,
		},
		{
			id: "unmanaged", section: exceptionSection, title: "Keys that nobody manages", rows: objects,
			about:   "Keys at the end of the period that rotator only reports: outside of the scope, or carrying a rotation's mark that nobody vouches for (unknown).",
			columns: columns("project_id", Text, "credential", Text, "key_id", Text, "state", Text, "in_scope", Bool, "created_at", Time, "age_s", Seconds),
			sql: `SELECT project_id, credential, key_id, state, in_scope, created_at, extract(epoch FROM age)::bigint AS age_s
FROM audit.keys_on(:'to'::timestamptz - interval '1 microsecond')
WHERE NOT in_scope OR state = 'unknown'
ORDER BY project_id, credential, key_id`,
		},
		{
			id: "drift", section: exceptionSection, title: "Keys that vanished", rows: objects,
			about:   "Current keys that somebody else deleted at the provider: when rotator noticed, and the rotation that replaced them.",
			columns: columns("noticed_at", Time, "project_id", Text, "credential", Text, "key_id", Text, "rotation_id", Text, "reason", Text, "run_id", Text),
			sql: `SELECT occurred_at AS noticed_at, project_id, credential, key_id, rotation_id, body ->> 'reason' AS reason, run_id::text AS run_id
FROM audit.event
WHERE type = 'key.drift' AND occurred_at >= :'from'::timestamptz AND occurred_at < :'to'::timestamptz
ORDER BY seq`,
		},
		{
			id: "open_intents", section: exceptionSection, title: "Changes whose end is not on record", rows: objects,
			about: "Changing calls that were announced before the end of the period and of which, up to the making of this report, neither an outcome nor a resolution is on record. " +
				"One of the last minutes may still be under way.",
			columns: columns("intended_at", Time, "operation", Text, "project_id", Text, "credential", Text, "key_id", Text, "rotation_id", Text, "run_id", Text, "call_id", Text),
			sql: `SELECT intended_at, operation, project_id, credential, key_id, rotation_id, run_id::text AS run_id, call_id::text AS call_id
FROM audit.open_intents
WHERE intended_at < :'to'::timestamptz
ORDER BY intended_at, call_id`,
		},
	}
}

// decisionQuestions are about what people decided.
func decisionQuestions() []question {
	return []question{
		{
			id: "policy_changes", section: exceptionSection, title: "Changes of policy", rows: someWrong,
			about: "When another policy was first found to hold for a project, and which one held before. A project's first policy is no exception. " +
				"The reason names labels that were asked for and not honoured.",
			columns: columns("changed_at", Time, "project_id", Text, "policy", Text, "policy_before", Text, "max_age_s", Seconds, "max_age_before_s", Seconds,
				"overlap_s", Seconds, "exception", Bool, "reason", Text, "actor", Text, "run_id", Text),
			sql: `WITH change AS (
    SELECT seq, occurred_at, project_id, run_id, body,
        lag(body) OVER (PARTITION BY project_id ORDER BY seq) AS before
    FROM audit.event
    WHERE type = 'policy.changed' AND occurred_at < :'to'::timestamptz
)
SELECT occurred_at AS changed_at, project_id, body ->> 'policy' AS policy, before ->> 'policy' AS policy_before,
    (body ->> 'max_age_s')::bigint AS max_age_s, (before ->> 'max_age_s')::bigint AS max_age_before_s,
    (body ->> 'overlap_s')::bigint AS overlap_s, before IS NOT NULL AS exception,
    body ->> 'reason' AS reason, body ->> 'actor' AS actor, run_id::text AS run_id
FROM change
WHERE occurred_at >= :'from'::timestamptz
ORDER BY seq`,
		},
		{
			id: "pauses", section: exceptionSection, title: "Pauses", rows: objects,
			about:   "Times in which a person had stopped all rotation, with who and why. One that was not over is counted to the end of the period.",
			columns: columns("paused_at", Time, "resumed_at", Time, "length_s", Seconds, "paused_by", Text, "reason", Text, "resumed_by", Text, "resume_reason", Text),
			sql: `WITH switch AS (
    SELECT type, occurred_at, seq, body ->> 'actor' AS actor, body ->> 'reason' AS reason,
        lag(type) OVER (ORDER BY seq) AS before
    FROM audit.event
    WHERE type IN ('pause', 'resume') AND occurred_at < :'to'::timestamptz
), turn AS ( -- a pause of what is paused already is no second one
    SELECT *, lead(occurred_at) OVER (ORDER BY seq) AS next_at, lead(actor) OVER (ORDER BY seq) AS next_actor, lead(reason) OVER (ORDER BY seq) AS next_reason
    FROM switch
    WHERE before IS DISTINCT FROM type
)
SELECT occurred_at AS paused_at, next_at AS resumed_at, extract(epoch FROM coalesce(next_at, :'to'::timestamptz) - occurred_at)::bigint AS length_s,
    actor AS paused_by, reason, next_actor AS resumed_by, next_reason AS resume_reason
FROM turn
WHERE type = 'pause' AND coalesce(next_at, 'infinity') > :'from'::timestamptz
ORDER BY seq`,
		},
		{
			id: "compromise_response", section: exceptionSection, title: "Answers to suspected compromise", rows: objects,
			about: "Keys that were reported as possibly known to somebody else in the period, and how long it took until consumers had a new one and until the old one was gone. " +
				"Empty times had not come by the end of the period.",
			columns: columns("reported_at", Time, "project_id", Text, "credential", Text, "replaced_at", Time, "deleted_at", Time,
				"to_replace_s", Seconds, "to_delete_s", Seconds, "actor", Text, "reason", Text),
			sql: `SELECT reported_at, project_id, credential,
    CASE WHEN replaced_at < :'to'::timestamptz THEN replaced_at END AS replaced_at,
    CASE WHEN deleted_at < :'to'::timestamptz THEN deleted_at END AS deleted_at,
    CASE WHEN replaced_at < :'to'::timestamptz THEN seconds_to_replace END AS to_replace_s,
    CASE WHEN deleted_at < :'to'::timestamptz THEN seconds_to_delete END AS to_delete_s,
    actor, reason
FROM audit.compromise_response
WHERE reported_at >= :'from'::timestamptz AND reported_at < :'to'::timestamptz
ORDER BY reported_at, project_id, credential`,
		},
	}
}
