-- What separates the rights that roles have from those that they should have,
-- as the statements that would mend it, in order. No rows: all is as it
-- should be. $1, $2 and $3 name writer, auditor and owner; '' is none.
--
-- In schema audit a reader (writer or auditor) may read every table and view,
-- and call every function that cannot change anything: one that is not
-- VOLATILE and runs with its caller's rights. The writer may call two more.
-- In schema rotator the writer may work with everything, the auditor with
-- nothing. PUBLIC may do nothing in either.
--
-- A role that was named once is kept up to date by later calls which do not
-- name it: it gets what new migrations bring, and nothing is taken from it.
WITH space AS (
    SELECT oid, nspname AS name, nspowner AS owner, coalesce(nspacl, acldefault('n', nspowner)) AS acl
    FROM pg_namespace WHERE nspname IN ('audit', 'rotator')
), object AS (
    SELECT name AS space, name, 'SCHEMA' AS kind, format('%I', name) AS title, owner, acl, false AS partition, false AS harmless
    FROM space
    UNION ALL
    SELECT s.name, c.relname, CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, format('%I.%I', s.name, c.relname),
        c.relowner, coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner)), c.relispartition, false
    FROM space s JOIN pg_class c ON c.relnamespace = s.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
    UNION ALL
    SELECT s.name, p.proname, 'ROUTINE', format('%I.%I(%s)', s.name, p.proname, oidvectortypes(p.proargtypes)),
        p.proowner, coalesce(p.proacl, acldefault('f', p.proowner)), false, p.provolatile <> 'v' AND NOT p.prosecdef
    FROM space s JOIN pg_proc p ON p.pronamespace = s.oid
), owner AS ( -- everything in a schema belongs to whom the schema belongs to
    SELECT s.name AS space, coalesce((SELECT oid FROM pg_roles WHERE rolname = nullif($3, '')), s.owner) AS owner FROM space s
), held AS (
    SELECT o.space, o.name, o.kind, o.title, o.partition, a.grantee, a.privilege_type AS privilege FROM object o, aclexplode(o.acl) a
    UNION ALL
    SELECT s.name, c.relname, 'TABLE', format('%I.%I', s.name, c.relname), c.relispartition, a.grantee, format('%s (%I)', a.privilege_type, t.attname)
    FROM space s JOIN pg_class c ON c.relnamespace = s.oid JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a
), role AS (
    SELECT DISTINCT ON (r.oid) r.oid, r.rolname AS name, k.writes, k.named
    FROM (
        SELECT rolname, rolname = $1 AS writes, true AS named FROM pg_roles WHERE rolname IN ($1, $2)
        UNION ALL
        SELECT r.rolname, h.privilege = 'EXECUTE', false FROM held h JOIN pg_roles r ON r.oid = h.grantee
        WHERE h.space = 'audit' AND (h.kind, h.name, h.privilege) IN (('TABLE', 'event', 'SELECT'), ('ROUTINE', 'append', 'EXECUTE'))
    ) k JOIN pg_roles r ON r.rolname = k.rolname
    WHERE r.oid NOT IN (SELECT s.owner FROM space s UNION SELECT o.owner FROM owner o)
    ORDER BY r.oid, k.named DESC, k.writes DESC
), wanted AS (
    SELECT o.kind, o.title, r.oid AS grantee, p.privilege
    FROM object o CROSS JOIN role r CROSS JOIN LATERAL unnest(CASE
        WHEN o.kind = 'SCHEMA' AND (o.space = 'audit' OR r.writes) THEN '{USAGE}'::text[]
        WHEN o.space = 'rotator' AND r.writes THEN CASE o.kind
            WHEN 'TABLE' THEN '{SELECT,INSERT,UPDATE,DELETE}'::text[] WHEN 'SEQUENCE' THEN '{USAGE,SELECT}' WHEN 'ROUTINE' THEN '{EXECUTE}' END
        WHEN o.space = 'audit' AND o.kind = 'TABLE' AND NOT o.partition THEN '{SELECT}'
        WHEN o.space = 'audit' AND o.kind = 'ROUTINE' AND (o.harmless OR r.writes AND o.name IN ('append', 'lock_head')) THEN '{EXECUTE}'
    END) AS p (privilege)
    UNION ALL -- to log in here at all, and to see which migrations are applied
    SELECT 'DATABASE', format('%I', current_database()), oid, 'CONNECT'
    FROM role WHERE NOT has_database_privilege(oid, current_database(), 'CONNECT')
    UNION ALL
    SELECT 'SCHEMA', 'public', oid, 'USAGE'
    FROM role WHERE EXISTS (SELECT FROM pg_namespace WHERE nspname = 'public') AND NOT has_schema_privilege(oid, 'public', 'USAGE')
), change AS (
    SELECT 'REVOKE' AS verb, h.kind, h.title, h.grantee, h.privilege
    FROM held h LEFT JOIN role r ON r.oid = h.grantee
    WHERE (h.grantee = 0 OR r.named) AND NOT (h.partition AND h.privilege = 'SELECT')
        AND (h.title, h.grantee, h.privilege) NOT IN (SELECT title, grantee, privilege FROM wanted)
    UNION ALL
    SELECT 'GRANT', w.kind, w.title, w.grantee, w.privilege
    FROM wanted w
    WHERE (w.title, w.grantee, w.privilege) NOT IN (SELECT title, grantee, privilege FROM held)
), line AS (
    SELECT verb, kind, title, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS grantee,
        string_agg(privilege, ', ' ORDER BY privilege) AS privileges
    FROM change GROUP BY verb, kind, title, change.grantee
)
SELECT CASE o.kind WHEN 'SCHEMA' THEN 1 ELSE 2 END AS step, format('ALTER %s %s OWNER TO %s', o.kind, o.title, w.owner::regrole) AS statement
FROM object o JOIN owner w ON w.space = o.space
WHERE o.owner <> w.owner AND o.kind <> 'SEQUENCE' -- those follow their tables
UNION ALL
SELECT CASE verb WHEN 'REVOKE' THEN 3 ELSE 4 END, format('%s %s ON %s %s %s %s', verb, privileges, kind,
    string_agg(title, ', ' ORDER BY title), CASE verb WHEN 'REVOKE' THEN 'FROM' ELSE 'TO' END, grantee)
FROM line GROUP BY verb, kind, privileges, grantee
ORDER BY step, statement
