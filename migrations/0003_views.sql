-- The questions an auditor asks, as views (AUDIT.md section 5). They are stable:
-- columns may be added at the end, none is renamed or removed. Every view reads
-- audit.event alone, never what rotator keeps beside the log.

-- +goose Up

-- The log's own name, made once: checkpoints carry it, so that those of another
-- log are never taken for ours.
ALTER TABLE audit.setting ADD COLUMN origin text NOT NULL DEFAULT 'rotator-audit/' || gen_random_uuid();
COMMENT ON COLUMN audit.setting.origin IS 'the name of this log in its checkpoints; each epoch appends its number';

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

-- An attempt is its outcome; where that was lost, its resolution; where there
-- is neither, the intent alone, with no outcome. The operations are those of
-- the index event_call. The resolution that counts is the first.
CREATE VIEW audit.api_calls AS
WITH mutation AS (
    SELECT * FROM audit.event
    WHERE operation IN ('access_keys.create', 'access_keys.update', 'access_keys.delete',
        'vault.write', 'vault.metadata', 'vault.delete', 'vault.destroy')
), attempt AS (
    SELECT o.* FROM audit.event o WHERE o.type = 'api.call' AND o.phase = 'outcome'
    UNION ALL
    SELECT r.* FROM mutation r
    WHERE r.type = 'api.call' AND r.phase = 'resolved'
        AND NOT EXISTS (SELECT FROM mutation o WHERE o.call_id = r.call_id
            AND (o.phase = 'outcome' OR (o.phase = 'resolved' AND o.seq < r.seq)))
    UNION ALL
    SELECT i.* FROM mutation i
    WHERE i.type = 'api.call' AND i.phase = 'intent'
        AND NOT EXISTS (SELECT FROM mutation o WHERE o.call_id = i.call_id AND o.phase IN ('outcome', 'resolved'))
)
SELECT a.call_id, i.occurred_at AS intended_at, a.occurred_at,
    CASE WHEN a.operation LIKE 'vault.%' THEN 'vault' ELSE 'sinch' END AS service,
    a.operation,
    coalesce(a.body ->> 'method', i.body ->> 'method') AS http_method,
    coalesce(a.body ->> 'url', i.body ->> 'url') AS url,
    coalesce(a.body ->> 'attempt', i.body ->> 'attempt')::int AS attempt,
    a.http_status, a.outcome,
    a.body ->> 'error' AS error,
    a.body ->> 'request_id' AS request_id,
    (a.body ->> 'duration_us')::bigint AS duration_us,
    coalesce(i.run_id, a.run_id) AS run_id,
    coalesce(i.rotation_id, a.rotation_id) AS rotation_id,
    coalesce(i.project_id, a.project_id) AS project_id,
    coalesce(i.credential, a.credential) AS credential,
    coalesce(a.key_id, i.key_id) AS key_id,
    coalesce(i.body ->> 'actor', a.body ->> 'actor') AS actor
FROM attempt a
LEFT JOIN mutation i ON i.call_id = a.call_id AND i.phase = 'intent';

CREATE VIEW audit.open_intents AS
SELECT i.call_id, i.occurred_at AS intended_at, i.operation, i.project_id, i.credential, i.key_id, i.rotation_id, i.run_id
FROM audit.event i
WHERE i.phase = 'intent' AND NOT EXISTS (
    SELECT FROM audit.event o
    WHERE o.call_id = i.call_id AND o.phase IN ('outcome', 'resolved')
        AND o.operation IN ('access_keys.create', 'access_keys.update', 'access_keys.delete',
            'vault.write', 'vault.metadata', 'vault.delete', 'vault.destroy'));

CREATE VIEW audit.status_codes AS
SELECT day,
    CASE WHEN operation LIKE 'vault.%' THEN 'vault' ELSE 'sinch' END AS service,
    operation, http_status, outcome, count(*) AS calls
FROM audit.event
WHERE type = 'api.call' AND phase = 'outcome'
GROUP BY day, operation, http_status, outcome;

