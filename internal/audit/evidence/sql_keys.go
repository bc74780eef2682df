package evidence

// Parts of statements. Each is a common table expression of the name that it
// begins with; they build on one another in the order of this file.
const (
	// listing: the whole lists of a project's keys, as the provider gave
	// them. All parts of a list are events of one transaction; its last part
	// stands for it.
	listing = `listing AS (
    SELECT project_id, occurred_at
    FROM audit.event
    WHERE audit.lists_all(type, body) AND occurred_at < :'to'::timestamptz
)`

	// history: every key on record, as it was at the end of the period.
	history = `history AS (
    SELECT project_id, credential, key_id, display_name, created_at,
        CASE WHEN published_at < :'to'::timestamptz THEN published_at END AS published_at,
        CASE WHEN superseded_at < :'to'::timestamptz THEN superseded_at END AS superseded_at,
        CASE WHEN deleted_at < :'to'::timestamptz THEN deleted_at END AS deleted_at,
        CASE WHEN superseded_at < :'to'::timestamptz THEN replaced_by END AS replaced_by,
        rotation_id AS maker, trigger, actor, reason
    FROM audit.key_history
)`

	// made: the keys that rotator's own events tell the making of; vanished:
	// those that it found deleted by somebody else; planned: the rotations
	// whose id a key's name may carry although the answer to its making was
	// lost.
	made = `made AS (
    SELECT DISTINCT project_id, key_id
    FROM audit.event
    WHERE type IN ('rotation.created', 'rotation.published') AND key_id IS NOT NULL AND occurred_at < :'to'::timestamptz
), vanished AS (
    SELECT DISTINCT project_id, key_id
    FROM audit.event
    WHERE type = 'key.drift' AND key_id IS NOT NULL AND occurred_at < :'to'::timestamptz
), planned AS (
    SELECT DISTINCT project_id, rotation_id
    FROM audit.event
    WHERE type = 'rotation.planned' AND occurred_at < :'to'::timestamptz
)`

	// population: every key that existed at any time in the period, as
	// rotator's events have it, or as a list of the provider's does.
	population = history + `, ` + made + `, opening AS (
    SELECT * FROM audit.keys_on(:'from'::timestamptz)
), closing AS (
    SELECT * FROM audit.keys_on(:'to'::timestamptz - interval '1 microsecond')
), listed AS (
    SELECT project_id, key_id, min(occurred_at) AS first_listed_at, max(occurred_at) AS last_listed_at, bool_or(in_scope) AS in_scope,
        min(display_name) AS display_name, min(created_at) AS created_at
    FROM audit.snapshot_keys
    WHERE complete AND occurred_at >= :'from'::timestamptz AND occurred_at < :'to'::timestamptz
    GROUP BY project_id, key_id
), existing AS (
    SELECT project_id, key_id FROM opening
    UNION SELECT project_id, key_id FROM closing
    UNION SELECT project_id, key_id FROM listed
    UNION SELECT project_id, key_id FROM history
    WHERE deleted_at >= :'from'::timestamptz OR (created_at >= :'from'::timestamptz AND created_at < :'to'::timestamptz)
), population AS (
    SELECT k.project_id, k.key_id, h.key_id IS NOT NULL AS on_record,
        coalesce(h.credential, o.credential, c.credential, audit.credential_of(l.display_name)) AS credential,
        coalesce(h.display_name, l.display_name) AS display_name,
        coalesce(h.created_at, l.created_at, o.created_at, c.created_at) AS created_at,
        h.published_at, h.superseded_at, h.deleted_at, h.replaced_by, h.trigger, h.actor, h.reason,
        CASE WHEN m.key_id IS NOT NULL OR coalesce(h.superseded_at, h.deleted_at) IS NOT NULL THEN h.maker END AS rotation_id,
        coalesce(c.in_scope, o.in_scope, l.in_scope, true) AS in_scope,
        m.key_id IS NOT NULL OR p.rotation_id IS NOT NULL AS by_rotator,
        v.key_id IS NOT NULL AS vanished,
        o.key_id IS NOT NULL AS at_start,
        c.key_id IS NOT NULL AS at_end,
        l.first_listed_at, l.last_listed_at,
        CASE WHEN c.key_id IS NOT NULL THEN c.state
            WHEN h.deleted_at IS NOT NULL THEN 'deleted'
            WHEN o.key_id IS NOT NULL OR l.key_id IS NOT NULL OR m.key_id IS NOT NULL THEN 'gone'
            ELSE 'found later' END AS state
    FROM existing k
    LEFT JOIN history h ON h.project_id = k.project_id AND h.key_id = k.key_id
    LEFT JOIN opening o ON o.project_id = k.project_id AND o.key_id = k.key_id
    LEFT JOIN closing c ON c.project_id = k.project_id AND c.key_id = k.key_id
    LEFT JOIN listed l ON l.project_id = k.project_id AND l.key_id = k.key_id
    LEFT JOIN made m ON m.project_id = k.project_id AND m.key_id = k.key_id
    LEFT JOIN vanished v ON v.project_id = k.project_id AND v.key_id = k.key_id
    LEFT JOIN planned p ON p.project_id = k.project_id
        AND p.rotation_id = substring(coalesce(h.display_name, l.display_name) FROM '~([0-9a-z]{13})(?: \(superseded [^)]*\))?$')
)`

	// in_force: which age limit held when. It holds from when it is on
	// record until another is; a project's first one also before that.
	inForce = `limit_on_record AS (
    SELECT e.project_id, e.seq, e.occurred_at, b.max_age_s,
        lag(b.max_age_s) OVER (PARTITION BY e.project_id ORDER BY e.seq) AS before
    FROM audit.event e
    CROSS JOIN LATERAL json_to_record(e.body) AS b (max_age_s bigint)
    WHERE e.type IN ('inventory.snapshot', 'policy.changed') AND e.occurred_at < :'to'::timestamptz AND b.max_age_s IS NOT NULL
), in_force AS (
    SELECT project_id, max_age_s * interval '1 second' AS max_age,
        CASE WHEN before IS NULL THEN '-infinity' ELSE occurred_at END AS since,
        lead(occurred_at, 1, 'infinity') OVER (PARTITION BY project_id ORDER BY seq) AS until
    FROM limit_on_record
    WHERE before IS DISTINCT FROM max_age_s
)`
)

