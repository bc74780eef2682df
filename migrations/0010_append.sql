-- Appending costs less: a body is parsed as JSON once to check it and once to read
-- it, where it was checked for each use; and the keys in a listing that rotator did
-- not make are found within append's own statement, where a function called for
-- each listing took an eighth of all the time.

-- +goose Up

-- Of the keys of a listing those that rotator did not make or does not know; of
-- the others there are events. NULL where there are none, and where they are so
-- many or have such long ids that they do not fit an index. A function that
-- returns rows is made a part of the statement that calls it.
-- +goose StatementBegin
CREATE FUNCTION audit.strangers_among(keys json) RETURNS TABLE (ids text[])
    LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 1
    BEGIN ATOMIC
        SELECT CASE WHEN sum(octet_length(k.id) + 8) <= 2400 THEN array_agg(k.id ORDER BY k.id) END
        FROM json_to_recordset(CASE json_typeof(keys) WHEN 'array' THEN keys END) AS k (id text, name text, state text)
        WHERE k.state NOT IN ('current', 'superseded', 'orphan') OR k.state IS NULL
            OR k.name !~ '~[0-9a-z]{13}( \(superseded [^)]*\))?$' OR k.name IS NULL;
    END;
-- +goose StatementEnd

CREATE OR REPLACE FUNCTION audit.strangers(body json) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (SELECT s.ids FROM audit.strangers_among(body -> 'keys') s);

-- append adds events and moves the head, if it still is where the writer
-- believes it to be; else SQLSTATE 40001. Root and frontier are the writer's
-- word: whoever verifies the log computes them from the leaves. The time is
-- exact: a double holds every microsecond up to the year 2255. OFFSET 0 keeps the
-- planner from casting each body twice.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION audit.append(expected_size bigint, bodies text[], leaf_hashes bytea[], new_root bytea, new_frontier bytea)
    RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    new_size bigint := expected_size + cardinality(bodies);
    last bigint;
    scarce boolean;
BEGIN
    IF cardinality(bodies) IS DISTINCT FROM cardinality(leaf_hashes) OR coalesce(cardinality(bodies), 0) = 0 THEN
        RAISE EXCEPTION 'append needs events, and one hash for each' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    UPDATE audit.head h SET size = new_size, root = new_root, frontier = new_frontier WHERE h.size = expected_size
        RETURNING h.covered, h.covered - h.size <= (SELECT s.partition_size / 2 FROM audit.setting s) INTO last, scarce;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the audit log has % events, not %', (SELECT h.size FROM audit.head h), expected_size USING ERRCODE = 'serialization_failure';
    END IF;
    IF scarce THEN
        UPDATE audit.head SET covered = audit.cover(last, new_size);
    END IF;
    INSERT INTO audit.event (seq, leaf_hash, body, occurred_at, day,
            http_status, event_id, call_id, run_id, type, phase, outcome, operation, rotation_id, credential, project_id, key_id, strangers)
        SELECT expected_size + e.n - 1, e.leaf_hash, e.body,
            (timestamp '1970-01-01' + b.t_us * interval '1 microsecond') AT TIME ZONE 'UTC',
            (timestamp '1970-01-01' + b.t_us * interval '1 microsecond')::date,
            b.status, b.id, b.call, b.run, b.type, b.phase, b.outcome, b.op, b.rotation, b.credential, b.project, b.key,
            CASE WHEN b.type = 'inventory.snapshot' THEN (SELECT s.ids FROM audit.strangers_among(b.keys) s) END
        FROM (SELECT u.body::json AS body, u.leaf_hash, u.n FROM unnest(bodies, leaf_hashes) WITH ORDINALITY AS u (body, leaf_hash, n) OFFSET 0) e,
            json_to_record(e.body) AS b (t_us bigint, status smallint, id uuid, call uuid, run uuid, type text, phase text,
                outcome text, op text, rotation text, credential text, project text, key text, keys json);
    RETURN new_size;
END $$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
DO $$ BEGIN RAISE EXCEPTION 'an audit log is not dropped by a tool'; END $$;
-- +goose StatementEnd
