package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"rotator/internal/audit"
	"rotator/internal/call"
	"rotator/internal/jobs"
	"rotator/internal/postgres"
	"rotator/internal/rotation"
	"rotator/internal/sinch"
	"rotator/internal/state"
	"rotator/internal/vault"
	"rotator/migrations"
)

// spill makes sure that outcomes can be kept while Postgres is away.
func (d *doctor) spill() {
	dir := d.app.spillDir()
	s, err := audit.OpenSpill(dir, "doctor")
	if err != nil {
		d.bad("spill directory", err, "make "+dir+" writable for this user alone, or name another directory in ROTATOR_STATE_DIR")
		return
	}
	_ = s.Close() // nothing was written
	d.found(fine, "spill directory", dir+" can be written", "")
}

// database reports whether the audit log can be used.
func (d *doctor) database(ctx context.Context) bool {
	a := d.app
	pool, err := openPool(ctx, a.cfg)
	if err != nil {
		d.bad("postgres", err, "see that the server runs, and what DATABASE_URL says")
		return false
	}
	a.pool, a.store, a.id = pool, state.New(pool), uuid.Must(uuid.NewV7())
	if err := postgres.CheckSchema(ctx, pool, migrations.FS); err != nil {
		d.bad("postgres", err, "run `rotator migrate up` as the owner (DATABASE_MIGRATE_URL)")
		return false
	}
	if err := a.openLog(ctx); err != nil {
		d.bad("audit log", err, "see docs/compliance.md and `rotator audit verify`")
		return false
	}
	d.found(fine, "postgres", "reachable, the schema is up to date", "")
	d.rights(ctx)
	d.clock(ctx)
	return true
}

// rights looks at what the database login may do: enough, and not more.
func (d *doctor) rights(ctx context.Context) {
	const ask = `SELECT current_user, usesuper OR pg_has_role(relowner, 'USAGE'),
			has_table_privilege('audit.event', 'UPDATE') OR has_table_privilege('audit.event', 'DELETE') OR has_table_privilege('audit.event', 'TRUNCATE'),
			has_function_privilege('audit.append(bigint, text[], bytea[], bytea, bytea)', 'EXECUTE') AND has_table_privilege('rotator.project', 'SELECT, INSERT, UPDATE')
		FROM pg_class, pg_user WHERE oid = 'audit.event'::regclass AND usename = current_user`
	var login string
	var owns, alters, works bool
	if err := d.app.pool.QueryRow(ctx, ask).Scan(&login, &owns, &alters, &works); err != nil {
		d.bad("database rights", err, "")
		return
	}
	const separate = "`rotator migrate up --owner-role OWNER --writer-role WRITER`, and let DATABASE_URL log in with WRITER"
	switch {
	case !works:
		d.found(trouble, "database rights", "login "+login+" may not append to the audit log, or not work with rotator's tables",
			"run `rotator migrate up --writer-role "+login+"` as the owner")
	case owns || alters:
		d.found(warning, "database rights", "login "+login+" may alter the audit log that it writes", "separate the two: "+separate)
	default:
		d.found(fine, "database rights", "login "+login+" may append to the audit log and not alter it", "")
	}
}

// clock compares Postgres' clock with this host's.
func (d *doctor) clock(ctx context.Context) {
	before := time.Now()
	now, err := d.app.store.Now(ctx)
	if err != nil {
		d.bad("clocks", err, "")
		return
	}
	took := time.Since(before)
	d.skew("Postgres'", now.Sub(before.Add(took/2)))
}

func (d *doctor) skew(whose string, skew time.Duration) {
	limit := d.app.cfg.Run.MaxClockSkew
	if skew.Abs() > limit {
		d.found(trouble, "clocks", fmt.Sprintf("%s clock and this host's differ by %s; nothing is deleted beyond %s", whose, skew.Round(time.Millisecond), limit),
			"let both follow NTP, or raise ROTATOR_MAX_CLOCK_SKEW")
		return
	}
	d.found(fine, "clocks", fmt.Sprintf("%s clock and this host's differ by %s", whose, skew.Round(time.Millisecond)), "")
}

// recorder is the audit log, or none while it cannot be used: only reads pass.
func (d *doctor) recorder(logged bool) call.Recorder {
	if !logged {
		return unrecorded{}
	}
	return &jobs.Recorder{Log: d.app.log, Logger: d.app.logger, Lenient: true}
}

// vault returns the store if the login works.
func (d *doctor) vault(ctx context.Context, logged bool) *vault.Store {
	a := d.app
	store, err := openVault(ctx, a.cfg, d.recorder(logged), a.logger)
	if err != nil {
		fix := "see VAULT_ADDR and the login (VAULT_AUTH_METHOD " + a.cfg.Vault.AuthMethod + ")"
		if errors.Is(err, vault.ErrSealed) {
			fix = "unseal Vault"
		}
		d.bad("vault", err, fix)
		return nil
	}
	d.found(fine, "vault", "logged in as "+store.Entity()+", mount "+a.cfg.Vault.KVMount+" can be used", "")
	if a.cfg.Vault.Wrapped {
		d.found(warning, "vault", "this check has used up the wrapping token in VAULT_SECRET_ID", "put another one there before rotator starts")
	}
	path, err := store.Path(a.cfg.Sinch.ProjectID, "doctor")
	if err == nil {
		err = store.CanWrite(ctx, path)
	}
	if err != nil {
		d.bad("vault rights", err, "deploy/vault/rotator.hcl is a policy that is enough")
	} else {
		d.found(fine, "vault rights", "credentials can be published below "+a.cfg.Vault.KVPrefix, "")
	}
	d.checkpoints(ctx, store)
	return store
}