const populationSection = "Population"

// populationQuestions are about which keys there were, and whether the two
// sources that know it agree: what rotator did, and what the provider listed.
func populationQuestions() []question {
	return []question{
		{
			id: "population", section: populationSection, title: "Keys that existed in the period",
			about: "Every access key that existed at any time in the period, in scope or not. " +
				"The state is that at the end of the period; gone means that the provider no longer lists the key and no deletion is on record, " +
				"found later that only lists after the period show it. Age is that at the end, or at the deletion. " +
				"Rotation, trigger, actor and reason are those of the rotation that made the key, else of the one that replaced it.",
			columns: columns(
				"project_id", Text, "credential", Text, "key_id", Text, "display_name", Text, "state", Text, "in_scope", Bool,
				"by_rotator", Bool, "created_at", Time, "published_at", Time, "superseded_at", Time, "deleted_at", Time, "age_s", Seconds,
				"at_start", Bool, "at_end", Bool, "replaced_by", Text, "rotation_id", Text, "trigger", Text, "actor", Text, "reason", Text),
			sql: `WITH ` + population + `
SELECT project_id, credential, key_id, display_name, state, in_scope, by_rotator, created_at, published_at, superseded_at, deleted_at,
    extract(epoch FROM CASE WHEN at_end THEN :'to'::timestamptz ELSE coalesce(deleted_at, :'to'::timestamptz) END - created_at)::bigint AS age_s,
    at_start, at_end, replaced_by, rotation_id,
    CASE WHEN rotation_id IS NOT NULL THEN trigger END AS trigger,
    CASE WHEN rotation_id IS NOT NULL THEN actor END AS actor,
    CASE WHEN rotation_id IS NOT NULL THEN reason END AS reason
FROM population
ORDER BY project_id, credential, created_at, key_id`,
		},
		{
			id: "roll_forward", section: populationSection, title: "From the keys at the start to the keys at the end", rows: someWrong,
			about: "Keys at the start, plus those made in the period, plus older ones first seen in it, less those deleted and those gone without a deletion on record, " +
				"must be the keys at the end. Keys that only later lists show are left out. Each number is counted by itself; a difference means that the records contradict one another, and the table differences says where.",
			columns: columns("in_scope", Bool, "at_start", Number, "made", Number, "first_seen", Number, "deleted", Number, "gone", Number,
				"at_end", Number, "difference", Number, "exception", Bool),
			sql: `WITH ` + population + `, counted AS (
    SELECT in_scope,
        count(*) FILTER (WHERE at_start) AS at_start,
        count(*) FILTER (WHERE created_at >= :'from'::timestamptz AND created_at < :'to'::timestamptz) AS made,
        count(*) FILTER (WHERE NOT at_start AND (created_at < :'from'::timestamptz OR created_at >= :'to'::timestamptz OR created_at IS NULL)) AS first_seen,
        count(*) FILTER (WHERE deleted_at >= :'from'::timestamptz) AS deleted,
        count(*) FILTER (WHERE deleted_at IS NULL AND NOT at_end) AS gone,
        count(*) FILTER (WHERE at_end) AS at_end
    FROM population
    WHERE state <> 'found later'
    GROUP BY in_scope
)
SELECT in_scope, at_start, made, first_seen, deleted, gone, at_end,
    at_start + made + first_seen - deleted - gone - at_end AS difference,
    at_start + made + first_seen - deleted - gone <> at_end AS exception
FROM counted
ORDER BY in_scope DESC`,
		},
		differencesQuestion(),
		{
			id: "unlisted", section: populationSection, title: "Projects without a list of their keys for too long", rows: objects,
			about: "The provider's own list of a project's keys is recorded when it changes, and else once a day. Where two lists are further apart than longest_unlisted, " +
				"or where a project's keys were asked for and no whole list ever came, the population of that stretch rests on rotator's own events alone. " +
				"A project that was deleted at the provider shows up here too.",
			columns: columns("project_id", Text, "unlisted_from", Time, "unlisted_to", Time, "length_s", Seconds, "detail", Text),
			sql: `WITH ` + listing + `, stretch AS (
    SELECT project_id, occurred_at AS unlisted_from,
        lead(occurred_at, 1, :'to'::timestamptz) OVER (PARTITION BY project_id ORDER BY occurred_at) AS unlisted_to,
        'no list in between' AS detail
    FROM listing
    UNION ALL
    SELECT project_id, min(occurred_at), :'to'::timestamptz, 'asked for, and never listed whole'
    FROM audit.event
    WHERE type = 'api.call' AND phase = 'outcome' AND operation = 'access_keys.list'
        AND occurred_at >= :'from'::timestamptz AND occurred_at < :'to'::timestamptz
        AND project_id IS NOT NULL AND project_id NOT IN (SELECT project_id FROM listing WHERE project_id IS NOT NULL)
    GROUP BY project_id
)
SELECT project_id, unlisted_from, unlisted_to, extract(epoch FROM unlisted_to - unlisted_from)::bigint AS length_s, detail
FROM stretch
WHERE unlisted_to > :'from'::timestamptz AND unlisted_to - unlisted_from > :'longest_unlisted'::interval
ORDER BY project_id, unlisted_from`,
		},
	}
}

