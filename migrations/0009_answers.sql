-- More of what an auditor asks is answered in a quarter of a second at ten million
-- events. Calls that change something are found by their phase too: without it
-- Postgres read the index of all intents to answer about a few. The keys of a day
-- come of one join of what was listed and what happened since, where the same
-- listings were joined twice, a listing is read once for where it stands, and a
-- display name costs one regular expression, or three if its key is superseded.
-- And partitions are vacuumed when a fiftieth of their events is new, not a fifth:
-- until then a count of the newest calls, which are asked about most, reads the
-- events besides the index.

-- +goose Up
DROP INDEX audit.event_change;
CREATE INDEX event_change ON audit.event (operation, phase, occurred_at)
    WHERE operation IN ('access_keys.create', 'access_keys.update', 'access_keys.delete',
        'vault.write', 'vault.metadata', 'vault.delete', 'vault.destroy');

-- A display name without the two forms that rotator appends.
CREATE OR REPLACE FUNCTION audit.credential_of(display_name text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN display_name LIKE '% (superseded %)'
            THEN regexp_replace(regexp_replace(display_name, ' \(superseded [^)]*\)$', ''), '~[0-9a-z]{13}$', '')
        WHEN display_name LIKE '%~_____________' AND right(display_name, 13) ~ '^[0-9a-z]*$' THEN left(display_name, -14)
        ELSE display_name END;

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
        SELECT p.project_id, coalesce(near.seq, far.seq) + 1 - coalesce((coalesce(near.body, far.body) ->> 'part')::int, 1), coalesce(near.seq, far.seq),
            coalesce(near.occurred_at, far.occurred_at), (coalesce(near.body, far.body) ->> 'max_age_s')::bigint, a.high
        FROM project p
        CROSS JOIN around a
        LEFT JOIN LATERAL (
            SELECT e.seq, e.occurred_at, e.body FROM audit.event e
            WHERE (audit.tells_of_key(e.type) OR audit.lists_all(e.type, e.body)) AND e.type = 'inventory.snapshot'
                AND e.project_id = p.project_id AND e.occurred_at <= at AND e.seq BETWEEN a.low AND a.high
            ORDER BY e.occurred_at DESC LIMIT 1
        ) near ON true
        LEFT JOIN LATERAL (
            SELECT e.seq, e.occurred_at, e.body FROM audit.event e
            WHERE (audit.tells_of_key(e.type) OR audit.lists_all(e.type, e.body)) AND e.type = 'inventory.snapshot'
                AND e.project_id = p.project_id AND e.occurred_at <= at AND near.seq IS NULL
            ORDER BY e.occurred_at DESC LIMIT 1
        ) far ON true;
    END;
-- +goose StatementEnd

-- The keys that existed at a time: those that the last whole listing of their
-- project names, and those made since, without those deleted since. A listing
-- says more than what came before it. The limit and when it was stated are
-- those of the listing.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION audit.keys_and_limits(at timestamptz)
    RETURNS TABLE (project_id text, credential text, key_id text, created_at timestamptz, age interval, state text, in_scope boolean, source text,
        max_age_s bigint, stated_at timestamptz)
    LANGUAGE sql STABLE SET jit = off
    BEGIN ATOMIC
        WITH inventory AS MATERIALIZED (
            SELECT project_id, first, last, listed_at, high FROM audit.inventory(at)
        ), listed AS (
            SELECT s.*, i.listed_at FROM inventory i CROSS JOIN LATERAL (
                SELECT * FROM audit.snapshot_keys s WHERE s.seq BETWEEN i.first AND i.last OFFSET 0
            ) s
        ), told AS MATERIALIZED (
            SELECT i.project_id, i.last, i.listed_at, e.seq, e.key_id, e.credential, e.type, e.occurred_at, e.body
            FROM inventory i CROSS JOIN LATERAL (
                SELECT * FROM audit.event e
                WHERE audit.tells_of_key(e.type) AND e.type <> 'guard.refused' AND e.project_id = i.project_id AND e.occurred_at <= at
                    AND e.occurred_at > coalesce(i.listed_at - interval '1 hour', '-infinity') AND e.seq > coalesce(i.last, -1) AND e.seq <= i.high
                OFFSET 0
            ) e
        ), fact AS (
            SELECT t.seq, t.project_id, t.last, t.listed_at, t.key_id, t.credential,
                CASE t.type WHEN 'rotation.created' THEN 'created' WHEN 'rotation.published' THEN 'current' WHEN 'rotation.failed' THEN 'orphan'
                    WHEN 'key.superseded' THEN 'superseded' ELSE 'gone' END AS state,
                CASE t.type WHEN 'rotation.created' THEN coalesce((t.body ->> 'key_created_at')::timestamptz, t.occurred_at) END AS created_at
            FROM told t WHERE t.key_id IS NOT NULL
            UNION ALL
            SELECT t.seq, t.project_id, t.last, t.listed_at, t.body ->> 'replaces', t.credential, 'superseded', NULL
            FROM told t WHERE t.type = 'rotation.published' AND t.body ->> 'replaces' IS NOT NULL
        ), known AS (
            SELECT f.project_id, f.key_id, f.last, f.listed_at,
                (array_agg(f.credential ORDER BY f.seq) FILTER (WHERE f.credential IS NOT NULL))[1] AS credential,
                (array_agg(f.state ORDER BY f.seq DESC))[1] AS state,
                min(f.created_at) AS created_at,
                bool_or(f.state = 'gone') AS gone
            FROM fact f GROUP BY f.project_id, f.key_id, f.last, f.listed_at
        ), key AS (
            SELECT coalesce(s.project_id, k.project_id) AS project_id, coalesce(k.credential, s.credential) AS credential,
                coalesce(s.key_id, k.key_id) AS key_id, coalesce(s.created_at, k.created_at) AS created_at,
                coalesce(k.state, s.state) AS state, coalesce(s.in_scope, true) AS in_scope, s.seq IS NOT NULL AS is_listed,
                s.max_age_s, k.last, coalesce(s.listed_at, k.listed_at) AS stated_at
            FROM listed s FULL JOIN known k ON k.project_id = s.project_id AND k.key_id = s.key_id
            WHERE k.gone IS NOT TRUE AND (s.seq IS NOT NULL OR k.created_at IS NOT NULL)
        )
        SELECT k.project_id, k.credential, k.key_id, k.created_at, at - k.created_at, k.state, k.in_scope,
            CASE WHEN k.is_listed THEN 'snapshot' ELSE 'event' END,
            CASE WHEN k.is_listed THEN k.max_age_s ELSE (SELECT (l.body ->> 'max_age_s')::bigint FROM audit.event l WHERE l.seq = k.last) END,
            k.stated_at
        FROM key k;
    END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION audit.add_partition(first bigint) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    last bigint := first + (SELECT partition_size FROM audit.setting);
    name text := 'event_' || lpad(first::text, 15, '0');
BEGIN
    EXECUTE format('CREATE TABLE audit.%I (LIKE audit.event INCLUDING ALL) WITH (autovacuum_vacuum_insert_scale_factor = 0.02)', name);
    EXECUTE format('ALTER TABLE audit.event ATTACH PARTITION audit.%I FOR VALUES FROM (%s) TO (%s)', name, first, last);
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.%I '
        'FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change()', name);
    EXECUTE format('ALTER TABLE audit.%I ENABLE ALWAYS TRIGGER append_only', name);
    EXECUTE format('ALTER TABLE audit.%I ENABLE ALWAYS TRIGGER append_only_row', name);
    RETURN last;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
DO $$
DECLARE part regclass;
BEGIN
    FOR part IN SELECT relid FROM pg_partition_tree('audit.event') WHERE isleaf LOOP
        EXECUTE format('ALTER TABLE %s SET (autovacuum_vacuum_insert_scale_factor = 0.02)', part);
    END LOOP;
END $$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
DO $$ BEGIN RAISE EXCEPTION 'an audit log is not dropped by a tool'; END $$;
-- +goose StatementEnd
