package main

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/rotation"
)

// minimal is the least that every section needs.
func minimal() envFile {
	return envFile{
		"SINCH_PROJECT_ID": "parent",
		"DATABASE_URL":     "postgres://rotator:hunter2hunter2@db/rotator",
		"VAULT_TOKEN":      "s.token",
		"ROTATOR_INCLUDE":  "*",
		"ROTATOR_ACTOR":    "alice@desk",
	}
}

// with returns env and the given NAME, value pairs on top.
func (f envFile) with(pairs ...string) envFile {
	out := maps.Clone(f)
	for pair := range slices.Chunk(pairs, 2) {
		out[pair[0]] = pair[1]
	}
	return out
}

func mustLoad(t *testing.T, need needs, env lookuper, files ...string) *config {
	t.Helper()
	c, err := loadConfig(t.Context(), need, env, files)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// problemsOf loads and returns the message, which must be a configError's.
func problemsOf(t *testing.T, need needs, env lookuper, files ...string) string {
	t.Helper()
	_, err := loadConfig(t.Context(), need, env, files)
	if e, ok := errors.AsType[configError](err); !ok || len(e) == 0 {
		t.Fatalf("got error %v, want a configError", err)
	}
	return err.Error()
}

func TestDefaultsAreTheDesigns(t *testing.T) {
	t.Parallel()
	// The table of the design, section 4, in its words.
	want := map[string]string{
		"SINCH_PROJECT_ID": "required", "SINCH_KEY_ID": "", "SINCH_KEY_SECRET": "",
		"SINCH_AUTH_URL":        "https://auth.sinch.com/oauth2/token",
		"SINCH_ACCESS_KEYS_URL": "https://account.api.sinch.com",
		"SINCH_SUBPROJECTS_URL": "https://subproject.api.sinch.com",
		"SINCH_SUBPROJECTS":     "auto", "SINCH_AUTH_METHOD": "oauth2",
		"SINCH_RATE_LIMIT": "20", "SINCH_TOKEN_RATE_LIMIT": "10", "SINCH_TOKEN_BURST": "30",
		"SINCH_TIMEOUT": "15s", "SINCH_VERIFY_TIMEOUT": "2m", "SINCH_PROBES": "none",
		"DATABASE_URL": "required", "DATABASE_MIGRATE_URL": "",
		"VAULT_ADDR": "https://127.0.0.1:8200", "VAULT_NAMESPACE": "", "VAULT_CACERT": "", "VAULT_CAPATH": "",
		"VAULT_CLIENT_CERT": "", "VAULT_CLIENT_KEY": "", "VAULT_TLS_SERVER_NAME": "", "VAULT_SKIP_VERIFY": "false",
		"VAULT_AUTH_METHOD": "token", "VAULT_TOKEN": "", "VAULT_ROLE_ID": "", "VAULT_SECRET_ID": "",
		"VAULT_SECRET_ID_WRAPPED": "false",
		"VAULT_AUTH_ROLE":         "", "VAULT_AUTH_MOUNT": "the method's name", "VAULT_JWT_FILE": "",
		"VAULT_KV_MOUNT": "secret", "VAULT_KV_PREFIX": "sinch",
		"ROTATOR_INCLUDE": "required", "ROTATOR_EXCLUDE": "none",
		"ROTATOR_MAX_AGE": "90d", "ROTATOR_OVERLAP": "7d", "ROTATOR_MARGIN": "derived",
		"ROTATOR_SCHEDULE": "@hourly", "ROTATOR_TIMEZONE": "UTC", "ROTATOR_JITTER": "5m",
		"ROTATOR_RECHECK": "24h", "ROTATOR_CONCURRENCY": "8", "ROTATOR_LEASE": "60s", "ROTATOR_SELF": "found",
		"ROTATOR_MAX_ROTATIONS": "unlimited", "ROTATOR_MAX_DELETIONS": "unlimited", "ROTATOR_MAX_FAILURES": "10",
		"ROTATOR_MAX_CLOCK_SKEW": "30s", "ROTATOR_ADOPT": "delete", "ROTATOR_LABELS": "stricter", "ROTATOR_ONBOARD": "none",
		"ROTATOR_SHUTDOWN_TIMEOUT": "20s",
		"ROTATOR_STATE_DIR":        "$STATE_DIRECTORY, else $XDG_STATE_HOME/rotator, else /var/lib/rotator",
		"ROTATOR_ACTOR":            "user@host", "ROTATOR_LISTEN": "127.0.0.1:9464", "ROTATOR_WEBHOOK_URL": "",
		"AUDIT_VAULT_PREFIX": "rotator-audit", "AUDIT_SPILL_DIR": "ROTATOR_STATE_DIR", "AUDIT_CHECKPOINT_INTERVAL": "60s",
		"AUDIT_CHECKPOINT_MAX_AGE": "1h", "AUDIT_CHECKPOINT_DIR": "none", "AUDIT_SIGNER": "kv", "AUDIT_VERIFIER_KEYS": "none",
		"LOG_LEVEL": "info", "LOG_FORMAT": "json (text on a terminal)",
	}
	got := map[string]string{}
	for _, row := range configTable() {
		if row.Description == "" {
			t.Errorf("%s has no description", row.Name)
		}
		got[row.Name] = row.Default
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("defaults (-design +code):\n" + diff)
	}
}

func TestDefaultsLoad(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, needAll, minimal())
	hour := time.Hour
	// Two hourly gaps, twice 5 minutes of jitter, 2 minutes to verify, a day.
	want := rotation.Policy{MaxAge: 90 * 24 * hour, Overlap: 7 * 24 * hour, Margin: 26*hour + 12*time.Minute, Adopt: rotation.AdoptDelete}
	if diff := cmp.Diff(want, c.Policy); diff != "" {
		t.Error("policy (-want +got):\n" + diff)
	}
	if c.Run.MaxRotations >= 0 || c.Run.MaxDeletions >= 0 {
		t.Errorf("limits are %d and %d, want negative, which is unlimited", c.Run.MaxRotations, c.Run.MaxDeletions)
	}
	if c.Process.StateDir != "/var/lib/rotator" || c.Audit.SpillDir != "/var/lib/rotator" {
		t.Errorf("state goes to %q, spill files to %q", c.Process.StateDir, c.Audit.SpillDir)
	}
	if len(c.Scope.Include) != 1 || len(c.Scope.Exclude) != 0 || c.Labels != rotation.LabelsStricter || c.Vault.AuthMount != "token" {
		t.Errorf("scope %v, labels %q, login at %q", c.Scope, c.Labels, c.Vault.AuthMount)
	}
	if len(c.Warnings) > 0 {
		t.Errorf("warnings without a reason: %q", c.Warnings)
	}
}

