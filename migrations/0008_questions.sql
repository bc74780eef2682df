-- The questions are answered sooner where the log is large: calls that change
-- something are found by what they did and when, a listing without parsing those
-- beside it, and a body is parsed once, not once for each column. Partitions made
-- from now on are larger, because a question is planned for each of them and looks
-- into each: unless somebody has chosen their size.

-- +goose Up
ALTER TABLE audit.setting ALTER partition_size SET DEFAULT 5000000;
UPDATE audit.setting SET partition_size = 5000000 WHERE partition_size = 1000000;

CREATE INDEX event_change ON audit.event (operation, occurred_at)
    WHERE operation IN ('access_keys.create', 'access_keys.update', 'access_keys.delete',
        'vault.write', 'vault.metadata', 'vault.delete', 'vault.destroy');

-- An attempt is its outcome; where that was lost, its resolution, of several
-- the first; where there is neither, the intent alone, with no outcome. An
-- outcome says all that its intent did, but when that was. It comes later, and
-- nearly always soon: its intent is looked for nearby first. OFFSET 0 keeps
-- the planner from reading all calls to answer about a few.
CREATE OR REPLACE VIEW audit.api_calls AS
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
    b.method AS http_method, b.url, b.attempt,
    a.http_status, a.outcome,
    b.error, b.request_id, b.duration_us,
    a.run_id, a.rotation_id, a.project_id, a.credential, a.key_id,
    b.actor
FROM attempt a
CROSS JOIN LATERAL json_to_record(a.body) AS b (method text, url text, attempt integer, error text, request_id text, duration_us bigint, actor text);

-- Every project of which a key is on record, and the last whole listing of it
-- until a time: its parts are the events from first to last, and the limit that
-- it states is max_age_s. Projects are found one by one in the index, since
-- most events are about the same few. A listing is looked for around the time
-- first, between two runs (low and high), which are in one partition or two,
-- and only then in all. What the index event_life holds need not be asked again of
-- the body: a listing in it is a whole one.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION audit.inventory(at timestamptz)
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
            WHERE (audit.tells_of_key(e.type) OR audit.lists_all(e.type, e.body)) AND e.type = 'inventory.snapshot'
                AND e.project_id = p.project_id AND e.occurred_at <= at AND e.seq BETWEEN a.low AND a.high
            ORDER BY e.occurred_at DESC LIMIT 1
        ) near ON true
        LEFT JOIN LATERAL (
            SELECT e.seq FROM audit.event e
            WHERE (audit.tells_of_key(e.type) OR audit.lists_all(e.type, e.body)) AND e.type = 'inventory.snapshot'
                AND e.project_id = p.project_id AND e.occurred_at <= at AND near.seq IS NULL
            ORDER BY e.occurred_at DESC LIMIT 1
        ) far ON true
        LEFT JOIN audit.event l ON l.seq = coalesce(near.seq, far.seq);
    END;
-- +goose StatementEnd

-- What was asked to go because it may have leaked, and when it had gone: each
-- attempt to replace it, and superseded keys that were only retired. It was
-- reported when the run began that dealt with it.
CREATE OR REPLACE VIEW audit.compromise_response AS
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
    WHERE e.type = 'run.started' AND e.run_id = a.run_id AND e.occurred_at BETWEEN a.occurred_at - interval '1 day' AND a.occurred_at
    ORDER BY e.occurred_at DESC LIMIT 1
) near ON true
LEFT JOIN LATERAL (
    SELECT e.occurred_at FROM audit.event e
    WHERE e.type = 'run.started' AND e.run_id = a.run_id AND e.occurred_at < a.occurred_at - interval '1 day' AND near.occurred_at IS NULL
    ORDER BY e.occurred_at DESC LIMIT 1
) far ON true
CROSS JOIN LATERAL (SELECT coalesce(near.occurred_at, far.occurred_at) AS occurred_at) s
LEFT JOIN LATERAL (
    SELECT min(e.occurred_at) AS replaced_at FROM audit.event e
    WHERE e.rotation_id = a.rotation_id AND e.type = 'rotation.published'
) r ON true
LEFT JOIN LATERAL (
    SELECT min(e.occurred_at) AS deleted_at FROM audit.event e
    WHERE e.key_id = a.key_id AND e.project_id = a.project_id AND e.type IN ('key.retired', 'key.drift') AND audit.tells_of_key(e.type)
) d ON true;

-- +goose Down
-- +goose StatementBegin
DO $$ BEGIN RAISE EXCEPTION 'an audit log is not dropped by a tool'; END $$;
-- +goose StatementEnd
