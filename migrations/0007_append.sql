-- A project's intents are found without looking at all others: each look at a
-- project asks for those of which nobody knows how they ended.
--
-- And appending costs less once more: append itself reads the query columns from the
-- bodies, where a trigger for each row took three times as long, and moves the
-- head with one statement instead of locking it with another before. The trigger
-- also filled what an owner of the table inserts past append; whoever may do that
-- may switch triggers off, so that only `audit verify`, which holds every column
-- against its body, could ever be relied on.

-- +goose Up
CREATE INDEX event_announced ON audit.event (project_id, seq) WHERE phase = 'intent';

DROP TRIGGER fill_columns ON audit.event;
DROP FUNCTION audit.fill_columns();

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION audit.add_partition(first bigint) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    last bigint := first + (SELECT partition_size FROM audit.setting);
    name text := 'event_' || lpad(first::text, 15, '0');
BEGIN
    EXECUTE format('CREATE TABLE audit.%I (LIKE audit.event INCLUDING ALL)', name);
    EXECUTE format('ALTER TABLE audit.event ATTACH PARTITION audit.%I FOR VALUES FROM (%s) TO (%s)', name, first, last);
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.%I '
        'FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change()', name);
    EXECUTE format('ALTER TABLE audit.%I ENABLE ALWAYS TRIGGER append_only', name);
    EXECUTE format('ALTER TABLE audit.%I ENABLE ALWAYS TRIGGER append_only_row', name);
    RETURN last;
END $$;
-- +goose StatementEnd

-- append adds events and moves the head, if it still is where the writer
-- believes it to be; else SQLSTATE 40001. Root and frontier are the writer's
-- word: whoever verifies the log computes them from the leaves. The time is
-- exact: a double holds every microsecond up to the year 2255.
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
        SELECT expected_size + e.n - 1, e.leaf_hash, e.body::json,
            (timestamp '1970-01-01' + b.t_us * interval '1 microsecond') AT TIME ZONE 'UTC',
            (timestamp '1970-01-01' + b.t_us * interval '1 microsecond')::date,
            b.status, b.id, b.call, b.run, b.type, b.phase, b.outcome, b.op, b.rotation, b.credential, b.project, b.key,
            CASE WHEN b.type = 'inventory.snapshot' THEN audit.strangers(e.body::json) END
        FROM unnest(bodies, leaf_hashes) WITH ORDINALITY AS e (body, leaf_hash, n),
            json_to_record(e.body::json) AS b (t_us bigint, status smallint, id uuid, call uuid, run uuid, type text, phase text,
                outcome text, op text, rotation text, credential text, project text, key text);
    RETURN new_size;
END $$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
DO $$ BEGIN RAISE EXCEPTION 'an audit log is not dropped by a tool'; END $$;
-- +goose StatementEnd
