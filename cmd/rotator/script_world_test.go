package main

import (
	"encoding/base64"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rogpeppe/go-internal/testscript"

	"rotator/internal/postgres/pgtest"
	"rotator/internal/rotation"
	"rotator/internal/sinch/sinchtest"
	"rotator/internal/state"
	"rotator/internal/vault"
	"rotator/internal/vault/vaulttest"
)

// worldKey finds a script's world.
type worldKey struct{}

// world is what a script's rotator lives in, and the hand that moves it.
type world struct {
	t      testing.TB
	script *testscript.Env

	sim      *sinchtest.Server
	own      sinchtest.Issued
	vault    vaulttest.Server
	prefix   string
	pool     *pgxpool.Pool
	secrets  map[string]string // what must not be seen, and what it is
	projects []string

	held      *sinchtest.Held
	before    string // snapshot
	processes map[string]*process
}

func of(ts *testscript.TestScript) *world {
	w, ok := ts.Value(worldKey{}).(*world)
	if !ok {
		ts.Fatalf("there is no world")
	}
	return w
}

const parentProject = "parent"

// theWorld brings everything up and exports what rotator needs to know:
//
//	world [empty-database] [echo-secrets]
//
// The parent's own key is a day old. The database's logins are three: the
// daemon's in DATABASE_URL, the owner's in DATABASE_MIGRATE_URL, the auditor's
// in AUDITOR_URL; OWNER, WRITER and AUDITOR name the roles.
func theWorld(ts *testscript.TestScript, _ bool, args []string) {
	w := of(ts)
	database := pgtest.Database
	if slices.Contains(args, "empty-database") {
		database = pgtest.Empty
	}
	link := database(w.t)
	daemon, installer, roles := pgtest.Writer(w.t, link), pgtest.Installer(w.t, link), pgtest.Roles()
	w.pool = pgtest.Pool(w.t, daemon)
	w.vault, w.prefix = vaulttest.Real(w.t), vaulttest.Prefix()
	w.sim = sinchtest.New(sinchtest.Config{
		TokenRate: -1, ReadyDelay: -1, TokenGrace: -1, EchoSecrets: slices.Contains(args, "echo-secrets"),
	})
	base, err := w.sim.Start()
	ts.Check(err)
	w.t.Cleanup(func() { _ = w.sim.Close() })
	w.sim.AddParent(parentProject, "Parent")
	w.projects = []string{parentProject}
	w.own = w.sim.AddKey(parentProject, "rotator", time.Now().Add(-24*time.Hour))
	w.secrets = map[string]string{w.vault.Token.Reveal(): "the Vault token"}
	for link, whose := range map[string]string{daemon: "the daemon's", installer: "the installer's", pgtest.Auditor(w.t, link): "the auditor's"} {
		u, err := url.Parse(link)
		ts.Check(err)
		if password, ok := u.User.Password(); ok {
			w.secrets[password] = whose + " database password"
		}
	}
	for _, pair := range [][2]string{
		{"SINCH_PROJECT_ID", parentProject},
		{"SINCH_KEY_ID", w.own.KeyID},
		{"SINCH_KEY_SECRET", w.own.Secret},
		{"SINCH_AUTH_URL", base + "/oauth2/token"},
		{"SINCH_ACCESS_KEYS_URL", base},
		{"SINCH_SUBPROJECTS_URL", base},
		{"SINCH_RATE_LIMIT", "1000"},
		{"SINCH_TOKEN_RATE_LIMIT", "1000"},
		{"SINCH_TIMEOUT", "10s"},
		{"SINCH_VERIFY_TIMEOUT", "5s"},
		{"DATABASE_URL", daemon},
		{"DATABASE_MIGRATE_URL", installer},
		{"AUDITOR_URL", pgtest.Auditor(w.t, link)},
		{"OWNER", roles.Owner},
		{"WRITER", roles.Writer},
		{"AUDITOR", roles.Auditor},
		{"VAULT_ADDR", w.vault.Addr},
		{"VAULT_TOKEN", w.vault.Login(w.t, vaulttest.ShippedPolicy(w.t, w.prefix, "audit-"+w.prefix, w.prefix)).Reveal()},
		{"VAULT_KV_PREFIX", w.prefix},
		{"AUDIT_VAULT_PREFIX", "audit-" + w.prefix},
		{"ROTATOR_INCLUDE", "*"},
		{"ROTATOR_STATE_DIR", ts.MkAbs("state")},
		{"ROTATOR_ACTOR", "alice@desk"},
	} {
		ts.Setenv(pair[0], pair[1])
	}
}

// addProject adds a subproject: project ID [LABEL=VALUE ...].
func addProject(ts *testscript.TestScript, _ bool, args []string) {
	w, labels := of(ts), map[string]string{}
	for _, pair := range args[1:] {
		name, value, _ := strings.Cut(pair, "=")
		labels[name] = value
	}
	w.sim.AddSubproject(parentProject, args[0], "Project "+args[0], labels)
	w.projects = append(w.projects, args[0])
}

// addKey makes a key as a person does: key PROJECT NAME AGE [VARIABLE], which
// gets the key's id.
func addKey(ts *testscript.TestScript, _ bool, args []string) {
	age, err := rotation.ParseDuration(args[2])
	ts.Check(err)
	k := of(ts).sim.AddKey(args[0], args[1], time.Now().Add(-age))
	if len(args) > 3 {
		ts.Setenv(args[3], k.KeyID)
	}
}

