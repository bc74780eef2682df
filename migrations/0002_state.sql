-- What rotator knows beside the audit log: which projects there are and who
-- works on them, how far each rotation has come, what was last seen at Sinch.
-- Sinch is right about keys, Vault about the current one, these tables about
-- intents, history and whose orphan a key is. No secret is ever stored here.

-- +goose Up
CREATE SCHEMA rotator;

CREATE TABLE rotator.setting (
    name       text PRIMARY KEY,
    value      text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE rotator.setting IS 'facts about the installation, such as which credential is rotator''s own';

CREATE TABLE rotator.run (
    id          uuid PRIMARY KEY,
    trigger     text NOT NULL,
    actor       text NOT NULL,
    host        text NOT NULL,
    reason      text NOT NULL DEFAULT '',
    started_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    counters    jsonb
);

-- One row a project: its place in the schedule, its back-off, its lease.
CREATE TABLE rotator.project (
    id               text PRIMARY KEY,
    parent_id        text NOT NULL DEFAULT '',
    name             text NOT NULL DEFAULT '',
    labels           jsonb NOT NULL DEFAULT '{}',
    created_at       timestamptz,
    first_seen_at    timestamptz NOT NULL DEFAULT now(),
    seen_at          timestamptz NOT NULL DEFAULT now(),
    gone_at          timestamptz,
    next_check_at    timestamptz NOT NULL DEFAULT now(),
    checked_at       timestamptz,
    failures         integer NOT NULL DEFAULT 0,
    failed_step      text NOT NULL DEFAULT '',
    last_error       text NOT NULL DEFAULT '',
    policy           text NOT NULL DEFAULT '',
    resolved_seq     bigint NOT NULL DEFAULT 0,
    snapshot_sha256  bytea,
    snapshot_at      timestamptz,
    fence            bigint NOT NULL DEFAULT 0,
    lease_owner      uuid,
    lease_expires_at timestamptz
);
COMMENT ON COLUMN rotator.project.resolved_seq IS 'in the audit log: no older intent of the project is open';
COMMENT ON COLUMN rotator.project.fence IS 'grows with every claim; a write that carries an older one changes nothing';
CREATE INDEX project_next ON rotator.project ((failures > 0), next_check_at, id) WHERE gone_at IS NULL;

-- One row a credential that was ever seen in scope.
CREATE TABLE rotator.credential (
    project_id     text NOT NULL REFERENCES rotator.project (id),
    name           text NOT NULL,
    vault_path     text NOT NULL,
    current_key_id text NOT NULL DEFAULT '',
    failures       integer NOT NULL DEFAULT 0,
    not_before     timestamptz,
    last_error     text NOT NULL DEFAULT '',
    PRIMARY KEY (project_id, name)
);

CREATE TABLE rotator.rotation (
    id            text PRIMARY KEY CHECK (id ~ '^[0-9a-z]{13}$'),
    project_id    text NOT NULL REFERENCES rotator.project (id),
    credential    text NOT NULL,
    display_name  text NOT NULL,
    old_key_id    text NOT NULL DEFAULT '',
    new_key_id    text NOT NULL DEFAULT '',
    trigger       text NOT NULL CHECK (trigger IN ('schedule', 'manual', 'compromised', 'drift')),
    state         text NOT NULL CHECK (state IN ('planned', 'created', 'verified', 'published', 'failed')),
    overlap       interval NOT NULL,
    reason        text NOT NULL DEFAULT '',
    actor         text NOT NULL,
    run_id        uuid NOT NULL,
    started_at    timestamptz NOT NULL DEFAULT now(),
    published_at  timestamptz,
    retire_at     timestamptz,
    vault_version integer,
    error         text NOT NULL DEFAULT '',
    UNIQUE (project_id, display_name)
);
CREATE INDEX rotation_open ON rotator.rotation (project_id) WHERE state NOT IN ('published', 'failed');
CREATE INDEX rotation_last ON rotator.rotation (project_id, credential, published_at DESC) WHERE state = 'published';
CREATE INDEX rotation_new_key ON rotator.rotation (project_id, new_key_id) WHERE new_key_id <> '';
CREATE INDEX rotation_old_key ON rotator.rotation (project_id, old_key_id) WHERE old_key_id <> '';

-- What Sinch listed last, and what became of it.
CREATE TABLE rotator.access_key (
    project_id   text NOT NULL REFERENCES rotator.project (id),
    key_id       text NOT NULL,
    credential   text NOT NULL DEFAULT '',
    display_name text NOT NULL DEFAULT '',
    state        text NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL,
    retire_at    timestamptz,
    seen_at      timestamptz NOT NULL DEFAULT now(),
    gone_at      timestamptz,
    PRIMARY KEY (project_id, key_id)
);

-- One row a running process: which key it authenticates with. That key is
-- not deleted while the row lives.
CREATE TABLE rotator.process (
    id          uuid PRIMARY KEY,
    host        text NOT NULL,
    auth_key_id text NOT NULL DEFAULT '',
    started_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL
);

-- The writer works with these tables; the auditor needs none of them (every
-- view it reads is built on the log alone).
-- +goose StatementBegin
DO $$
DECLARE
    writer text := nullif(current_setting('rotator.writer_role', true), '');
BEGIN
    IF writer IS NOT NULL THEN
        EXECUTE format('GRANT USAGE ON SCHEMA rotator TO %I', writer);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA rotator TO %I', writer);
    END IF;
END
$$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
DO $$ BEGIN RAISE EXCEPTION 'rotator''s schema is only migrated up'; END $$;
-- +goose StatementEnd