func TestOneMessageListsEverything(t *testing.T) {
	t.Parallel()
	secretText := "postgres://rotator:hunter2hunter2@[broken"
	msg := problemsOf(t, needAll, envFile{
		"DATABASE_URL":             secretText,
		"DATABASE_MIGRATE_URL":     "password=hunter2hunter2 port=x",
		"SINCH_KEY_ID":             "id",
		"SINCH_AUTH_URL":           "ftp://user:hunter2hunter2@host",
		"SINCH_TOKEN_BURST":        "0",
		"SINCH_RATE_LIMIT":         "NaN",
		"SINCH_SUBPROJECTS":        "v2",
		"VAULT_AUTH_METHOD":        "approle",
		"VAULT_KV_PREFIX":          "sinch/keys",
		"AUDIT_VAULT_PREFIX":       "sinch",
		"AUDIT_SIGNER":             "transit:key",
		"AUDIT_VERIFIER_KEYS":      "nonsense",
		"AUDIT_CHECKPOINT_MAX_AGE": "1s",
		"ROTATOR_LEASE":            "2s",
		"ROTATOR_MAX_ROTATIONS":    "-1",
		"ROTATOR_JITTER":           "soon",
		"ROTATOR_SCHEDULE":         "CRON_TZ=UTC",
		"ROTATOR_LISTEN":           "9464",
		"VAULT_CACERT":             "/does/not/exist.pem",
	})
	for _, want := range []string{
		"SINCH_PROJECT_ID: is not set", "DATABASE_URL: its value (not shown) is not a Postgres URL",
		"SINCH_KEY_SECRET: SINCH_KEY_ID and SINCH_KEY_SECRET belong together", "SINCH_AUTH_URL: its value (not shown) is not an http or https URL",
		`SINCH_TOKEN_BURST: "0" is not a whole number from 1`, `SINCH_RATE_LIMIT: "NaN" is not a rate`, `SINCH_SUBPROJECTS: "v2" is not known; write one of auto, v1, v1alpha1, off`,
		"VAULT_ROLE_ID: is not set", "VAULT_SECRET_ID: is not set", `AUDIT_VAULT_PREFIX: "sinch" and VAULT_KV_PREFIX "sinch/keys" begin alike`,
		`AUDIT_SIGNER: "transit:key" is not a signer`, "AUDIT_VERIFIER_KEYS: ", "AUDIT_CHECKPOINT_MAX_AGE: 1s is shorter",
		`ROTATOR_LEASE: "2s" is too short; write at least 3s`, `ROTATOR_MAX_ROTATIONS: "-1" is not a whole number from 0`,
		`ROTATOR_JITTER: "soon" is not a duration`, `ROTATOR_SCHEDULE: "CRON_TZ=UTC": names a time zone but no times`,
		`ROTATOR_LISTEN: "9464" is not an address`, "ROTATOR_INCLUDE: is not set", `VAULT_CACERT: "/does/not/exist.pem" cannot be found: no such file`,
		"21 problems in the configuration:",
	} {
		if !strings.Contains(msg, want) {
			t.Errorf("the message lacks %q", want)
		}
	}
	if strings.Contains(msg, "hunter2") {
		t.Error("the message shows a password")
	}
	if t.Failed() {
		t.Log(msg)
	}
}

