package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/robfig/cron/v3"

	"rotator/internal/rotation"
	"rotator/internal/vault"
)

// needs says which sections of the configuration a command uses. Problems in
// the others are not its business: `rotator audit list` works on a machine
// that knows nothing but a database.
type needs uint

// Sections. processSettings are every command's.
const (
	needSinch    needs = 1 << iota // SINCH_*
	needDatabase                   // DATABASE_URL
	needMigrate                    // a database URL of the owner: DATABASE_MIGRATE_URL, else DATABASE_URL
	needVault                      // VAULT_*
	needPolicy                     // scope, ages, schedule
	needRun                        // concurrency, lease, limits
	needServe                      // listener
	needAudit                      // AUDIT_*

	needNothing needs = 0
	needAll           = needSinch | needDatabase | needVault | needPolicy | needRun | needServe | needAudit
)

// config is the whole configuration of a process. Only what was asked for in
// loadConfig has been checked; the rest holds defaults or a best effort.
type config struct {
	Process  processSettings
	Sinch    sinchSettings
	Database databaseSettings
	Vault    vaultSettings
	Rotation policySettings
	Run      runSettings
	Serve    serveSettings
	Audit    auditSettings

	// What the texts above mean, filled in where needPolicy was asked for.
	Policy   rotation.Policy
	Scope    rotation.Scope
	Labels   rotation.LabelMode
	Location *time.Location
	Schedule cron.Schedule

	// Files that hold the Vault token and secret id, where they come from files:
	// they are read again while the process runs.
	TokenFile, SecretIDFile string

	// Warnings are for the log at every start: allowed, but worth a thought.
	Warnings []string

	used      needs
	level     *slog.LevelVar   // nil is info
	unwrapped *vault.Unwrapped // the process's; nil in tests of the configuration
}

// loadConfig reads what a command needs from the environment and from files
// of KEY=VALUE lines. The environment wins over files, a later file over an
// earlier one. Its error is a configError that names everything wrong at once.
func loadConfig(ctx context.Context, need needs, env lookuper, files []string) (*config, error) {
	c := &config{used: need}
	var problems configError
	src, err := openSources(env, files)
	problems.addAll(err)

	for _, s := range c.sections() {
		if err := decodeSection(ctx, s.target, src); s.need == needNothing || need&s.need != 0 {
			problems.addAll(err)
		}
	}
	c.TokenFile, c.SecretIDFile = src.file("VAULT_TOKEN"), src.file("VAULT_SECRET_ID")
	c.fillDefaults(env)
	c.check(&problems, time.Now())
	c.Warnings = append(c.Warnings, unknownVariables(src)...)
	if err := problems.orNil(); err != nil {
		return nil, err
	}
	return c, nil
}

// section is a part of the configuration and the needs that make its problems
// matter.
type section struct {
	need   needs
	title  string
	target any // pointer to a struct of settings
}

func (c *config) sections() []section {
	return []section{
		{needSinch, "Sinch", &c.Sinch},
		{needDatabase | needMigrate, "Postgres", &c.Database},
		{needVault, "Vault", &c.Vault},
		{needPolicy, "What is rotated, and when", &c.Rotation},
		{needRun, "How a run works", &c.Run},
		{needAudit, "Audit log", &c.Audit},
		{needServe, "Daemon", &c.Serve},
		{needNothing, "Process", &c.Process},
	}
}
