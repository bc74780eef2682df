-- The audit log. Its events are the leaves of one RFC 6962 Merkle tree whose
-- right edge stands in audit.head. Nobody inserts directly: audit.append does
-- it for the writer, and refuses a writer that does not know the newest head.
-- The stored form is final; a later migration may add columns and views.

-- +goose Up
CREATE SCHEMA audit;
REVOKE ALL ON SCHEMA audit FROM PUBLIC;

-- Only body comes from outside: the query columns are what fill_columns reads
-- from it, whatever an INSERT says. (Generated columns would parse the body
-- once for each: inserting took 3.5 times as long.) Their order wastes no
-- padding; what is never looked up by itself (actor, URL, …) stays in the body.
CREATE TABLE audit.event (
    seq         bigint NOT NULL,
    occurred_at timestamptz NOT NULL,
    day         date NOT NULL, -- of occurred_at, in UTC
    http_status smallint,
    event_id    uuid NOT NULL,
    call_id     uuid,
    run_id      uuid,
    leaf_hash   bytea NOT NULL,
    type        text NOT NULL,
    phase       text,
    outcome     text,
    operation   text,
    rotation_id text,
    credential  text,
    project_id  text,
    key_id      text,
    body        json NOT NULL, -- json keeps the bytes; jsonb would not
    CONSTRAINT event_leaf CHECK (leaf_hash = sha256('\x00'::bytea || convert_to(body::text, 'UTF8'))),
    CONSTRAINT event_size CHECK (octet_length(body::text) <= 16384),
    PRIMARY KEY (seq)
) PARTITION BY RANGE (seq);
COMMENT ON TABLE audit.event IS 'the audit log: one row an event, seq is the index of its leaf, from 0, without gaps';
COMMENT ON COLUMN audit.event.body IS 'the event, byte for byte as it was hashed';
COMMENT ON COLUMN audit.event.leaf_hash IS 'SHA-256 of a zero byte and the body: RFC 6962''s leaf hash';

-- What grows with time is found by block ranges, which cost nothing: ids are
-- time-ordered. The others repeat their values, so that they deduplicate.
CREATE INDEX event_time ON audit.event USING brin (occurred_at, event_id, call_id, run_id)
    WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX event_type ON audit.event (type, occurred_at) WHERE type <> 'api.call';
CREATE INDEX event_key ON audit.event (key_id) WHERE key_id IS NOT NULL;
CREATE INDEX event_replaced ON audit.event ((body ->> 'replaces')) WHERE type = 'rotation.published';
CREATE INDEX event_rotation ON audit.event (rotation_id) WHERE rotation_id IS NOT NULL;
CREATE INDEX event_project ON audit.event (project_id, credential) WHERE project_id IS NOT NULL;
CREATE INDEX event_status ON audit.event (day, operation, http_status, outcome)
    WHERE type = 'api.call' AND phase = 'outcome';
-- Mutating calls: each has an intent and an outcome, which this joins.
CREATE INDEX event_call ON audit.event (call_id, phase)
    WHERE operation IN ('access_keys.create', 'access_keys.update', 'access_keys.delete',
        'vault.write', 'vault.metadata', 'vault.delete', 'vault.destroy');

-- One row: where the log ends. covered is the seq up to which partitions
-- exist. The row is rewritten by every batch, so its page has room for that.
CREATE TABLE audit.head (
    one      boolean PRIMARY KEY DEFAULT true CHECK (one),
    size     bigint NOT NULL CHECK (size >= 0),
    root     bytea NOT NULL CHECK (octet_length(root) = 32),
    frontier bytea NOT NULL CHECK (octet_length(frontier) = 32 * bit_count(size::bit(64))),
    covered  bigint NOT NULL
) WITH (fillfactor = 10);
COMMENT ON TABLE audit.head IS 'size, root and right edge of the Merkle tree over audit.event';
INSERT INTO audit.head (size, root, frontier, covered) VALUES (0, sha256(''), '', 0);

CREATE TABLE audit.setting (
    one            boolean PRIMARY KEY DEFAULT true CHECK (one),
    partition_size bigint NOT NULL DEFAULT 1000000 CHECK (partition_size > 0)
);
COMMENT ON COLUMN audit.setting.partition_size IS 'events in each partition made from now on';
INSERT INTO audit.setting DEFAULT VALUES;