// removeKey deletes a key as a person does: remove ID.
func removeKey(ts *testscript.TestScript, _ bool, args []string) {
	if !of(ts).sim.RemoveKey(args[0]) {
		ts.Fatalf("there is no key %s", args[0])
	}
}

// sinchIs changes the state of Sinch: sinch down | up | skew DURATION.
func sinchIs(ts *testscript.TestScript, _ bool, args []string) {
	w := of(ts)
	switch args[0] {
	case "down", "up":
		w.sim.SetDown(args[0] == "down")
	case "skew":
		d, err := time.ParseDuration(args[1])
		ts.Check(err)
		w.sim.SetClockSkew(d)
	default:
		ts.Fatalf("sinch %s?", args[0])
	}
}

// addFault makes an operation fail: fault OPERATION STATUS|lost|applied-lost
// [PROJECT].
func addFault(ts *testscript.TestScript, _ bool, args []string) {
	f := sinchtest.Fault{Operation: args[0]}
	switch args[1] {
	case "lost":
		f.Do = sinchtest.Lost()
	case "applied-lost":
		f.Do = sinchtest.AppliedLost()
	default:
		status, err := strconv.Atoi(args[1])
		ts.Check(err)
		f.Do = sinchtest.Status(status)
	}
	if len(args) > 2 {
		f.Project = args[2]
	}
	of(ts).sim.Fault(f)
}

// addHold keeps requests of an operation: hold OPERATION. See arrived, release.
func addHold(ts *testscript.TestScript, _ bool, args []string) {
	w := of(ts)
	var do sinchtest.Behaviour
	do, w.held = sinchtest.Hold()
	w.sim.Fault(sinchtest.Fault{Operation: args[0], Times: 1, Do: do})
	w.t.Cleanup(w.held.Release)
}

// arrived waits until a request is being held.
func arrived(ts *testscript.TestScript, _ bool, _ []string) {
	select {
	case <-of(ts).held.Arrived():
	case <-time.After(processLimit):
		ts.Fatalf("no request arrived to be held")
	}
}

// release lets go of what is held.
func release(ts *testscript.TestScript, _ bool, _ []string) { of(ts).held.Release() }

// holdLease works on a project as another process: lease PROJECT DURATION.
// The project must be known from an earlier run.
func holdLease(ts *testscript.TestScript, _ bool, args []string) {
	w := of(ts)
	d, err := time.ParseDuration(args[1])
	ts.Check(err)
	all, err := state.New(w.pool).Claim(w.t.Context(), state.Claiming{
		Owner: uuid.New(), Since: time.Now().Add(time.Minute), Length: d, Only: args[:1], Known: true,
	}, 1)
	ts.Check(err)
	if len(all) == 0 {
		ts.Fatalf("project %s cannot be leased", args[0])
	}
}

// vaultRole logs rotator in as a role that a policy file governs, in which
// PREFIX stands for the script's own: vault-role FILE [wrapped].
func vaultRole(ts *testscript.TestScript, _ bool, args []string) {
	w := of(ts)
	role := w.vault.AppRole(w.t, strings.ReplaceAll(ts.ReadFile(args[0]), "PREFIX", w.prefix), time.Hour)
	w.secrets[role.SecretID.Reveal()] = "the AppRole's secret id"
	ts.Setenv("VAULT_AUTH_METHOD", "approle")
	ts.Setenv("VAULT_ROLE_ID", role.RoleID)
	ts.Setenv("VAULT_SECRET_ID", role.SecretID.Reveal())
	if slices.Contains(args, "wrapped") {
		wrapping := w.vault.WriteWrapped(w.t, "auth/approle/role/"+role.Name+"/secret-id", nil)
		w.secrets[wrapping] = "the wrapping token"
		ts.Setenv("VAULT_SECRET_ID", wrapping)
		ts.Setenv("VAULT_SECRET_ID_WRAPPED", "true")
	}
}

// vaultWrite writes a credential's path as a person does: vault-write PROJECT
// CREDENTIAL NAME=VALUE ...
func vaultWrite(ts *testscript.TestScript, _ bool, args []string) {
	w, data := of(ts), map[string]any{}
	for _, pair := range args[2:] {
		name, value, _ := strings.Cut(pair, "=")
		data[name] = value
	}
	_, err := w.vault.Client(w.t).KVv2("secret").Put(w.t.Context(), w.path(args[0], args[1]), data)
	ts.Check(err)
}

func (w *world) path(project, credential string) string {
	return w.prefix + "/" + project + "/" + vault.Component(credential)
}

// keyIDs are all keys that the world has ever seen, deleted ones too.
func (w *world) keyIDs() []string {
	var ids []string
	for _, p := range w.projects {
		for _, k := range w.sim.Keys(p) {
			ids = append(ids, k.ID)
		}
	}
	for _, r := range w.sim.Requests() { // a new key is verified or deleted: either names it
		ids = append(ids, r.Key)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// leaked says which secret the text holds, if it holds one.
func (w *world) leaked(text string) string {
	if w.sim == nil {
		return ""
	}
	for _, id := range w.keyIDs() {
		plain, ok := w.sim.Secret(id)
		if !ok {
			continue
		}
		if strings.Contains(text, plain) || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte(id+":"+plain))) {
			return "the secret of key " + id
		}
	}
	for plain, what := range w.secrets {
		if strings.Contains(text, plain) {
			return what
		}
	}
	return ""
}

// writeFile writes a line into a file: writefile NAME TEXT.
func writeFile(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(args[1]+"\n"), 0o600))
}