-- The keys that snapshots list. A credential's name is what is left of the
-- display name without the two forms that rotator appends.
CREATE VIEW audit.snapshot_keys AS
SELECT e.seq, e.occurred_at, e.project_id,
    k ->> 'id' AS key_id,
    k ->> 'name' AS display_name,
    regexp_replace(regexp_replace(k ->> 'name', ' \(superseded [^)]*\)$', ''), '~[0-9a-z]{13}$', '') AS credential,
    (k ->> 'created')::timestamptz AS created_at,
    k ->> 'state' AS state,
    coalesce((e.body ->> 'complete')::boolean, false) AS complete,
    coalesce((e.body ->> 'in_scope')::boolean, true) AND k ->> 'state' IS DISTINCT FROM 'unmanaged' AS in_scope,
    (e.body ->> 'max_age_s')::bigint AS max_age_s
FROM audit.event e
CROSS JOIN LATERAL json_array_elements(coalesce(e.body -> 'keys', '[]')) AS k
WHERE e.type = 'inventory.snapshot';

-- The life of each key, from what happened to it and from where it was listed.
-- Who and why are those of the rotation that made it, or else of the one that
-- replaced it. A key that vanished at Sinch counts as deleted when noticed.
CREATE VIEW audit.key_history AS
WITH fact AS (
    SELECT seq, project_id, key_id, type AS fact, occurred_at, credential, rotation_id,
        body ->> 'display_name' AS display_name,
        (body ->> 'key_created_at')::timestamptz AS created_at,
        NULL AS replaced_by
    FROM audit.event
    WHERE key_id IS NOT NULL AND type IN ('rotation.created', 'rotation.published',
        'key.superseded', 'key.retired', 'key.orphan_deleted', 'key.drift')
    UNION ALL
    SELECT seq, project_id, body ->> 'replaces', 'replaced', occurred_at, credential, rotation_id, NULL, NULL, key_id
    FROM audit.event
    WHERE type = 'rotation.published' AND body ->> 'replaces' IS NOT NULL
    UNION ALL
    SELECT seq, project_id, key_id, 'listed', occurred_at, credential, NULL, display_name, created_at, NULL
    FROM audit.snapshot_keys
), life AS (
    SELECT project_id, key_id,
        (array_agg(credential ORDER BY fact = 'listed', seq) FILTER (WHERE credential IS NOT NULL))[1] AS credential,
        (array_agg(display_name ORDER BY seq) FILTER (WHERE display_name IS NOT NULL))[1] AS display_name,
        coalesce(min(created_at), min(occurred_at) FILTER (WHERE fact = 'rotation.created')) AS created_at,
        min(occurred_at) FILTER (WHERE fact = 'rotation.published') AS published_at,
        coalesce(max(occurred_at) FILTER (WHERE fact = 'key.superseded'), min(occurred_at) FILTER (WHERE fact = 'replaced')) AS superseded_at,
        coalesce(min(occurred_at) FILTER (WHERE fact IN ('key.retired', 'key.orphan_deleted')),
            min(occurred_at) FILTER (WHERE fact = 'key.drift')) AS deleted_at,
        (array_agg(replaced_by ORDER BY seq) FILTER (WHERE fact = 'replaced'))[1] AS replaced_by,
        (array_agg(rotation_id ORDER BY fact <> 'rotation.created', fact <> 'replaced', seq)
            FILTER (WHERE rotation_id IS NOT NULL))[1] AS rotation_id
    FROM fact GROUP BY project_id, key_id
)
SELECT l.project_id, l.credential, l.key_id, l.display_name, l.created_at, l.published_at, l.superseded_at, l.deleted_at,
    l.deleted_at - l.created_at AS age_at_deletion,
    l.replaced_by, l.rotation_id, p.trigger, p.actor, p.reason
FROM life l
LEFT JOIN LATERAL (
    SELECT e.body ->> 'trigger' AS trigger, e.body ->> 'actor' AS actor, e.body ->> 'reason' AS reason
    FROM audit.event e WHERE e.rotation_id = l.rotation_id AND e.type = 'rotation.planned' ORDER BY e.seq LIMIT 1
) p ON true;