-- The time is exact: a double holds every microsecond up to the year 2255.
-- +goose StatementBegin
CREATE FUNCTION audit.fill_columns() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    SELECT (timestamp '1970-01-01' + b.t_us * interval '1 microsecond') AT TIME ZONE 'UTC',
        (timestamp '1970-01-01' + b.t_us * interval '1 microsecond')::date,
        b.status, b.id, b.call, b.run, b.type, b.phase, b.outcome, b.op, b.rotation, b.credential, b.project, b.key
    INTO NEW.occurred_at, NEW.day,
        NEW.http_status, NEW.event_id, NEW.call_id, NEW.run_id, NEW.type, NEW.phase, NEW.outcome, NEW.operation,
        NEW.rotation_id, NEW.credential, NEW.project_id, NEW.key_id
    FROM json_to_record(NEW.body) AS b (t_us bigint, status smallint, id uuid, call uuid, run uuid, type text, phase text,
        outcome text, op text, rotation text, credential text, project text, key text);
    RETURN NEW;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION audit.refuse_change() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% of %.% is refused: the audit log is append-only', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;
-- +goose StatementEnd

-- The statement trigger also refuses what would change no row. The row trigger
-- is the one that logical replication fires, and partitions inherit it.
CREATE TRIGGER fill_columns BEFORE INSERT ON audit.event
    FOR EACH ROW EXECUTE FUNCTION audit.fill_columns();
ALTER TABLE audit.event ENABLE ALWAYS TRIGGER fill_columns;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.event
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER append_only_row BEFORE UPDATE OR DELETE ON audit.event
    FOR EACH ROW EXECUTE FUNCTION audit.refuse_change();
ALTER TABLE audit.event ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE audit.event ENABLE ALWAYS TRIGGER append_only_row;
CREATE TRIGGER one_row BEFORE DELETE OR TRUNCATE ON audit.head
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
ALTER TABLE audit.head ENABLE ALWAYS TRIGGER one_row;

-- add_partition makes the partition that begins at the given seq and returns
-- its end. Made first and attached then, it never locks readers out.
-- +goose StatementBegin
CREATE FUNCTION audit.add_partition(first bigint) RETURNS bigint
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
    EXECUTE format('ALTER TABLE audit.%I ENABLE ALWAYS TRIGGER fill_columns', name);
    RETURN last;
END $$;
-- +goose StatementEnd

-- cover makes partitions until the last one is less than half full at the
-- given size, and returns up to where they reach. While a partition is not
-- needed yet, one that cannot be had (somebody holds a lock on the table) is
-- left to a later append.
-- +goose StatementBegin
CREATE FUNCTION audit.cover(covered bigint, size bigint) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    half bigint := (SELECT partition_size / 2 FROM audit.setting);
    patience text := current_setting('lock_timeout');
BEGIN
    WHILE covered < size LOOP
        covered := audit.add_partition(covered);
    END LOOP;
    IF covered - size <= half THEN
        BEGIN
            PERFORM set_config('lock_timeout', '50ms', true);
            covered := audit.add_partition(covered);
        EXCEPTION WHEN lock_not_available THEN
            NULL;
        END;
        PERFORM set_config('lock_timeout', patience, true);
    END IF;
    RETURN covered;
END $$;
-- +goose StatementEnd

-- lock_head locks the head until the transaction ends and returns it.
-- +goose StatementBegin
CREATE FUNCTION audit.lock_head(OUT size bigint, OUT root bytea, OUT frontier bytea)
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT h.size, h.root, h.frontier FROM audit.head h FOR UPDATE;
    END;
-- +goose StatementEnd

-- append adds events and moves the head, if it still is where the writer
-- believes it to be; else SQLSTATE 40001. Root and frontier are the writer's
-- word: whoever verifies the log computes them from the leaves.
-- +goose StatementBegin
CREATE FUNCTION audit.append(expected_size bigint, bodies text[], leaf_hashes bytea[], new_root bytea, new_frontier bytea)
    RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known audit.head;
    added bigint := cardinality(bodies);