func TestEachCommandValidatesOnlyWhatItUses(t *testing.T) {
	t.Parallel()
	broken := envFile{"SINCH_TIMEOUT": "x", "VAULT_AUTH_METHOD": "x", "ROTATOR_MAX_AGE": "x", "AUDIT_SIGNER": "x", "ROTATOR_LISTEN": "x", "ROTATOR_LEASE": "x"}
	mustLoad(t, needNothing, broken)
	mustLoad(t, needDatabase, broken.with("DATABASE_URL", "postgres://db/rotator"))
	mustLoad(t, needMigrate, broken.with("DATABASE_MIGRATE_URL", "postgres://db/rotator"))
	for need, variable := range map[needs]string{
		needSinch: "SINCH_TIMEOUT", needDatabase: "DATABASE_URL", needMigrate: "DATABASE_MIGRATE_URL", needVault: "VAULT_AUTH_METHOD",
		needPolicy: "ROTATOR_MAX_AGE", needAudit: "AUDIT_SIGNER", needServe: "ROTATOR_LISTEN", needRun: "ROTATOR_LEASE",
	} {
		if msg := problemsOf(t, need, broken); !strings.Contains(msg, "\n  "+variable+": ") {
			t.Errorf("need %b does not complain about %s:\n%s", need, variable, msg)
		}
	}
	if msg := problemsOf(t, needNothing, envFile{"LOG_LEVEL": "loud"}); !strings.Contains(msg, "LOG_LEVEL") {
		t.Errorf("the process's own settings are not checked: %s", msg)
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		env  envFile
		want string
	}{
		"policy without room":   {minimal().with("ROTATOR_MAX_AGE", "10d"), "ROTATOR_MAX_AGE: max age 10d leaves no room"},
		"explicit margin":       {minimal().with("ROTATOR_MARGIN", "80d"), "margin of 80d"},
		"rare schedule":         {minimal().with("ROTATOR_SCHEDULE", "0 3 1 */2 *"), "ROTATOR_MAX_AGE: max age 90d leaves no room"},
		"unknown time zone":     {minimal().with("ROTATOR_TIMEZONE", "Mars/Olympus"), `"Mars/Olympus" is not a time zone`},
		"machine's time zone":   {minimal().with("ROTATOR_TIMEZONE", "Local"), `"Local" is not a time zone`},
		"bad pattern":           {minimal().with("ROTATOR_EXCLUDE", ","), "ROTATOR_EXCLUDE: "},
		"prefix inside another": {minimal().with("AUDIT_VAULT_PREFIX", "sinch-audit"), "AUDIT_VAULT_PREFIX: "},
		"slash at the end":      {minimal().with("VAULT_KV_PREFIX", "sinch/"), "VAULT_KV_PREFIX: "},
		"cert login":            {minimal().with("VAULT_AUTH_METHOD", "cert", "VAULT_CLIENT_KEY", "config.go"), "VAULT_CLIENT_CERT: is not set"},
		"jwt login":             {minimal().with("VAULT_AUTH_METHOD", "jwt", "VAULT_AUTH_ROLE", "r"), "VAULT_JWT_FILE: is not set"},
		"kubernetes login":      {minimal().with("VAULT_AUTH_METHOD", "kubernetes", "VAULT_JWT_FILE", "config.go"), "VAULT_AUTH_ROLE: is not set"},
		"outside a pod":         {minimal().with("VAULT_AUTH_METHOD", "kubernetes", "VAULT_AUTH_ROLE", "r"), "VAULT_JWT_FILE: is not set, and the pod's own /var/run/secrets"},
		"cert without TLS":      {minimal().with("VAULT_AUTH_METHOD", "cert", "VAULT_CLIENT_CERT", "config.go", "VAULT_CLIENT_KEY", "config.go", "VAULT_ADDR", "http://127.0.0.1:8200"), "VAULT_ADDR: is plain http"},
		"half a certificate":    {minimal().with("VAULT_CLIENT_CERT", "config.go"), "VAULT_CLIENT_KEY: VAULT_CLIENT_CERT and VAULT_CLIENT_KEY belong together"},
		"wrapped token":         {minimal().with("VAULT_SECRET_ID_WRAPPED", "true"), "VAULT_SECRET_ID_WRAPPED: belongs to the login method approle, not to token"},
		"no token":              {minimal().with("VAULT_TOKEN", ""), "VAULT_TOKEN: is not set"},
		"user in URL":           {minimal().with("VAULT_ADDR", "https://u@vault"), "VAULT_ADDR: its value (not shown) has a user name"},
		"not true or false":     {minimal().with("VAULT_SKIP_VERIFY", "yes please"), "VAULT_SKIP_VERIFY: "},
		"unknown probe":         {minimal().with("SINCH_PROBES", "teleport"), "SINCH_PROBES: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			msg := problemsOf(t, needAll, test.env)
			if !strings.Contains(msg, test.want) || !strings.HasPrefix(msg, "1 problem in") {
				t.Errorf("got %q, want one problem with %q", msg, test.want)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		env  envFile
		want string // empty: none
	}{
		"short overlap":   {minimal().with("ROTATOR_OVERLAP", "59m"), "ROTATOR_OVERLAP is 59m"},
		"an hour":         {minimal().with("ROTATOR_OVERLAP", "1h"), ""},
		"basic auth":      {minimal().with("SINCH_AUTH_METHOD", "basic"), "SINCH_AUTH_METHOD=basic"},
		"plain http":      {minimal().with("VAULT_ADDR", "http://vault:8200"), "VAULT_ADDR is plain http"},
		"plain loopback":  {minimal().with("VAULT_ADDR", "http://127.0.0.1:8200"), ""},
		"unchecked TLS":   {minimal().with("VAULT_SKIP_VERIFY", "true"), "VAULT_SKIP_VERIFY"},
		"typing error":    {minimal().with("ROTATOR_OVERLAPS", "7d"), "unknown variable ROTATOR_OVERLAPS; did you mean ROTATOR_OVERLAP?"},
		"nothing like it": {minimal().with("AUDIT_COLOUR_OF_THE_LOG", "red"), "unknown variable AUDIT_COLOUR_OF_THE_LOG"},
		"someone else's":  {minimal().with("SINCH_REGION", "eu"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := mustLoad(t, needAll, test.env).Warnings
			if test.want == "" && len(got) > 0 || test.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], test.want)) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestMarginFollowsTheSchedule(t *testing.T) {
	t.Parallel()
	daily := mustLoad(t, needPolicy, minimal().with("ROTATOR_SCHEDULE", "0 3 * * 1-5", "ROTATOR_JITTER", "0"))
	// From Friday to Monday, twice, and a day and 2 minutes.
	if want := 7*24*time.Hour + 2*time.Minute; daily.Policy.Margin != want {
		t.Errorf("margin on weekdays is %s, want %s", daily.Policy.Margin, want)
	}
	none := mustLoad(t, needPolicy, minimal().with("ROTATOR_MARGIN", "0s"))
	if none.Policy.Margin != 0 {
		t.Errorf("ROTATOR_MARGIN=0s gives %s", none.Policy.Margin)
	}
}

func TestStateDir(t *testing.T) {
	t.Parallel()
	for want, env := range map[string]envFile{
		"/set":                {"ROTATOR_STATE_DIR": "/set", "STATE_DIRECTORY": "/systemd"},
		"/systemd":            {"STATE_DIRECTORY": "/systemd:/other", "XDG_STATE_HOME": "/home/state"},
		"/home/state/rotator": {"XDG_STATE_HOME": "/home/state"},
		"/var/lib/rotator":    {"XDG_STATE_HOME": "relative"},
	} {
		if got := mustLoad(t, needNothing, env).Process.StateDir; got != want {
			t.Errorf("%v gives %q, want %q", env, got, want)
		}
	}
}

func TestActorNamesPersonAndHost(t *testing.T) {
	t.Parallel()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	actor := mustLoad(t, needNothing, envFile{}).Process.Actor
	if name, ok := strings.CutSuffix(actor, "@"+host); !ok || name == "" {
		t.Errorf("actor is %q, want someone@%s", actor, host)
	}
}

func TestFingerprint(t *testing.T) {
	t.Parallel()
	sum := func(pairs ...string) string { return mustLoad(t, needAll, minimal().with(pairs...)).sha256() }
	if sum() != sum("ROTATOR_MAX_AGE", "90d") || sum() != sum("VAULT_TOKEN", "another") {
		t.Error("the fingerprint depends on how a default was given, or on a secret's text")
	}
	seen := map[string]string{sum(): "the defaults"}
	for _, pair := range [][2]string{{"ROTATOR_MAX_AGE", "91d"}, {"ROTATOR_MARGIN", "2d"}, {"ROTATOR_EXCLUDE", "x"}, {"SINCH_TIMEOUT", "16s"}, {"DATABASE_MIGRATE_URL", "postgres://db"}} {
		s := sum(pair[0], pair[1])
		if other, ok := seen[s]; ok {
			t.Errorf("%s has the fingerprint of %s", pair, other)
		}
		seen[s] = pair[0]
	}
}

func TestVaultClientTakesTheSettings(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, needVault, minimal().with("VAULT_ADDR", "https://vault.example:8200", "VAULT_SKIP_VERIFY", "true"))
	v, err := c.vaultClient()
	if err != nil || v.Address != "https://vault.example:8200" || !v.TLSConfig().InsecureSkipVerify {
		t.Errorf("got %+v, %v", v, err)
	}
	path := filepath.Join(t.TempDir(), "ca.pem")
	write(t, path, "not a certificate")
	if _, err := mustLoad(t, needVault, minimal().with("VAULT_CACERT", path)).vaultClient(); err == nil {
		t.Error("a CA file without a certificate is accepted")
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