-- The keys that existed at a time: those that the last whole listing of their
-- project names, and those made since, without those deleted since.
-- +goose StatementBegin
CREATE FUNCTION audit.keys_on(at timestamptz)
    RETURNS TABLE (project_id text, credential text, key_id text, created_at timestamptz, age interval, state text, in_scope boolean, source text)
    LANGUAGE sql STABLE
    BEGIN ATOMIC
        WITH latest AS ( -- all parts of a listing stand side by side
            SELECT DISTINCT ON (e.project_id) e.project_id, e.seq AS last,
                e.seq + 1 - coalesce((e.body ->> 'part')::int, 1) AS first
            FROM audit.event e
            WHERE e.type = 'inventory.snapshot' AND e.occurred_at <= at AND (e.body ->> 'complete')::boolean
                AND e.body ->> 'part' IS NOT DISTINCT FROM e.body ->> 'parts'
            ORDER BY e.project_id, e.seq DESC
        ), fact AS (
            SELECT e.seq, e.project_id, e.key_id, e.credential,
                CASE e.type WHEN 'rotation.created' THEN 'created' WHEN 'rotation.published' THEN 'current'
                    WHEN 'key.superseded' THEN 'superseded' ELSE 'gone' END AS state,
                coalesce((e.body ->> 'key_created_at')::timestamptz, e.occurred_at) AS created_at
            FROM audit.event e
            WHERE e.key_id IS NOT NULL AND e.occurred_at <= at AND e.type IN ('rotation.created', 'rotation.published',
                'key.superseded', 'key.retired', 'key.orphan_deleted', 'key.drift')
            UNION ALL
            SELECT e.seq, e.project_id, e.body ->> 'replaces', e.credential, 'superseded', NULL
            FROM audit.event e
            WHERE e.type = 'rotation.published' AND e.occurred_at <= at AND e.body ->> 'replaces' IS NOT NULL
        ), known AS (
            SELECT f.project_id, f.key_id,
                (array_agg(f.credential ORDER BY f.seq) FILTER (WHERE f.credential IS NOT NULL))[1] AS credential,
                (array_agg(f.state ORDER BY f.seq DESC))[1] AS state,
                max(f.seq) AS seq,
                min(f.created_at) FILTER (WHERE f.state = 'created') AS created_at,
                min(f.seq) FILTER (WHERE f.state = 'created') AS made,
                bool_or(f.state = 'gone') AS gone
            FROM fact f GROUP BY f.project_id, f.key_id
        ), listed AS (
            SELECT s.*, l.last FROM latest l JOIN audit.snapshot_keys s ON s.project_id = l.project_id AND s.seq BETWEEN l.first AND l.last
        )
        SELECT s.project_id, coalesce(k.credential, s.credential), s.key_id, s.created_at, at - s.created_at,
            CASE WHEN k.seq > s.last THEN k.state ELSE coalesce(s.state, k.state) END, s.in_scope, 'snapshot'
        FROM listed s LEFT JOIN known k ON k.project_id = s.project_id AND k.key_id = s.key_id
        WHERE k.gone IS NOT TRUE
        UNION ALL
        SELECT k.project_id, k.credential, k.key_id, k.created_at, at - k.created_at, k.state, true, 'event'
        FROM known k LEFT JOIN latest l ON l.project_id = k.project_id
        WHERE NOT k.gone AND k.made > coalesce(l.last, -1)
            AND NOT EXISTS (SELECT FROM listed s WHERE s.project_id = k.project_id AND s.key_id = k.key_id);
    END;
-- +goose StatementEnd

-- The limit is the newest one on record for the key's project, or else for all.
CREATE VIEW audit.overdue_keys AS
WITH policy AS (
    SELECT DISTINCT ON (project_id) project_id, (body ->> 'max_age_s')::bigint * interval '1 second' AS max_age
    FROM audit.event
    WHERE type IN ('inventory.snapshot', 'policy.changed') AND body ->> 'max_age_s' IS NOT NULL
    ORDER BY project_id, seq DESC
), aged AS (
    SELECT k.*, coalesce(p.max_age, (SELECT max_age FROM policy WHERE project_id IS NULL)) AS max_age
    FROM audit.keys_on(now()) k LEFT JOIN policy p ON p.project_id = k.project_id
    WHERE k.in_scope
)
SELECT a.project_id, a.credential, a.key_id, a.created_at, a.age, a.max_age, a.age - a.max_age AS overdue_by,
    coalesce(r.reason, 'no attempt on record') AS reason
FROM aged a
LEFT JOIN LATERAL (
    SELECT coalesce(e.body ->> 'error', e.body ->> 'reason', e.type) AS reason
    FROM audit.event e
    WHERE e.project_id = a.project_id AND e.credential = a.credential AND e.type IN ('rotation.failed', 'guard.refused')
        AND e.occurred_at > a.created_at
    ORDER BY e.seq DESC LIMIT 1
) r ON true
WHERE a.age > a.max_age;