// differencesQuestion reconciles rotator's events with the provider's lists,
// key by key.
func differencesQuestion() question {
	return question{
		id: "differences", section: populationSection, title: "Where events and lists differ", rows: someWrong,
		about: "Every key of the population is compared with the provider's whole lists of the period. A key must be in each list that was made during its life " +
			"(leaving out what is closer to its creation or deletion than slack, for clocks that differ), and in none after. Keys that are in no list because none was made during their life " +
			"are explained and no exceptions. A key in scope that rotator did not make, and that appeared while rotator was watching, is one. Keys that agree are not shown.",
		columns: columns("project_id", Text, "credential", Text, "key_id", Text, "kind", Text, "exception", Bool, "detail", Text,
			"created_at", Time, "deleted_at", Time, "first_listed_at", Time, "last_listed_at", Time, "first_list_at", Time, "last_list_at", Time, "lists_in_life", Number, "lists_that_show_it", Number),
		sql: `WITH ` + listing + `, ` + population + `, expected AS (
    SELECT p.project_id, p.key_id, count(*) AS lists
    FROM population p
    JOIN listing l ON l.project_id = p.project_id AND l.occurred_at >= :'from'::timestamptz
        AND l.occurred_at > p.created_at + :'slack'::interval AND l.occurred_at < coalesce(p.deleted_at - :'slack'::interval, 'infinity')
    GROUP BY p.project_id, p.key_id
), shown AS (
    SELECT p.project_id, p.key_id,
        count(DISTINCT s.seq) FILTER (WHERE s.occurred_at > p.created_at + :'slack'::interval
            AND s.occurred_at < coalesce(p.deleted_at - :'slack'::interval, 'infinity')) AS lists,
        count(*) FILTER (WHERE s.occurred_at > p.deleted_at + :'slack'::interval) AS too_late,
        count(*) FILTER (WHERE s.occurred_at < p.created_at - :'slack'::interval) AS too_early
    FROM population p
    JOIN audit.snapshot_keys s ON s.project_id = p.project_id AND s.key_id = p.key_id AND s.complete
        AND s.occurred_at >= :'from'::timestamptz AND s.occurred_at < :'to'::timestamptz
    GROUP BY p.project_id, p.key_id
), span AS (
    SELECT project_id, min(occurred_at) AS first_ever,
        min(occurred_at) FILTER (WHERE occurred_at >= :'from'::timestamptz) AS first_list,
        max(occurred_at) FILTER (WHERE occurred_at >= :'from'::timestamptz) AS last_list
    FROM listing
    GROUP BY project_id
), compared AS (
    SELECT p.*, t.first_list, t.last_list, coalesce(e.lists, 0) AS lists_in_life, coalesce(s.lists, 0) AS lists_that_show_it,
        CASE WHEN NOT p.on_record AND NOT p.by_rotator THEN 'not on record'
            WHEN s.too_late > 0 THEN 'listed after its deletion'
            WHEN s.too_early > 0 THEN 'listed before its creation'
            WHEN e.lists > 0 AND p.first_listed_at IS NULL AND NOT p.at_start THEN 'missing from lists'
            WHEN p.state = 'gone' AND EXISTS (
                SELECT FROM audit.event d
                WHERE d.key_id = p.key_id AND d.project_id = p.project_id AND d.operation = 'access_keys.delete'
                    AND d.phase IN ('outcome', 'resolved') AND d.outcome = 'ok' AND d.occurred_at < :'to'::timestamptz
            ) THEN 'deleted by a call alone'
            WHEN p.state = 'gone' THEN 'gone without a deletion'
            WHEN s.lists < e.lists AND p.vanished THEN 'vanished'
            WHEN coalesce(s.lists, 0) < coalesce(e.lists, 0) THEN 'missing from lists'
            WHEN p.created_at >= :'from'::timestamptz AND p.created_at > t.first_ever AND NOT p.by_rotator
                THEN CASE WHEN p.in_scope THEN 'not made by rotator' ELSE 'outside of the scope' END
            WHEN p.state = 'found later' THEN 'found later'
            WHEN p.first_listed_at IS NULL AND t.first_list IS NULL THEN 'project not listed'
            WHEN p.first_listed_at IS NULL AND p.created_at >= t.last_list - :'slack'::interval THEN 'made after the last list'
            WHEN p.first_listed_at IS NULL AND p.deleted_at <= t.first_list THEN 'deleted before the first list'
            WHEN p.first_listed_at IS NULL THEN 'lived between two lists' END AS kind
    FROM population p
    LEFT JOIN expected e ON e.project_id = p.project_id AND e.key_id = p.key_id
    LEFT JOIN shown s ON s.project_id = p.project_id AND s.key_id = p.key_id
    LEFT JOIN span t ON t.project_id = p.project_id
)
SELECT project_id, credential, key_id, kind,
    kind IN ('not on record', 'listed after its deletion', 'listed before its creation', 'gone without a deletion', 'missing from lists',
        'not made by rotator', 'project not listed') AS exception,
    CASE kind
        WHEN 'not on record' THEN 'a list shows it, with a name as rotator gives them, and no event tells of it: part of the log may be lost'
        WHEN 'listed after its deletion' THEN 'an event says that it was deleted, and a later list still shows it'
        WHEN 'listed before its creation' THEN 'a list shows it that is older than the time of its creation, as the provider gives it'
        WHEN 'deleted by a call alone' THEN 'the call that deleted it is on record; the run was cut off before it said so'
        WHEN 'gone without a deletion' THEN 'the newest list does not show it any more, and no event says that it was deleted'
        WHEN 'missing from lists' THEN lists_that_show_it || ' of the ' || lists_in_life || ' lists that were made during its life show it'
        WHEN 'vanished' THEN 'the lists before its deletion was noticed do not show it any more: the table drift has it'
        WHEN 'not made by rotator' THEN 'no event of rotator tells of its making: somebody else made it'
        WHEN 'outside of the scope' THEN 'somebody else made it; rotator touches no such keys'
        WHEN 'found later' THEN 'no list of the period shows it, a later one does'
        WHEN 'project not listed' THEN 'no whole list of the project was made in the period'
        WHEN 'made after the last list' THEN 'the project was not listed again before the end of the period'
        WHEN 'deleted before the first list' THEN 'the project was not listed before its deletion in the period'
        WHEN 'lived between two lists' THEN 'no list was made during its life'
    END AS detail,
    created_at, deleted_at, first_listed_at, last_listed_at, first_list AS first_list_at, last_list AS last_list_at, lists_in_life, lists_that_show_it
FROM compared
WHERE kind IS NOT NULL
ORDER BY exception DESC, project_id, credential, created_at, key_id`,
	}
}
