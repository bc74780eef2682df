package main

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"rotator/internal/jobs"
	"rotator/internal/rotation"
)

const (
	// marginHorizon is how far ahead the schedule is searched for its longest gap.
	marginHorizon = 365 * 24 * time.Hour
	// tokenLifetime is how long a token of a key that is gone may still be
	// in a consumer's hands; a shorter overlap is worth a warning.
	tokenLifetime = time.Hour
)

// fillDefaults sets what depends on the machine.
func (c *config) fillDefaults(env lookuper) {
	if c.Process.StateDir == "" {
		c.Process.StateDir = stateDir(env)
	}
	if c.Process.Actor == "" {
		c.Process.Actor = localActor()
	}
	if c.Audit.SpillDir == "" {
		c.Audit.SpillDir = c.Process.StateDir
	}
	if c.Vault.AuthMount == "" {
		c.Vault.AuthMount = c.Vault.AuthMethod
	}
}

// stateDir is where state goes on this machine when nobody says: systemd's
// StateDirectory=, a person's own state directory, or the system's.
func stateDir(env lookuper) string {
	if list, _ := env.Lookup("STATE_DIRECTORY"); list != "" {
		first, _, _ := strings.Cut(list, ":") // systemd joins several with colons
		return first
	}
	if home, _ := env.Lookup("XDG_STATE_HOME"); filepath.IsAbs(home) { // a relative one is to be ignored
		return filepath.Join(home, "rotator")
	}
	return "/var/lib/rotator"
}

// localActor is user@host, as far as the machine tells. Scratch images know no
// user names; the number serves there.
func localActor() string {
	name := fmt.Sprintf("uid-%d", os.Getuid())
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "localhost"
	}
	return name + "@" + host
}

// check looks at what no single variable shows.
func (c *config) check(problems *configError, now time.Time) {
	if c.used&needSinch != 0 {
		c.checkSinch(problems)
	}
	if c.used&(needDatabase|needMigrate) != 0 {
		c.checkDatabase(problems)
	}
	if c.used&needVault != 0 {
		c.checkVaultLogin(problems)
		c.checkVaultPrefixes(problems)
	}
	if c.used&needPolicy != 0 {
		c.checkPolicy(problems, now)
	}
	if c.used&needAudit != 0 {
		c.checkAudit(problems)
	}
	if c.used&needRun != 0 {
		c.warnPlain("ROTATOR_WEBHOOK_URL", c.Run.WebhookURL.Reveal())
	}
}

func (c *config) checkSinch(problems *configError) {
	s := c.Sinch
	if (s.KeyID == "") != s.KeySecret.IsZero() && !problems.names("SINCH_KEY_ID", "SINCH_KEY_SECRET") {
		problems.add("SINCH_KEY_SECRET", "SINCH_KEY_ID and SINCH_KEY_SECRET belong together, only one is set", "set both, or neither once Vault holds rotator's own key")
	}
	if s.AuthMethod == "basic" {
		c.warnf("SINCH_AUTH_METHOD=basic is for tests: Sinch limits it heavily and may change it without notice; use oauth2")
	}
	c.warnPlain("SINCH_AUTH_URL", s.AuthURL)
	c.warnPlain("SINCH_ACCESS_KEYS_URL", s.AccessKeysURL)
	c.warnPlain("SINCH_SUBPROJECTS_URL", s.SubprojectsURL)
}

func (c *config) checkDatabase(problems *configError) {
	if problems.names("DATABASE_URL", "DATABASE_MIGRATE_URL") {
		return
	}
	right := "write postgres://user:password@host:5432/database"
	if c.used&needDatabase != 0 && c.Database.URL.IsZero() {
		problems.add("DATABASE_URL", "is not set", right)
	}
	if c.used&needMigrate != 0 && c.Database.URL.IsZero() && c.Database.MigrateURL.IsZero() {
		problems.add("DATABASE_MIGRATE_URL", "is not set, nor is DATABASE_URL", right)
	}
}

// checkPolicy fills in Policy and what the schedule means.
func (c *config) checkPolicy(problems *configError, now time.Time) {
	s := c.Rotation
	c.Labels = rotation.LabelMode(s.Labels)
	c.Scope.Include, _ = rotation.ParsePatterns(s.Include) // checked when it was decoded
	if s.Exclude != "" {
		c.Scope.Exclude, _ = rotation.ParsePatterns(s.Exclude)
	}
	var err error
	if c.Location, err = time.LoadLocation(s.Timezone); err != nil || s.Timezone == "Local" {
		problems.add("ROTATOR_TIMEZONE", fmt.Sprintf("%q is not a time zone", s.Timezone), "write a name such as UTC or Europe/Stockholm")
		return
	}
	if c.Schedule, err = jobs.ParseSchedule(s.Schedule, c.Location); err != nil {
		problems.add("ROTATOR_SCHEDULE", fmt.Sprintf("%q: %v", s.Schedule, err), "write five cron fields, or for example @hourly or @every 6h")
		return
	}
	c.Policy = rotation.Policy{MaxAge: s.MaxAge, Overlap: s.Overlap, Margin: c.margin(now), MarginSet: s.Margin != nil, Adopt: rotation.Adopt(s.Adopt)}
	if err := c.Policy.Validate(); err != nil && !problems.names("ROTATOR_MAX_AGE", "ROTATOR_OVERLAP", "ROTATOR_MARGIN", "ROTATOR_JITTER", "SINCH_VERIFY_TIMEOUT") {
		problems.add("ROTATOR_MAX_AGE", err.Error(), "")
	}
	if s.Overlap < tokenLifetime {
		c.warnf("ROTATOR_OVERLAP is %s: consumers may hold a token of the old key for up to %s", s.Overlap, tokenLifetime)
	}
}

// margin is ROTATOR_MARGIN, or what follows from the schedule.
func (c *config) margin(now time.Time) time.Duration {
	if c.Rotation.Margin != nil {
		return *c.Rotation.Margin
	}
	gap := jobs.LongestGap(c.Schedule, now, marginHorizon)
	return rotation.Margin(gap, c.Rotation.Jitter, c.Sinch.VerifyTimeout)
}

func (c *config) checkAudit(problems *configError) {
	a := c.Audit
	if a.CheckpointMaxAge < a.CheckpointInterval && !problems.names("AUDIT_CHECKPOINT_MAX_AGE", "AUDIT_CHECKPOINT_INTERVAL") {
		problems.add("AUDIT_CHECKPOINT_MAX_AGE", fmt.Sprintf("%s is shorter than AUDIT_CHECKPOINT_INTERVAL, %s", a.CheckpointMaxAge, a.CheckpointInterval), "make it several intervals long")
	}
}

// warnf notes something that is allowed but worth a thought.
func (c *config) warnf(format string, args ...any) {
	c.Warnings = append(c.Warnings, fmt.Sprintf(format, args...))
}

// warnPlain warns about http to another host: secrets would cross the network
// readable.
func (c *config) warnPlain(name, text string) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" || u.Hostname() == "localhost" {
		return
	}
	if ip := net.ParseIP(u.Hostname()); ip == nil || !ip.IsLoopback() {
		c.warnf("%s is plain http to another host: secrets cross the network readable; use https", name)
	}
}