-- Stretches without a scheduled run longer than the given one, the last of
-- them until now.
-- +goose StatementBegin
CREATE FUNCTION audit.schedule_gaps(longest interval)
    RETURNS TABLE (gap_from timestamptz, gap_to timestamptz, length interval)
    LANGUAGE sql STABLE
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

-- What was asked to go because it may have leaked, and when it had gone. A
-- superseded key that is only retired (no rotation of its own) counts from the
-- start of the run that did it.
CREATE VIEW audit.compromise_response AS
WITH asked AS (
    SELECT p.project_id, p.credential, p.occurred_at AS reported_at, p.body ->> 'actor' AS actor, p.body ->> 'reason' AS reason,
        p.rotation_id, p.body ->> 'replaces' AS key_id
    FROM audit.event p WHERE p.type = 'rotation.planned' AND p.body ->> 'trigger' = 'compromised'
    UNION ALL
    SELECT d.project_id, d.credential, coalesce(s.occurred_at, d.occurred_at), d.body ->> 'actor',
        coalesce(d.body ->> 'reason', s.body ->> 'reason'), NULL, d.key_id
    FROM audit.event d
    LEFT JOIN audit.event s ON s.run_id = d.run_id AND s.type = 'run.started'
    WHERE d.type = 'key.retired' AND d.body ->> 'trigger' = 'compromised'
        AND NOT EXISTS (SELECT FROM audit.event p WHERE p.type = 'rotation.planned' AND p.body ->> 'trigger' = 'compromised'
            AND p.project_id = d.project_id AND p.body ->> 'replaces' = d.key_id)
)
SELECT a.project_id, a.credential, a.reported_at, r.replaced_at, d.deleted_at,
    extract(epoch FROM r.replaced_at - a.reported_at)::bigint AS seconds_to_replace,
    extract(epoch FROM d.deleted_at - a.reported_at)::bigint AS seconds_to_delete,
    a.actor, a.reason
FROM asked a
LEFT JOIN LATERAL (
    SELECT min(e.occurred_at) AS replaced_at FROM audit.event e
    WHERE e.rotation_id = a.rotation_id AND e.type = 'rotation.published'
) r ON true
LEFT JOIN LATERAL (
    SELECT min(e.occurred_at) AS deleted_at FROM audit.event e
    WHERE e.key_id = a.key_id AND e.project_id = a.project_id AND e.type IN ('key.retired', 'key.drift')
) d ON true;

-- Whoever may read the log may ask its questions.
-- +goose StatementBegin
DO $$
DECLARE
    owner name := (SELECT nspowner::regrole::name FROM pg_namespace WHERE nspname = 'audit');
    reader name;
    object record;
BEGIN
    REVOKE ALL ON FUNCTION audit.keys_on, audit.schedule_gaps FROM PUBLIC;
    FOR object IN SELECT oid::regclass AS name FROM pg_class WHERE relnamespace = 'audit'::regnamespace AND relkind = 'v' LOOP
        EXECUTE format('ALTER VIEW %s OWNER TO %I', object.name, owner);
    END LOOP;
    FOR object IN SELECT oid::regprocedure AS name FROM pg_proc WHERE oid IN ('audit.keys_on'::regproc, 'audit.schedule_gaps'::regproc) LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO %I', object.name, owner);
    END LOOP;
    FOR reader IN
        SELECT a.grantee::regrole::name FROM pg_class c, aclexplode(c.relacl) a
        WHERE c.oid = 'audit.event'::regclass AND a.privilege_type = 'SELECT' AND a.grantee <> 0 AND a.grantee::regrole::name <> owner
    LOOP
        FOR object IN SELECT oid::regclass AS name FROM pg_class WHERE relnamespace = 'audit'::regnamespace AND relkind = 'v' LOOP
            EXECUTE format('GRANT SELECT ON %s TO %I', object.name, reader);
        END LOOP;
        EXECUTE format('GRANT EXECUTE ON FUNCTION audit.keys_on, audit.schedule_gaps TO %I', reader);
    END LOOP;
END $$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
DO $$ BEGIN
    RAISE EXCEPTION 'an audit log is not dropped by a tool';
END $$;
-- +goose StatementEnd