// checkpoints looks at what the login may do where checkpoints are kept: write
// each once.
func (d *doctor) checkpoints(ctx context.Context, store *vault.Store) {
	v, prefix := d.app.cfg.Vault, d.app.cfg.Audit.VaultPrefix
	data, list := v.KVMount+"/data/"+prefix+"/checkpoints/1/doctor", v.KVMount+"/metadata/"+prefix+"/checkpoints/"
	granted, err := store.Capabilities(ctx, data, list)
	if err != nil {
		d.bad("checkpoints", err, "")
		return
	}
	has := func(path string, capabilities ...string) bool {
		for _, c := range capabilities {
			if strings.Contains(" "+strings.Join(granted[path], " ")+" ", " "+c+" ") {
				return true
			}
		}
		return false
	}
	root := has(data, "root")
	switch {
	case !root && (!has(data, "create") || !has(data, "read") || !has(list, "list")):
		d.found(trouble, "checkpoints", "the login may not write, read and list checkpoints below "+prefix,
			`grant "create" and "read" at `+data[:strings.LastIndex(data, "/1/")]+`/*, and "list" at `+list+`* (deploy/vault/rotator.hcl)`)
	case root || has(data, "update", "delete", "patch"):
		d.found(warning, "checkpoints", "the login may change checkpoints that it has written: a stolen one could rewrite history",
			`leave out "update", "patch" and "delete" there (deploy/vault/rotator.hcl)`)
	default:
		d.found(fine, "checkpoints", "can be written once below "+prefix, "")
	}
}

// sample is how many subprojects are looked at to see what the scope matches.
const sample = 20

// sinch looks at the parent and some subprojects as a run would.
func (d *doctor) sinch(ctx context.Context, logged bool, secrets *vault.Store) {
	a := d.app
	client, err := sinch.New(sinchConfig(a.cfg, d.recorder(logged), a.logger), sinch.Credentials{KeyID: a.cfg.Sinch.KeyID, Secret: a.cfg.Sinch.KeySecret})
	if err != nil {
		d.bad("sinch", err, "")
		return
	}
	defer client.Close()
	if !logged {
		d.plainKeys(ctx, client)
		return
	}
	cfg := a.jobsConfig()
	cfg.Keys, cfg.Directory, cfg.Identity, cfg.Secrets = client, client, client, secrets
	scope := &scopeCheck{doctor: d, runner: jobs.New(cfg)}
	if !scope.look(ctx, a.cfg.Sinch.ProjectID) { // first: it may move on to the key that Vault holds
		return
	}
	if a.cfg.Sinch.Subprojects != "off" {
		if ids := d.subprojects(ctx, client); len(ids) > 0 {
			scope.look(ctx, ids...)
		}
	}
	if skew, ok := client.ServerSkew(); ok {
		d.skew("Sinch's", skew)
	}
	scope.say()
}

// scopeCheck counts what the scope matches.
type scopeCheck struct {
	*doctor
	runner                  *jobs.Runner
	projects, keys, matched int
}

// look looks at projects as a run would, and reports whether that was possible.
func (s *scopeCheck) look(ctx context.Context, projects ...string) bool {
	well := true
	err := s.runner.Survey(ctx, jobs.Order{Projects: projects}, func(seen jobs.Surveyed) {
		s.projects++
		if seen.Err != nil {
			s.refused("project "+seen.Project.ID, seen.Err)
			well = false
		}
		for _, k := range seen.Plan.Keys {
			s.keys++
			if k.State != rotation.UnmanagedKey {
				s.matched++
			}
		}
	})
	if err != nil {
		s.refused("sinch", err)
	}
	return well && err == nil
}

func (s *scopeCheck) say() {
	seen := fmt.Sprintf("%d of %d keys in the %d projects that were looked at", s.matched, s.keys, s.projects)
	if s.matched == 0 {
		s.found(warning, "scope", "ROTATOR_INCLUDE matches "+seen, "write patterns such as *, billing-*, or <project>/<credential>; `rotator keys` shows what there is")
		return
	}
	s.found(fine, "scope", "ROTATOR_INCLUDE matches "+seen, "")
}

// plainKeys asks Sinch without the rest: there is no log.
func (d *doctor) plainKeys(ctx context.Context, client *sinch.Client) {
	l, err := client.ListKeys(ctx, d.app.cfg.Sinch.ProjectID)
	if err != nil {
		d.refused("sinch", err)
		return
	}
	d.found(fine, "sinch", fmt.Sprintf("the parent's %d keys can be listed", len(l.Keys)), "")
}

// subprojects returns some of them.
func (d *doctor) subprojects(ctx context.Context, client *sinch.Client) (ids []string) {
	for sub, err := range client.Subprojects(ctx, d.app.cfg.Sinch.ProjectID) {
		if err != nil {
			d.refused("subprojects", err)
			return nil
		}
		if ids = append(ids, sub.ID); len(ids) == sample {
			break
		}
	}
	d.found(fine, "subprojects", fmt.Sprintf("can be listed; %d of them are looked at", len(ids)), "")
	return ids
}

// refused adds what Sinch would not do, with what helps.
func (d *doctor) refused(check string, err error) {
	fix := "see that Sinch can be reached from here"
	switch {
	case errors.Is(err, sinch.ErrUnauthenticated):
		fix = "set SINCH_KEY_ID and SINCH_KEY_SECRET to an access key of the parent that works; Vault's copy of rotator's own key counts first"
	case errors.Is(err, sinch.ErrForbidden) && strings.Contains(err.Error(), "subprojects"):
		fix = "if this account has no subprojects, set SINCH_SUBPROJECTS=off"
	case errors.Is(err, sinch.ErrForbidden):
		fix = "the access-keys API is open to selected accounts: ask Sinch for it, and see that the key belongs to the parent project"
	}
	d.bad(check, err, fix)
}
