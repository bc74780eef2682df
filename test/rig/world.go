package rig

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/jackc/pgx/v5/pgxpool"

	"rotator/internal/postgres/pgcluster"
	"rotator/internal/sinch/sinchtest"
	"rotator/internal/vault/vaulttest"
)

const (
	// Day is 24 hours.
	Day = 24 * time.Hour
	// Parent is the id of the parent project.
	Parent = "parent"
	// logPrefix begins where in Vault the log keeps its checkpoints.
	logPrefix = "audit-"
	// Limit is how long anything in a world may take.
	Limit = 90 * time.Second
)

// Config says what is special about a world. The zero Config has the shared
// servers, and a Sinch without delays.
type Config struct {
	OwnPostgres bool // a server of its own, which Crash may stop
	OwnVault    bool // a server of its own, which may be sealed
	Sim         sinchtest.Config
	Env         []string // settings of rotator's, NAME=VALUE, beside or instead of the rig's
}

// World is a fleet and everything that rotator needs to work on it.
type World struct {
	T       *testing.T
	Sim     *sinchtest.Server
	Own     sinchtest.Issued // rotator's own key, in Parent
	Server  vaulttest.Server
	Vault   *api.Client   // straight to Server
	Prefix  string        // of Vault's paths
	Link    string        // rotator's URL of the database
	Admin   string        // the superuser's
	DB      *pgxpool.Pool // as Admin, not through any gate
	Gate    *Gate
	State   string   // ROTATOR_STATE_DIR
	Program string   // of the processes to come; empty: the one that is tested
	Env     []string // of the processes to come

	Credentials []Credential // that should have a path in Vault

	cluster *pgcluster.Cluster // nil: the shared one
	killed  bool               // a process was killed, and took answers with it that nobody recorded
}

// New makes a world in which the parent has one young key, rotator's own.
func New(t *testing.T, cfg Config) *World {
	t.Helper()
	if testing.Short() {
		t.Skip("needs servers; left out by -short")
	}
	w := &World{T: t, Prefix: vaulttest.Prefix(), State: t.TempDir(), Gate: newGate()}
	if cfg.OwnVault {
		w.Server, _ = vaulttest.Start(t)
	} else {
		w.Server = vaulttest.Real(t)
	}
	w.Vault = w.Server.Client(t)
	w.openDatabase(cfg.OwnPostgres)

	cfg.Sim.TokenRate, cfg.Sim.TokenGrace = -1, -1
	if cfg.Sim.ReadyDelay == 0 {
		cfg.Sim.ReadyDelay = -1
	}
	w.Sim = sinchtest.New(cfg.Sim)
	t.Cleanup(func() { _ = w.Sim.Close() })
	w.Sim.AddParent(Parent, "Parent")
	w.Own = w.Sim.AddKey(Parent, "rotator", time.Now().Add(-Day))
	sinch := w.Gate.web(t, sinchMutation, w.Sim)
	w.Env = append([]string{
		"SINCH_PROJECT_ID=" + Parent, "SINCH_KEY_ID=" + w.Own.KeyID, "SINCH_KEY_SECRET=" + w.Own.Secret,
		"SINCH_AUTH_URL=" + sinch + "/oauth2/token", "SINCH_ACCESS_KEYS_URL=" + sinch, "SINCH_SUBPROJECTS_URL=" + sinch,
		"SINCH_RATE_LIMIT=1000", "SINCH_TOKEN_RATE_LIMIT=1000",
		"DATABASE_URL=" + w.Link,
		"VAULT_ADDR=" + w.Gate.web(t, vaultMutation, forward(t, w.Server.Addr)),
		"VAULT_TOKEN=" + w.Server.Login(t, w.ShippedPolicy()).Reveal(), "VAULT_KV_PREFIX=" + w.Prefix, "AUDIT_VAULT_PREFIX=" + logPrefix + w.Prefix,
		"ROTATOR_INCLUDE=*", "ROTATOR_OVERLAP=1h", "ROTATOR_LABELS=any", "ROTATOR_LEASE=30s", "ROTATOR_CONCURRENCY=1",
		"ROTATOR_STATE_DIR=" + w.State, "ROTATOR_ACTOR=test@rig", "HOME=" + t.TempDir(),
	}, cfg.Env...)
	return w
}

// ShippedPolicy is the policy that deploy/vault ships, for this world.
func (w *World) ShippedPolicy() string {
	w.T.Helper()
	return vaulttest.ShippedPolicy(w.T, w.Prefix, logPrefix+w.Prefix, w.Prefix)
}

// Set changes a setting of the processes to come.
func (w *World) Set(name, value string) {
	w.Env = slices.DeleteFunc(slices.Clone(w.Env), func(pair string) bool { return strings.HasPrefix(pair, name+"=") })
	w.Env = append(w.Env, name+"="+value)
}

// Setting is the value of a setting, empty if there is none.
func (w *World) Setting(name string) string {
	for _, pair := range slices.Backward(w.Env) {
		if value, ok := strings.CutPrefix(pair, name+"="); ok {
			return value
		}
	}
	return ""
}

// Until waits until done says so.
func (w *World) Until(what string, done func() bool) {
	w.T.Helper()
	for begun := time.Now(); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Since(begun) > Limit {
			w.T.Fatalf("waited for %s in vain", what)
		}
	}
}
