package audit

import (
	"context"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"rotator/migrations"
)

// defences looks whether the database's own defences stand: they stop who
// errs, and slow down who attacks. That one is down proves nothing about the
// events, so it is a warning.
func (v *verification) defences(ctx context.Context, tx pgx.Tx) {
	for _, d := range []struct{ query, warning string }{
		{weakTables, "%s is no longer the table that the migrations made"},
		{weakTriggers, "trigger %s is missing, disabled or not what the migrations made: events can be changed in passing"},
		{extraTriggers, "trigger %s was put on the log by somebody else than the migrations"},
		{weakConstraints, "constraint %s is missing or not validated: an event's hash can be anything"},
		{extraGrants, "%s: only the log's own functions should write it"},
	} {
		found, err := texts(ctx, tx, d.query)
		if err != nil {
			v.warn("whether the database's own defences stand could not be looked at: %v", err)
			return
		}
		for _, what := range found {
			v.warn("the database's own defences are down: "+d.warning, what)
		}
	}
	v.functions(ctx, tx)
}

func texts(ctx context.Context, tx pgx.Tx, sql string, args ...any) ([]string, error) {
	part, err := tx.Begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("setting a savepoint: %w", err)
	}
	defer part.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // nothing was changed
	rows, err := part.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("asking the catalogue: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("asking the catalogue: %w", err)
	}
	return found, nil
}

// logTables are the log and its partitions.
const logTables = `with log as (select relid::oid as id, relid <> 'audit.event'::regclass as part from pg_partition_tree('audit.event'))
`

const weakTables = logTables + `select c.oid::regclass::text || ' (' || case when c.relrowsecurity then 'row security hides events' when c.relhasrules then 'it has rules' else 'another kind of table' end || ')'
	from pg_class c where (c.oid in (select id from log) or c.oid = 'audit.head'::regclass)
		and (c.relrowsecurity or c.relhasrules or c.relkind <> case when c.oid = 'audit.event'::regclass then 'p' else 'r' end)
	union all select 'audit.event (not partitioned)' where not exists (select from log)`

const weakTriggers = logTables + `, wanted as (
		select id, name, function from log, (values ('append_only', 'refuse_change'), ('append_only_row', 'refuse_change')) as t (name, function)
		union all select 'audit.head'::regclass, 'one_row', 'refuse_change')
	select w.name || ' on ' || w.id::regclass from wanted w where not exists (
		select from pg_trigger t join pg_proc p on p.oid = t.tgfoid
		where t.tgrelid = w.id and t.tgname = w.name and t.tgenabled = 'A' and p.proname = w.function and p.pronamespace = 'audit'::regnamespace)`

const extraTriggers = logTables + `select t.tgname || ' on ' || t.tgrelid::regclass from pg_trigger t
	where (t.tgrelid in (select id from log) or t.tgrelid = 'audit.head'::regclass) and not t.tgisinternal
		and t.tgname not in ('append_only', 'append_only_row', 'one_row')`

const weakConstraints = logTables + `, wanted as (
		select id, name from log, (values ('event_leaf', '%sha256(%convert_to(%'), ('event_size', '%octet_length(%16384%')) as c (name, form))
	select w.name || ' on ' || w.id::regclass from wanted w where not exists (
		select from pg_constraint c where c.conrelid = w.id and c.conname = w.name and c.contype = 'c' and c.convalidated)`

const extraGrants = logTables + `, own as (
		select c.oid, c.relowner as owner, c.relacl as acl from pg_class c
		where c.oid in (select id from log) or c.oid in ('audit.head'::regclass, 'audit.setting'::regclass)
	), granted as (
		select oid, owner, acl from own
		union all select o.oid, o.owner, a.attacl from own o join pg_attribute a on a.attrelid = o.oid)
	select case a.grantee when 0 then 'everybody' else a.grantee::regrole::text end || ' may ' || a.privilege_type || ' on ' || g.oid::regclass
	from granted g, aclexplode(g.acl) a
	where a.privilege_type in ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER') and a.grantee <> g.owner`

// functionText finds the functions in a migration whose body stands as text.
var functionText = regexp.MustCompile(`(?s)CREATE (?:OR REPLACE )?FUNCTION audit\.(\w+)\([^$;]*?\$\$(.*?)\$\$`)

// functions compares the log's functions with the migrations'.
func (v *verification) functions(ctx context.Context, tx pgx.Tx) {
	wanted := map[string]string{}
	paths, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil {
		return
	}
	slices.Sort(paths)
	for _, path := range paths {
		text, err := fs.ReadFile(migrations.FS, path)
		if err != nil {
			return
		}
		for _, m := range functionText.FindAllStringSubmatch(string(text), -1) {
			wanted[m[1]] = m[2]
		}
		for _, m := range regexp.MustCompile(`DROP FUNCTION audit\.(\w+)`).FindAllStringSubmatch(string(text), -1) {
			delete(wanted, m[1])
		}
	}
	names, sources := make([]string, 0, len(wanted)), make([]string, 0, len(wanted))
	for name, source := range wanted {
		names, sources = append(names, name), append(sources, source)
	}
	changed, err := texts(ctx, tx, `select w.name from unnest($1::text[], $2::text[]) as w (name, source) where not exists (
		select from pg_proc p where p.pronamespace = 'audit'::regnamespace and p.proname = w.name and p.prosrc = w.source) order by 1`, names, sources)
	if err != nil {
		v.warn("whether the database's own defences stand could not be looked at: %v", err)
		return
	}
	if len(changed) > 0 {
		v.warn("the database's own defences are down: functions of schema audit are not what the migrations made: %s", strings.Join(changed, ", "))
	}
}