BEGIN
    SELECT * INTO STRICT known FROM audit.head FOR UPDATE;
    IF known.size IS DISTINCT FROM expected_size THEN
        RAISE EXCEPTION 'the audit log has % events, not %', known.size, expected_size USING ERRCODE = 'serialization_failure';
    END IF;
    IF added IS DISTINCT FROM cardinality(leaf_hashes)::bigint OR coalesce(added, 0) = 0 THEN
        RAISE EXCEPTION 'append needs events, and one hash for each' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF known.covered - (known.size + added) <= (SELECT partition_size / 2 FROM audit.setting) THEN
        known.covered := audit.cover(known.covered, known.size + added);
    END IF;
    INSERT INTO audit.event (seq, leaf_hash, body)
        SELECT expected_size + e.n - 1, e.leaf_hash, e.body::json
        FROM unnest(bodies, leaf_hashes) WITH ORDINALITY AS e (body, leaf_hash, n);
    UPDATE audit.head SET size = known.size + added, root = new_root, frontier = new_frontier, covered = known.covered;
    RETURN known.size + added;
END $$;
-- +goose StatementEnd

UPDATE audit.head SET covered = audit.cover(0, 0);

REVOKE ALL ON ALL TABLES IN SCHEMA audit FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA audit FROM PUBLIC;

-- role returns the role that a setting names, NULL when it names none. A
-- missing one is created, without login, where we may. Roles belong to the
-- whole cluster: another database's migration may be creating it right now.
-- +goose StatementBegin
CREATE FUNCTION audit.role(setting text) RETURNS name
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    role name := nullif(current_setting(setting, true), '');
BEGIN
    IF role IS NULL OR EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
        RETURN role;
    END IF;
    IF NOT (SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user) THEN
        RAISE EXCEPTION 'role "%" (%) does not exist, and "%" may not create roles', role, setting, current_user
            USING ERRCODE = 'undefined_object', HINT = 'Create the role first, or leave it unset.';
    END IF;
    BEGIN
        EXECUTE format('CREATE ROLE %I NOLOGIN', role);
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL; -- the other migration's is as good
    END;
    RETURN role;
END $$;

-- join_role makes the migrating role a member of the owner, which handing
-- over to it needs and later migrations rely on. Where we may not grant it,
-- somebody has, or handing over says so.
CREATE FUNCTION audit.join_role(owner name) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        RETURN;
    END IF;
    FOR try IN 1..20 LOOP
        BEGIN
            EXECUTE format('GRANT %I TO %I', owner, current_user);
            RETURN;
        EXCEPTION
            WHEN insufficient_privilege THEN
                RETURN;
            WHEN unique_violation OR internal_error THEN
                PERFORM pg_sleep(random() / 10); -- "tuple concurrently updated": another migration grants the same
        END;
    END LOOP;
END $$;

DO $$
DECLARE
    writer name := audit.role('rotator.writer_role');
    auditor name := audit.role('rotator.auditor_role');
    owner name := audit.role('rotator.owner_role');
    reader name;
    object record;
BEGIN
    FOREACH reader IN ARRAY array_remove(ARRAY[writer, auditor], NULL) LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA audit TO %I', reader);
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA audit TO %I', reader);
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA audit GRANT SELECT ON TABLES TO %I', reader);
    END LOOP;
    IF writer IS NOT NULL THEN
        EXECUTE format('GRANT EXECUTE ON FUNCTION audit.lock_head, audit.append TO %I', writer);
    END IF;
    IF owner IS NULL THEN
        RETURN;
    END IF;
    PERFORM audit.join_role(owner);
    FOREACH reader IN ARRAY array_remove(ARRAY[writer, auditor], NULL) LOOP
        EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA audit GRANT SELECT ON TABLES TO %I', owner, reader);
    END LOOP;
    EXECUTE format('ALTER SCHEMA audit OWNER TO %I', owner);
    FOR object IN SELECT oid::regclass AS name FROM pg_class WHERE relnamespace = 'audit'::regnamespace AND relkind IN ('r', 'p') LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO %I', object.name, owner);
    END LOOP;
    FOR object IN SELECT oid::regprocedure AS name FROM pg_proc WHERE pronamespace = 'audit'::regnamespace LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO %I', object.name, owner);
    END LOOP;
END $$;

DROP FUNCTION audit.role(text);
DROP FUNCTION audit.join_role(name);
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
DO $$ BEGIN
    RAISE EXCEPTION 'an audit log is not dropped by a tool';
END $$;
-- +goose StatementEnd
