// Package serve_test runs the daemon, `rotator serve`, in package rig's world:
// several replicas, dependencies that are not there yet, rotator's own key.
package serve_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"testing"
	"time"

	"rotator/test/rig"
)

func TestMain(m *testing.M) { rig.Main(m, 4) }

// world is a rig's with a schedule that ticks all the time.
type world struct{ *rig.World }

func newWorld(t *testing.T, cfg rig.Config) *world {
	t.Helper()
	cfg.Env = append([]string{
		"ROTATOR_SCHEDULE=@every 1s", "ROTATOR_JITTER=0s", "ROTATOR_LISTEN=127.0.0.1:0", "ROTATOR_LEASE=5s",
		"SINCH_TIMEOUT=5s", "SINCH_VERIFY_TIMEOUT=4s", "ROTATOR_MARGIN=2d",
	}, cfg.Env...)
	return &world{rig.New(t, cfg)}
}

// daemon is a replica.
type daemon struct {
	*rig.Process
	w       *world
	address string
}

var listening = regexp.MustCompile(`"msg":"listening","address":"([^"]+)"`)

// serve starts a replica.
func (w *world) serve(args ...string) *daemon {
	w.T.Helper()
	d := &daemon{Process: w.Start(append([]string{"serve"}, args...)...), w: w}
	w.Until("the daemon to listen", func() bool {
		if m := listening.FindStringSubmatch(d.Log()); m != nil {
			d.address = m[1]
		}
		return d.address != "" || d.ended()
	})
	if d.ended() {
		w.T.Fatalf("the daemon ended: exit code %d\n%s", d.Wait(), d.Log())
	}
	return d
}

func (d *daemon) ended() bool {
	select {
	case <-d.Ended:
		return true
	default:
		return false
	}
}

// get asks a probe, and returns its status and what it says.
func (d *daemon) get(path string) (status int, body map[string]any) {
	d.w.T.Helper()
	req, err := http.NewRequestWithContext(d.w.T.Context(), http.MethodGet, "http://"+d.address+path, nil)
	if err != nil {
		d.w.T.Fatal(err)
	}
	answer, err := (&http.Client{Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		d.w.T.Fatalf("%s: %v\n%s", path, err, d.Log())
	}
	defer answer.Body.Close() //nolint:errcheck // it was read
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil {
		d.w.T.Fatalf("%s: %v", path, err)
	}
	return answer.StatusCode, body
}

// ready waits until the daemon is.
func (d *daemon) ready() {
	d.w.T.Helper()
	d.w.Until("the daemon to be ready", func() bool { status, _ := d.get("/readyz"); return status == http.StatusOK })
}

// unready waits until the daemon says that a check fails, and why.
func (d *daemon) unready(check string) (why string) {
	d.w.T.Helper()
	d.w.Until("the daemon not to be ready for "+check, func() bool {
		_, body := d.get("/readyz")
		checks, _ := body["checks"].(map[string]any)
		why, _ = checks[check].(string)
		return body["ready"] == false && why != "" && why != "ok"
	})
	if status, body := d.get("/healthz"); status != http.StatusOK || body["alive"] != true {
		d.w.T.Errorf("while it waits, /healthz answers %d %v", status, body)
	}
	return why
}

// stop ends a replica as an orchestrator does.
func (d *daemon) stop() {
	d.w.T.Helper()
	d.Signal(terminate)
	d.Exits(0)
}

// made are the publications of keys that rotator itself has made: what Vault
// alone remembered at the start is recorded anew, too.
const made = `from audit.event p join audit.event c on c.key_id = p.key_id and c.type = 'rotation.created' where p.type = 'rotation.published'`

// rotated waits until so many projects have a new key.
func (w *world) rotated(projects int) {
	w.T.Helper()
	w.Until("keys to be rotated", func() bool { return w.One(`select count(distinct p.project_id) `+made) == projects })
}

// runs is how many scheduled runs have ended.
func (w *world) runs() int {
	w.T.Helper()
	return w.One(`select count(*) from rotator.run where trigger = 'schedule' and finished_at is not null`)
}
