package outage_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rotator/internal/postgres/pgcluster"
	"rotator/internal/sinch/sinchtest"
)

// canary knows every secret that was ever in use, and looks for them in
// everything that leaves a process.
type canary struct {
	w *world

	mu      sync.Mutex
	secrets map[string]string // and what they are
}

func newCanary(w *world) *canary {
	c := &canary{w: w, secrets: map[string]string{}}
	c.add(w.server.Token.Reveal(), "Vault's root token")
	if u, err := url.Parse(w.link); err == nil {
		password, _ := u.User.Password()
		c.add(password, "the database's password")
	}
	w.gate.on(-1, c.overhear, nil)
	return c
}

func (c *canary) add(text, what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(text) >= 8 {
		c.secrets[text] = what
	}
}

// overhear notes the tokens and passwords that requests carry.
func (c *canary) overhear(r *http.Request) bool {
	kind, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	c.add(text, kind+" authorization")
	c.add(r.Header.Get("X-Vault-Token"), "a Vault token")
	return false
}

// all are the secrets so far, in every spelling.
func (c *canary) all() map[string]string {
	for _, r := range c.w.sim.Requests() { // each new key is verified or deleted: either names it
		if secret, ok := c.w.sim.Secret(r.Key); ok {
			c.add(secret, "the secret of key "+r.Key)
			c.add(base64.StdEncoding.EncodeToString([]byte(r.Key+":"+secret)), "the Basic pair of key "+r.Key)
			c.add(hex.EncodeToString([]byte(secret)), "the secret of key "+r.Key+" in hexadecimal")
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	found := make(map[string]string, len(c.secrets))
	for text, what := range c.secrets {
		found[text] = what
	}
	return found
}

// leak says which secret a text holds; empty if none.
func (c *canary) leak(text string) string {
	for secret, what := range c.all() {
		if strings.Contains(text, secret) {
			return what
		}
	}
	return ""
}

func (c *canary) check(where, text string) {
	c.w.t.Helper()
	if what := c.leak(text); what != "" {
		c.w.t.Errorf("%s holds %s", where, what)
	}
}

// watch samples what the system shows of a process while it lives.
func (c *canary) watch(p *process) (stop func()) {
	c.w.t.Helper()
	proc := fmt.Sprintf("/proc/%d/", p.cmd.Process.Pid)
	var seen strings.Builder
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			for _, name := range []string{"cmdline", "comm", "status"} {
				text, _ := os.ReadFile(proc + name) // gone with its process
				seen.Write(text)
			}
			select {
			case <-p.ended:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() {
		c.w.t.Helper()
		<-done
		c.check("what the system shows of the process", seen.String())
	}
}

// run runs rotator and looks through all that it writes.
func (c *canary) run(args ...string) {
	c.w.t.Helper()
	p := c.w.start(args...)
	stop := c.watch(p)
	p.wait()
	stop()
	c.check("the output of "+strings.Join(args, " "), p.log())
	c.check("the spill", c.w.spill())
}

// force rotates everything, and retires at once what that supersedes.
var force = []string{"run-now", "--force", "--all", "--yes", "--overlap", "0", "--reason", "canary"}

// TestCanary: with everything logged, a Sinch that repeats secrets in its
// errors and a Vault that does the same, no secret gets out.
func TestCanary(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{ownPostgres: true, sim: sinchtest.Config{EchoSecrets: true}, env: []string{
		"LOG_LEVEL=debug", "SINCH_VERIFY_TIMEOUT=2s", "ROTATOR_LEASE=5s",
	}})
	w.set("SINCH_PROBES", "numbers="+w.setting("SINCH_ACCESS_KEYS_URL"))
	for _, statement := range []string{"alter system set log_min_duration_statement = 0", "select pg_reload_conf()"} {
		if _, err := w.db.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	c := newCanary(w)
	w.fleet()
	c.run("run-now")
	for _, f := range faults {
		w.sim.Fault(f)
		c.run(force...)
	}
	w.gate.on(1, publishing("billing"), echo)
	c.run(force...)
	c.run("keys", "-o", "json")
	c.run("audit", "list", "-o", "json")
	c.dies()
	c.spills()
	c.run("run-now", "-o", "json")
	c.checkDatabase()
	if got, least := len(w.creates()), 2*len(faults); got < least {
		t.Errorf("only %d keys were created, want at least %d: the faults did not bite", got, least)
	}
	for _, text := range []string{w.own.Secret, base64.StdEncoding.EncodeToString([]byte(w.own.KeyID + ":" + w.own.Secret))} {
		if c.leak("x"+text+"x") == "" {
			t.Error("the canary is blind")
		}
	}
}

var faults = []sinchtest.Fault{
	{Operation: "access_keys.create", Times: 1, Do: sinchtest.Status(500)},
	{Operation: "access_keys.create", Times: 1, Do: sinchtest.Status(401)},
	{Operation: "access_keys.create", Times: 1, Do: sinchtest.AppliedStatus(503)},
	{Operation: "access_keys.create", Times: 1, Do: sinchtest.AppliedLost()},
	{Operation: "access_keys.create", Times: 1, Do: sinchtest.CutBody()},
	{Operation: "access_keys.create", Times: 1, Do: sinchtest.NotJSON()},
	{Operation: "access_keys.create", Times: 1, Do: sinchtest.UnknownFields()},
	{Operation: "access_keys.list", Times: 2, Do: sinchtest.Status(403)},
	{Operation: "access_keys.get", Project: "due", Times: 9, Do: sinchtest.Status(401)},
	{Operation: "access_keys.update", Times: 1, Do: sinchtest.Status(409)},
	{Operation: "access_keys.delete", Times: 1, Do: sinchtest.Status(400)},
	{Operation: "token.exchange", Project: "due", Times: 1, Do: sinchtest.Status(400)},
	{Operation: "token.exchange", Project: "retire", Times: 1, Do: sinchtest.CutBody()},
	{Operation: "probe.numbers", Times: 1, Do: sinchtest.Status(401)},
	{Operation: "subprojects.list", Times: 1, Do: sinchtest.Status(403)},
}

// echo answers a write with an error that repeats it.
func echo(w http.ResponseWriter, r *http.Request, _ func()) {
	body, _ := io.ReadAll(r.Body)
	w.WriteHeader(http.StatusBadRequest)
	_, _ = fmt.Fprintf(w, `{"errors":[%q,%q]}`, "cannot write "+string(body), "token "+r.Header.Get("X-Vault-Token"))
}

// dies ends a process in the way in which Go writes out all stacks, while it
// has a new key's secret in hand. It may not dump core.
func (c *canary) dies() {
	w := c.w
	h := newHeld(w.t)
	w.gate.on(1, publishing("billing"), h.before)
	p := w.start(force...)
	stop := c.watch(p)
	w.await(h.arrived, p)
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.cmd.Process.Pid))
	if err != nil || !noCore.Match(limits) {
		w.t.Errorf("the process may dump core: %v\n%s", err, limits)
	}
	p.signal(syscall.SIGQUIT)
	stop()
	h.release()
	p.says("goroutine ")
	c.check("the stacks of a dying process", p.log())
	w.outlast()
}

var noCore = regexp.MustCompile(`(?m)^Max core file size +0 `)

// spills loses Postgres while there is an error with secrets to record.
func (c *canary) spills() {
	w := c.w
	arrived, release := w.holdSinch(true, sinchtest.Fault{Operation: "access_keys.create"})
	w.sim.Fault(sinchtest.Fault{Operation: "access_keys.create", Times: 1, Do: sinchtest.AppliedStatus(500)})
	p := w.start(force...)
	w.await(arrived, p)
	w.crash()
	release()
	p.wait()
	text := w.spill()
	if !strings.Contains(text, "access_keys.create") {
		w.t.Errorf("nothing was spilled:\n%s", p.log())
	}
	c.check("the spill", text)
	c.check("the output of a run that spilled", p.log())
	w.recover()
	w.outlast()
}

// checkDatabase looks through a dump of the database and the server's log, in
// which each statement stands with its parameters.
func (c *canary) checkDatabase() {
	w := c.w
	bin, err := pgcluster.FindBinaries(w.t.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	dump, err := exec.CommandContext(w.t.Context(), filepath.Join(bin, "pg_dump"), "--dbname", w.link).Output()
	if err != nil {
		w.t.Fatalf("dumping the database: %v", err)
	}
	if !strings.Contains(string(dump), w.own.KeyID) {
		w.t.Error("the dump does not hold the log")
	}
	c.check("the database", string(dump))
	log, err := os.ReadFile(filepath.Join(w.cluster.Dir(), "log"))
	if err != nil || !strings.Contains(string(log), "audit.append") {
		w.t.Errorf("the server's log does not hold the statements: %v", err)
	}
	c.check("the server's log", string(log))
}

// setting is the value of a setting.
func (w *world) setting(name string) string {
	for _, pair := range w.env {
		if value, ok := strings.CutPrefix(pair, name+"="); ok {
			return value
		}
	}
	return ""
}
