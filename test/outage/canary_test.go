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
	"rotator/test/rig"
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
	c.add(w.Server.Token.Reveal(), "Vault's root token")
	if u, err := url.Parse(w.Link); err == nil {
		password, _ := u.User.Password()
		c.add(password, "the database's password")
	}
	w.Gate.On(-1, c.overhear, nil)
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
	for _, r := range c.w.Sim.Requests() { // each new key is verified or deleted: either names it
		if secret, ok := c.w.Sim.Secret(r.Key); ok {
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
	c.w.T.Helper()
	if what := c.leak(text); what != "" {
		c.w.T.Errorf("%s holds %s", where, what)
	}
}

// watch samples what the system shows of a process while it lives.
func (c *canary) watch(p *rig.Process) (stop func()) {
	c.w.T.Helper()
	proc := fmt.Sprintf("/proc/%d/", p.Pid())
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
			case <-p.Ended:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() {
		c.w.T.Helper()
		<-done
		c.check("what the system shows of the process", seen.String())
	}
}

// run runs rotator and looks through all that it writes.
func (c *canary) run(args ...string) {
	c.w.T.Helper()
	p := c.w.Start(args...)
	stop := c.watch(p)
	p.Wait()
	stop()
	c.check("the output of "+strings.Join(args, " "), p.Log())
	c.check("the spill", c.w.spill())
}

// force rotates everything, and retires at once what that supersedes.
var force = []string{"run-now", "--force", "--all", "--yes", "--overlap", "0", "--reason", "canary"}

// TestCanary: with everything logged, a Sinch that repeats secrets in its
// errors and a Vault that does the same, no secret gets out.
func TestCanary(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rig.Config{OwnPostgres: true, Sim: sinchtest.Config{EchoSecrets: true}, Env: []string{
		"LOG_LEVEL=debug", "SINCH_VERIFY_TIMEOUT=2s", "ROTATOR_LEASE=5s",
	}})
	w.Set("SINCH_PROBES", "numbers="+w.Setting("SINCH_ACCESS_KEYS_URL"))
	for _, statement := range []string{"alter system set log_min_duration_statement = 0", "select pg_reload_conf()"} {
		w.Exec(statement)
	}
	c := newCanary(w)
	w.fleet()
	c.run("run-now")
	for _, f := range faults {
		w.Sim.Fault(f)
		c.run(force...)
	}
	w.Gate.On(1, rig.Publishing("billing"), echo)
	c.run(force...)
	c.run("keys", "-o", "json")
	c.run("audit", "list", "-o", "json")
	c.dies()
	c.spills()
	c.run("run-now", "-o", "json")
	c.checkDatabase()
	if got, least := len(w.Gate.Creates()), 2*len(faults); got < least {
		t.Errorf("only %d keys were created, want at least %d: the faults did not bite", got, least)
	}
	for _, text := range []string{w.Own.Secret, base64.StdEncoding.EncodeToString([]byte(w.Own.KeyID + ":" + w.Own.Secret))} {
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
func echo(w http.ResponseWriter, r *http.Request, _ func(http.ResponseWriter)) {
	body, _ := io.ReadAll(r.Body)
	w.WriteHeader(http.StatusBadRequest)
	_, _ = fmt.Fprintf(w, `{"errors":[%q,%q]}`, "cannot write "+string(body), "token "+r.Header.Get("X-Vault-Token"))
}

// dies ends a process in the way in which Go writes out all stacks, while it
// has a new key's secret in hand. It may not dump core.
func (c *canary) dies() {
	w := c.w
	h := rig.NewHeld(w.T)
	w.Gate.On(1, rig.Publishing("billing"), h.Before)
	p := w.Start(force...)
	stop := c.watch(p)
	p.Await(h.Arrived)
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.Pid()))
	if err != nil || !noCore.Match(limits) {
		w.T.Errorf("the process may dump core: %v\n%s", err, limits)
	}
	p.Signal(syscall.SIGQUIT)
	stop()
	h.Release()
	p.Says("goroutine ")
	c.check("the stacks of a dying process", p.Log())
	w.Outlast()
}

var noCore = regexp.MustCompile(`(?m)^Max core file size +0 `)

// spills loses Postgres while there is an error with secrets to record.
func (c *canary) spills() {
	w := c.w
	arrived, release := w.HoldSinch(true, sinchtest.Fault{Operation: "access_keys.create"})
	w.Sim.Fault(sinchtest.Fault{Operation: "access_keys.create", Times: 1, Do: sinchtest.AppliedStatus(500)})
	p := w.Start(force...)
	p.Await(arrived)
	w.Crash()
	release()
	p.Wait()
	text := w.spill()
	if !strings.Contains(text, "access_keys.create") {
		w.T.Errorf("nothing was spilled:\n%s", p.Log())
	}
	c.check("the spill", text)
	c.check("the output of a run that spilled", p.Log())
	w.Recover()
	w.Outlast()
}

// checkDatabase looks through a dump of the database and the server's log, in
// which each statement stands with its parameters.
func (c *canary) checkDatabase() {
	w := c.w
	bin, err := pgcluster.FindBinaries(w.T.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		w.T.Fatal(err)
	}
	dump, err := exec.CommandContext(w.T.Context(), filepath.Join(bin, "pg_dump"), "--dbname", w.Admin).Output()
	if err != nil {
		w.T.Fatalf("dumping the database: %v", err)
	}
	if !strings.Contains(string(dump), w.Own.KeyID) {
		w.T.Error("the dump does not hold the log")
	}
	c.check("the database", string(dump))
	log, err := os.ReadFile(filepath.Join(w.ClusterDir(), "log"))
	if err != nil || !strings.Contains(string(log), "audit.append") {
		w.T.Errorf("the server's log does not hold the statements: %v", err)
	}
	c.check("the server's log", string(log))
}
