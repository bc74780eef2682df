-- The questions an auditor asks, as views (AUDIT.md section 5). They are stable:
-- columns may be added at the end, none is renamed or removed. Every view reads
-- audit.event alone, never what rotator keeps beside the log.

-- +goose Up

-- The log's own name, made once: checkpoints carry it, so that those of another
-- log are never taken for ours.
ALTER TABLE audit.setting ADD COLUMN origin text NOT NULL DEFAULT 'rotator-audit/' || gen_random_uuid();
COMMENT ON COLUMN audit.setting.origin IS 'the name of this log in its checkpoints; each epoch appends its number';

-- What the views are about. The planner puts these in where they are called,
-- so that it may use the indexes whose conditions they are.

-- The operations that change something: each attempt of one is an intent and
-- an outcome. The index event_call has the same list.
CREATE FUNCTION audit.mutates(operation text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN operation IN ('access_keys.create', 'access_keys.update', 'access_keys.delete',
        'vault.write', 'vault.metadata', 'vault.delete', 'vault.destroy');

-- The events that tell what became of a key, or why nothing did.
CREATE FUNCTION audit.tells_of_key(type text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN type IN ('rotation.created', 'rotation.published', 'rotation.failed', 'key.superseded',
        'key.retired', 'key.orphan_deleted', 'key.drift', 'guard.refused');

-- Whether an event is a whole listing of a project's keys; of one in parts, the
-- last stands for it, since all parts stand side by side.
CREATE FUNCTION audit.lists_all(type text, body json) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN type = 'inventory.snapshot' AND (body ->> 'complete')::boolean AND body ->> 'part' IS NOT DISTINCT FROM body ->> 'parts';

-- A display name without the two forms that rotator appends.
CREATE FUNCTION audit.credential_of(display_name text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN display_name LIKE '%~%' OR display_name LIKE '% (superseded %'
        THEN regexp_replace(regexp_replace(display_name, ' \(superseded [^)]*\)$', ''), '~[0-9a-z]{13}$', '')
        ELSE display_name END;

-- The keys of a listing that rotator did not make or does not know; of the
-- others there are events. NULL where there are none, and where they are so
-- many or have such long ids that they do not fit an index.
CREATE FUNCTION audit.strangers(body json) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (
        SELECT CASE WHEN sum(octet_length(k.id) + 8) <= 2400 THEN array_agg(k.id ORDER BY k.id) END
        FROM json_to_recordset(CASE json_typeof(body -> 'keys') WHEN 'array' THEN body -> 'keys' END) AS k (id text, name text, state text)
        WHERE k.name !~ '~[0-9a-z]{13}( \(superseded [^)]*\))?$' OR k.name IS NULL
            OR k.state NOT IN ('current', 'superseded', 'orphan') OR k.state IS NULL);

ALTER TABLE audit.event ADD COLUMN strangers text[]
    GENERATED ALWAYS AS (CASE WHEN type = 'inventory.snapshot' THEN audit.strangers(body) END) STORED;
COMMENT ON COLUMN audit.event.strangers IS 'of an inventory.snapshot: the keys in it that rotator did not make';

-- What a project's keys were on a day: its last whole listing until then, and
-- what was done since.
CREATE INDEX event_life ON audit.event (project_id, occurred_at) WHERE audit.tells_of_key(type) OR audit.lists_all(type, body);
CREATE INDEX event_policy ON audit.event (project_id, occurred_at) WHERE type = 'policy.changed';
-- Read alone, without the events, whenever a key is looked for.
CREATE INDEX event_strangers ON audit.event (project_id, occurred_at) INCLUDE (seq, strangers) WHERE strangers IS NOT NULL;
-- What is rare among what is many.
CREATE INDEX event_intent ON audit.event (occurred_at, call_id) WHERE phase = 'intent';
CREATE INDEX event_resolved ON audit.event (occurred_at) WHERE phase = 'resolved';
CREATE INDEX event_compromised ON audit.event (occurred_at)
    WHERE type IN ('rotation.planned', 'key.retired') AND body ->> 'trigger' = 'compromised';

CREATE VIEW audit.events AS
SELECT seq, event_id, occurred_at, type, phase, call_id,
    body ->> 'actor' AS actor,
    body ->> 'trigger' AS trigger,
    run_id, rotation_id, project_id, credential, key_id, operation,
    body ->> 'method' AS http_method,
    body ->> 'url' AS url,
    (body ->> 'attempt')::int AS attempt,
    http_status, outcome,
    body ->> 'error' AS error,
    body ->> 'request_id' AS request_id,
    (body ->> 'duration_us')::bigint AS duration_us,
    body
FROM audit.event;

-- An attempt is its outcome; where that was lost, its resolution, of several
-- the first; where there is neither, the intent alone, with no outcome. An
-- outcome says all that its intent did, but when that was. It comes later, and
-- nearly always soon: its intent is looked for nearby first. OFFSET 0 keeps
-- the planner from reading all calls to answer about a few.
CREATE VIEW audit.api_calls AS
WITH attempt AS (
    SELECT o.* FROM audit.event o WHERE o.type = 'api.call' AND o.phase = 'outcome'
    UNION ALL
    SELECT r.* FROM audit.event r
    WHERE r.type = 'api.call' AND r.phase = 'resolved' AND NOT EXISTS (
        SELECT FROM audit.event o
        WHERE o.call_id = r.call_id AND audit.mutates(o.operation)
            AND (o.phase = 'outcome' OR (o.phase = 'resolved' AND o.seq < r.seq))
        OFFSET 0)
    UNION ALL
    SELECT i.* FROM audit.event i
    WHERE i.type = 'api.call' AND i.phase = 'intent' AND NOT EXISTS (
        SELECT FROM audit.event o
        WHERE o.call_id = i.call_id AND o.phase IN ('outcome', 'resolved') AND audit.mutates(o.operation) AND o.seq > i.seq
        OFFSET 0)
)
SELECT a.call_id,
    CASE WHEN audit.mutates(a.operation) THEN coalesce(
        (SELECT i.occurred_at FROM audit.event i
            WHERE i.call_id = a.call_id AND i.phase = 'intent' AND audit.mutates(i.operation) AND i.seq BETWEEN a.seq - 10000 AND a.seq LIMIT 1),
        (SELECT i.occurred_at FROM audit.event i
            WHERE i.call_id = a.call_id AND i.phase = 'intent' AND audit.mutates(i.operation) AND i.seq < a.seq - 10000 LIMIT 1))
    END AS intended_at,
    a.occurred_at,
    CASE WHEN a.operation LIKE 'vault.%' THEN 'vault' ELSE 'sinch' END AS service,
    a.operation,
    a.body ->> 'method' AS http_method,
    a.body ->> 'url' AS url,
    (a.body ->> 'attempt')::int AS attempt,
    a.http_status, a.outcome,
    a.body ->> 'error' AS error,
    a.body ->> 'request_id' AS request_id,
    (a.body ->> 'duration_us')::bigint AS duration_us,
    a.run_id, a.rotation_id, a.project_id, a.credential, a.key_id,
    a.body ->> 'actor' AS actor
FROM attempt a;

CREATE VIEW audit.open_intents AS
SELECT i.call_id, i.occurred_at AS intended_at, i.operation, i.project_id, i.credential, i.key_id, i.rotation_id, i.run_id
FROM audit.event i
WHERE i.phase = 'intent' AND NOT EXISTS (
    SELECT FROM audit.event o
    WHERE o.call_id = i.call_id AND o.phase IN ('outcome', 'resolved') AND audit.mutates(o.operation) AND o.seq > i.seq
    OFFSET 0);

CREATE VIEW audit.status_codes AS
SELECT day,
    CASE WHEN operation LIKE 'vault.%' THEN 'vault' ELSE 'sinch' END AS service,
    operation, http_status, outcome, count(*) AS calls
FROM audit.event
WHERE type = 'api.call' AND phase = 'outcome'
GROUP BY day, operation, http_status, outcome;

-- The keys that snapshots list.
CREATE VIEW audit.snapshot_keys AS
SELECT e.seq, e.occurred_at, e.project_id,
    k.id AS key_id,
    k.name AS display_name,
    coalesce(k.credential, audit.credential_of(k.name)) AS credential,
    k.created AS created_at,
    k.state,
    coalesce(b.complete, false) AS complete,
    coalesce(b.in_scope, true) AND k.state IS DISTINCT FROM 'unmanaged' AS in_scope,
    b.max_age_s
FROM audit.event e
CROSS JOIN LATERAL json_to_record(e.body) AS b (complete boolean, in_scope boolean, max_age_s bigint, keys json)
CROSS JOIN LATERAL json_to_recordset(b.keys) AS k (id text, name text, created timestamptz, state text, credential text)
WHERE e.type = 'inventory.snapshot';

-- Every project of which a key is on record, and the last whole listing of it
-- until a time: its parts are the events from first to last, and the limit that
-- it states is max_age_s. Projects are found one by one in the index, since
-- most events are about the same few. A listing is looked for around the time
-- first, between two runs (low and high), which are in one partition or two,
-- and only then in all.
-- +goose StatementBegin
CREATE FUNCTION audit.inventory(at timestamptz)
    RETURNS TABLE (project_id text, first bigint, last bigint, listed_at timestamptz, max_age_s bigint, high bigint)
    LANGUAGE sql STABLE
    BEGIN ATOMIC
        WITH RECURSIVE project AS (
            (SELECT e.project_id FROM audit.event e
                WHERE (audit.tells_of_key(e.type) OR audit.lists_all(e.type, e.body)) AND e.project_id > '' ORDER BY e.project_id LIMIT 1)
            UNION ALL
            SELECT n.project_id FROM project p CROSS JOIN LATERAL (
                SELECT e.project_id FROM audit.event e
                WHERE (audit.tells_of_key(e.type) OR audit.lists_all(e.type, e.body)) AND e.project_id > p.project_id ORDER BY e.project_id LIMIT 1) n
        ), around AS MATERIALIZED (
            SELECT coalesce((SELECT e.seq FROM audit.event e
                    WHERE e.type = 'run.started' AND e.occurred_at < at - interval '3 days' ORDER BY e.occurred_at DESC LIMIT 1), 0) AS low,
                coalesce((SELECT e.seq FROM audit.event e
                    WHERE e.type = 'run.started' AND e.occurred_at > at + interval '1 day' ORDER BY e.occurred_at LIMIT 1), 9223372036854775807) AS high
        )
        SELECT p.project_id, l.seq + 1 - coalesce((l.body ->> 'part')::int, 1), l.seq, l.occurred_at, (l.body ->> 'max_age_s')::bigint, a.high
        FROM project p
        CROSS JOIN around a
        LEFT JOIN LATERAL (
            SELECT e.seq FROM audit.event e
            WHERE audit.lists_all(e.type, e.body) AND e.project_id = p.project_id AND e.occurred_at <= at AND e.seq BETWEEN a.low AND a.high
            ORDER BY e.occurred_at DESC LIMIT 1
        ) near ON true
        LEFT JOIN LATERAL (
            SELECT e.seq FROM audit.event e
            WHERE audit.lists_all(e.type, e.body) AND e.project_id = p.project_id AND e.occurred_at <= at AND near.seq IS NULL
            ORDER BY e.occurred_at DESC LIMIT 1
        ) far ON true
        LEFT JOIN audit.event l ON l.seq = coalesce(near.seq, far.seq);
    END;
-- +goose StatementEnd

-- The life of each key, from what happened to it and from where it was listed.
-- Who and why are those of the rotation that made it (whose answer may have
-- been lost: then the name tells), or else of the one that replaced it. A key
-- that vanished at Sinch counts as deleted when that was noticed.
CREATE VIEW audit.key_history AS
WITH fact AS (
    SELECT seq, project_id, key_id, type AS fact, occurred_at, credential, rotation_id,
        body ->> 'display_name' AS display_name,
        (body ->> 'key_created_at')::timestamptz AS created_at,
        NULL AS replaced_by
    FROM audit.event
    WHERE audit.tells_of_key(type) AND type <> 'guard.refused' AND key_id IS NOT NULL
    UNION ALL
    SELECT seq, project_id, body ->> 'replaces', 'replaced', occurred_at, credential, rotation_id, NULL, NULL, key_id
    FROM audit.event
    WHERE type = 'rotation.published' AND body ->> 'replaces' IS NOT NULL
    UNION ALL
    SELECT e.seq, e.project_id, k.id, 'listed', e.occurred_at, NULL, NULL, NULL, NULL, NULL
    FROM audit.event e CROSS JOIN LATERAL unnest(e.strangers) AS k (id)
    WHERE e.strangers IS NOT NULL
    UNION ALL
    SELECT s.seq, s.project_id, s.key_id, 'listed', s.occurred_at, NULL, NULL, NULL, NULL, NULL
    FROM audit.inventory(now()) i CROSS JOIN LATERAL (
        SELECT * FROM audit.snapshot_keys s WHERE s.seq BETWEEN i.first AND i.last OFFSET 0
    ) s
), life AS (
    SELECT project_id, key_id,
        (array_agg(credential ORDER BY seq) FILTER (WHERE credential IS NOT NULL))[1] AS credential,
        (array_agg(display_name ORDER BY seq) FILTER (WHERE display_name IS NOT NULL))[1] AS display_name,
        min(created_at) AS created_at,
        min(occurred_at) FILTER (WHERE fact = 'rotation.created') AS made_at,
        min(seq) FILTER (WHERE fact = 'listed') AS listed,
        min(occurred_at) FILTER (WHERE fact = 'rotation.published') AS published_at,
        coalesce(max(occurred_at) FILTER (WHERE fact = 'key.superseded'), min(occurred_at) FILTER (WHERE fact = 'replaced')) AS superseded_at,
        coalesce(min(occurred_at) FILTER (WHERE fact IN ('key.retired', 'key.orphan_deleted')),
            min(occurred_at) FILTER (WHERE fact = 'key.drift')) AS deleted_at,
        (array_agg(replaced_by ORDER BY seq) FILTER (WHERE fact = 'replaced'))[1] AS replaced_by,
        (array_agg(rotation_id ORDER BY fact <> 'rotation.created', fact <> 'replaced', seq)
            FILTER (WHERE rotation_id IS NOT NULL))[1] AS rotation_id
    FROM fact GROUP BY project_id, key_id
)
SELECT l.project_id, coalesce(l.credential, s.credential) AS credential, l.key_id, coalesce(s.display_name, l.display_name) AS display_name,
    coalesce(least(l.created_at, s.created_at), l.made_at) AS created_at, l.published_at, l.superseded_at, l.deleted_at,
    l.deleted_at - coalesce(least(l.created_at, s.created_at), l.made_at) AS age_at_deletion,
    l.replaced_by, coalesce(l.rotation_id, p.rotation_id) AS rotation_id, p.trigger, p.actor, p.reason
FROM life l
LEFT JOIN LATERAL (
    SELECT * FROM audit.snapshot_keys s WHERE s.seq = l.listed AND s.key_id = l.key_id AND l.made_at IS NULL LIMIT 1
) s ON true
LEFT JOIN LATERAL (
    SELECT e.rotation_id, e.body ->> 'trigger' AS trigger, e.body ->> 'actor' AS actor, e.body ->> 'reason' AS reason
    FROM audit.event e
    WHERE e.type = 'rotation.planned'
        AND e.rotation_id = coalesce(l.rotation_id, substring(coalesce(s.display_name, l.display_name) FROM '~([0-9a-z]{13})( \(superseded [^)]*\))?$'))
    ORDER BY e.seq LIMIT 1
) p ON true;

-- Where a function says jit = off: compiling these plans, of many partitions and
-- few rows, takes Postgres many times as long as running them.

-- The keys that existed at a time: those that the last whole listing of their
-- project names, and those made since, without those deleted since. A listing
-- says more than what came before it. The limit and when it was stated are
-- those of the listing.
-- +goose StatementBegin
CREATE FUNCTION audit.keys_and_limits(at timestamptz)
    RETURNS TABLE (project_id text, credential text, key_id text, created_at timestamptz, age interval, state text, in_scope boolean, source text,
        max_age_s bigint, stated_at timestamptz)
    LANGUAGE sql STABLE SET jit = off
    BEGIN ATOMIC
        WITH inventory AS MATERIALIZED (
            SELECT * FROM audit.inventory(at)
        ), listed AS (
            SELECT s.*, i.listed_at FROM inventory i CROSS JOIN LATERAL (
                SELECT * FROM audit.snapshot_keys s WHERE s.seq BETWEEN i.first AND i.last OFFSET 0
            ) s
        ), told AS MATERIALIZED (
            SELECT i.project_id, e.seq, e.key_id, e.credential, e.type, e.occurred_at, e.body
            FROM inventory i CROSS JOIN LATERAL (
                SELECT * FROM audit.event e
                WHERE audit.tells_of_key(e.type) AND e.type <> 'guard.refused' AND e.project_id = i.project_id AND e.occurred_at <= at
                    AND e.occurred_at > coalesce(i.listed_at - interval '1 hour', '-infinity') AND e.seq > coalesce(i.last, -1) AND e.seq <= i.high
                OFFSET 0
            ) e
        ), fact AS (
            SELECT t.seq, t.project_id, t.key_id, t.credential,
                CASE t.type WHEN 'rotation.created' THEN 'created' WHEN 'rotation.published' THEN 'current' WHEN 'rotation.failed' THEN 'orphan'
                    WHEN 'key.superseded' THEN 'superseded' ELSE 'gone' END AS state,
                CASE t.type WHEN 'rotation.created' THEN coalesce((t.body ->> 'key_created_at')::timestamptz, t.occurred_at) END AS created_at
            FROM told t WHERE t.key_id IS NOT NULL
            UNION ALL
            SELECT t.seq, t.project_id, t.body ->> 'replaces', t.credential, 'superseded', NULL
            FROM told t WHERE t.type = 'rotation.published' AND t.body ->> 'replaces' IS NOT NULL
        ), known AS (
            SELECT f.project_id, f.key_id,
                (array_agg(f.credential ORDER BY f.seq) FILTER (WHERE f.credential IS NOT NULL))[1] AS credential,
                (array_agg(f.state ORDER BY f.seq DESC))[1] AS state,
                min(f.created_at) AS created_at,
                bool_or(f.state = 'gone') AS gone
            FROM fact f GROUP BY f.project_id, f.key_id
        )
        SELECT s.project_id, coalesce(k.credential, s.credential), s.key_id, s.created_at, at - s.created_at,
            coalesce(k.state, s.state), s.in_scope, 'snapshot', s.max_age_s, s.listed_at
        FROM listed s LEFT JOIN known k ON k.project_id = s.project_id AND k.key_id = s.key_id
        WHERE k.gone IS NOT TRUE
        UNION ALL
        SELECT k.project_id, k.credential, k.key_id, k.created_at, at - k.created_at, k.state, true, 'event', i.max_age_s, i.listed_at
        FROM known k JOIN inventory i ON i.project_id = k.project_id
        WHERE NOT k.gone AND k.created_at IS NOT NULL
            AND NOT EXISTS (SELECT FROM listed s WHERE s.project_id = k.project_id AND s.key_id = k.key_id);
    END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION audit.keys_on(at timestamptz)
    RETURNS TABLE (project_id text, credential text, key_id text, created_at timestamptz, age interval, state text, in_scope boolean, source text)
    LANGUAGE sql STABLE SET jit = off
    BEGIN ATOMIC
        SELECT k.project_id, k.credential, k.key_id, k.created_at, k.age, k.state, k.in_scope, k.source FROM audit.keys_and_limits(at) k;
    END;
-- +goose StatementEnd

-- The limit is the newest one on record for the key's project, or else for all.
CREATE VIEW audit.overdue_keys AS
WITH changed AS MATERIALIZED (
    SELECT DISTINCT ON (project_id) project_id, occurred_at, (body ->> 'max_age_s')::bigint AS max_age_s
    FROM audit.event
    WHERE type = 'policy.changed' AND body ->> 'max_age_s' IS NOT NULL
    ORDER BY project_id, occurred_at DESC
), aged AS (
    SELECT k.*, interval '1 second' * coalesce(
            CASE WHEN k.max_age_s IS NULL OR c.occurred_at > k.stated_at THEN c.max_age_s END, k.max_age_s,
            (SELECT g.max_age_s FROM changed g WHERE g.project_id IS NULL)) AS max_age
    FROM audit.keys_and_limits(now()) k
    LEFT JOIN changed c ON c.project_id = k.project_id
    WHERE k.in_scope
)
SELECT a.project_id, a.credential, a.key_id, a.created_at, a.age, a.max_age, a.age - a.max_age AS overdue_by,
    coalesce(r.reason, 'no attempt on record') AS reason
FROM aged a
LEFT JOIN LATERAL (
    SELECT coalesce(e.body ->> 'error', e.body ->> 'reason', e.type) AS reason
    FROM audit.event e
    WHERE audit.tells_of_key(e.type) AND e.type IN ('rotation.failed', 'guard.refused')
        AND e.project_id = a.project_id AND e.credential = a.credential AND e.occurred_at > a.created_at
    ORDER BY e.occurred_at DESC LIMIT 1
) r ON true
WHERE a.age > a.max_age;

-- Stretches without a scheduled run longer than the given one, the last of
-- them until now.
-- +goose StatementBegin
CREATE FUNCTION audit.schedule_gaps(longest interval)
    RETURNS TABLE (gap_from timestamptz, gap_to timestamptz, length interval)
    LANGUAGE sql STABLE SET jit = off
    BEGIN ATOMIC
        SELECT g.gap_from, g.gap_to, g.gap_to - g.gap_from
        FROM (
            SELECT e.occurred_at AS gap_from, lead(e.occurred_at, 1, now()) OVER (ORDER BY e.occurred_at) AS gap_to
            FROM audit.event e WHERE e.type = 'run.started' AND e.body ->> 'trigger' = 'schedule'
        ) g
        WHERE g.gap_to - g.gap_from > longest
        ORDER BY g.gap_from;
    END;
-- +goose StatementEnd

-- What was asked to go because it may have leaked, and when it had gone: each
-- attempt to replace it, and superseded keys that were only retired. It was
-- reported when the run began that dealt with it.
CREATE VIEW audit.compromise_response AS
WITH asked AS (
    SELECT p.project_id, p.credential, p.run_id, p.occurred_at, p.body ->> 'actor' AS actor, p.body ->> 'reason' AS reason,
        p.rotation_id, p.body ->> 'replaces' AS key_id
    FROM audit.event p
    WHERE p.type IN ('rotation.planned', 'key.retired') AND p.body ->> 'trigger' = 'compromised' AND p.type = 'rotation.planned'
    UNION ALL
    SELECT d.project_id, d.credential, d.run_id, d.occurred_at, d.body ->> 'actor', d.body ->> 'reason', NULL, d.key_id
    FROM audit.event d
    WHERE d.type IN ('rotation.planned', 'key.retired') AND d.body ->> 'trigger' = 'compromised' AND d.type = 'key.retired'
        AND NOT EXISTS (
            SELECT FROM audit.event p
            WHERE p.type IN ('rotation.planned', 'key.retired') AND p.body ->> 'trigger' = 'compromised' AND p.type = 'rotation.planned'
                AND p.project_id = d.project_id AND p.body ->> 'replaces' = d.key_id)
)
SELECT a.project_id, a.credential, coalesce(s.occurred_at, a.occurred_at) AS reported_at, r.replaced_at, d.deleted_at,
    extract(epoch FROM r.replaced_at - coalesce(s.occurred_at, a.occurred_at))::bigint AS seconds_to_replace,
    extract(epoch FROM d.deleted_at - coalesce(s.occurred_at, a.occurred_at))::bigint AS seconds_to_delete,
    a.actor, a.reason
FROM asked a
LEFT JOIN LATERAL (
    SELECT e.occurred_at FROM audit.event e
    WHERE e.type = 'run.started' AND e.run_id = a.run_id AND e.occurred_at <= a.occurred_at
    ORDER BY e.occurred_at DESC LIMIT 1
) s ON true
LEFT JOIN LATERAL (
    SELECT min(e.occurred_at) AS replaced_at FROM audit.event e
    WHERE e.rotation_id = a.rotation_id AND e.type = 'rotation.published'
) r ON true
LEFT JOIN LATERAL (
    SELECT min(e.occurred_at) AS deleted_at FROM audit.event e
    WHERE e.key_id = a.key_id AND e.project_id = a.project_id AND e.type IN ('key.retired', 'key.drift')
) d ON true;

-- +goose Down
-- +goose StatementBegin
DO $$ BEGIN
    RAISE EXCEPTION 'an audit log is not dropped by a tool';
END $$;
-- +goose StatementEnd
