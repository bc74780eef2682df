// Package metrics_test scrapes a real daemon at work, and compares what it
// tells with what the world around it has seen: the simulated Sinch's own
// counts, the audit log, the keys that there are.
package metrics_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"rotator/internal/sinch/sinchtest"
	"rotator/test/rig"
)

func TestMain(m *testing.M) { rig.Main(m, 2) }

// daemon is a `rotator serve` to be scraped.
type daemon struct {
	*rig.World
	*rig.Process
	url string
}

func serve(w *rig.World) *daemon {
	w.T.Helper()
	d := &daemon{World: w, Process: w.Start("serve")}
	w.Until("the daemon to listen", func() bool {
		for line := range strings.Lines(d.Err.String()) {
			var said struct{ Msg, Address string }
			if json.Unmarshal([]byte(line), &said) == nil && said.Msg == "listening" {
				d.url = "http://" + said.Address + "/metrics"
			}
		}
		return d.url != ""
	})
	return d
}

// samples are the lines of a scrape by their names and labels, those of
// histograms included.
type samples map[string]float64

// scrape asks for the metrics as Prometheus does. No secret may be in them.
func (d *daemon) scrape() (samples, []string) {
	d.T.Helper()
	answer, err := http.Get(d.url)
	if err != nil {
		d.T.Fatalf("%v; log:\n%s", err, d.Log())
	}
	defer answer.Body.Close() //nolint:errcheck // it has been read
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		d.T.Fatalf("status %d, %v: %s", answer.StatusCode, err, body)
	}
	d.innocent(string(body))
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(string(body)))
	if err != nil {
		d.T.Fatalf("the answer cannot be read: %v\n%s", err, body)
	}
	all, names := samples{}, []string{}
	for name, f := range families {
		names = append(names, name)
		if f.GetType() == dto.MetricType_HISTOGRAM {
			names = append(names, name+"_bucket", name+"_sum", name+"_count")
		}
		for _, m := range f.GetMetric() {
			key := name
			for _, l := range m.GetLabel() {
				key += " " + l.GetName() + "=" + l.GetValue()
			}
			all[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return all, names
}

// innocent fails the test if a text holds a secret of a key or of Vault.
func (d *daemon) innocent(text string) {
	d.T.Helper()
	for _, project := range []string{rig.Parent, "due", "broken", "retire"} {
		for _, k := range d.Sim.Keys(project) {
			if plain, ok := d.Sim.Secret(k.ID); ok && strings.Contains(text, plain) {
				d.T.Errorf("the scrape holds the secret of key %s", k.ID)
			}
		}
	}
	if strings.Contains(text, d.Server.Token.Reveal()) || strings.Contains(text, d.Setting("VAULT_TOKEN")) {
		d.T.Error("the scrape holds a Vault token")
	}
}

// until scrapes until the samples are there.
func (d *daemon) until(want samples) {
	d.T.Helper()
	var got samples
	defer func() {
		if d.T.Failed() {
			d.T.Logf("%v\nlog:\n%s", got, d.Log())
		}
	}()
	d.Until("metrics", func() bool {
		got, _ = d.scrape()
		for name, value := range want {
			if at, ok := got[name]; !ok || at != value {
				return false
			}
		}
		return true
	})
}

// with returns the samples of a metric, without its name.
func (s samples) with(prefix string) samples {
	found := samples{}
	for name, value := range s {
		if rest, ok := strings.CutPrefix(name, prefix+" "); ok {
			found[rest] = value
		}
	}
	return found
}

// TestServe: rotations, one of them failed at first, a deletion and a pause
// show in the metrics, and these agree with the world.
func TestServe(t *testing.T) {
	t.Parallel()
	w := rig.New(t, rig.Config{Env: []string{"ROTATOR_SCHEDULE=@every 1s", "ROTATOR_JITTER=0s", "ROTATOR_LISTEN=127.0.0.1:0"}})
	w.Due("due")
	w.Due("broken")
	w.Past("retire")
	w.Sim.Fault(sinchtest.Fault{Operation: "access_keys.create", Project: "broken", Times: 1, Do: sinchtest.Status(400)})
	w.Sim.Fault(sinchtest.Fault{Operation: "access_keys.get", Project: "due", Times: 1, Do: sinchtest.Lost()})
	d := serve(w)
	d.until(samples{
		"rotator_rotations_total result=rotated step=done":  2,
		"rotator_rotations_total result=failed step=create": 1,
		"rotator_deletions_total kind=retired result=ok":    1,
		"rotator_overdue_keys":                              2, // the old keys of both, until their overlap has passed
		"rotator_paused":                                    0,
	})
	d.until(samples{"rotator_keys project=broken state=superseded": 1})
	d.succeeded()
	w.Run(0, "pause", "--reason", "test")
	d.until(samples{"rotator_paused": 1, "rotator_leases": 0})

	got, names := d.scrape()
	d.compare("rotator_keys", got.with("rotator_keys"), samples{
		"project=parent state=adopted": 1,
		"project=due state=current":    1, "project=due state=superseded": 1,
		"project=broken state=current": 1, "project=broken state=superseded": 1,
		"project=retire state=current": 1,
	})
	d.compare("rotator_key_deadline_timestamp_seconds", got.with("rotator_key_deadline_timestamp_seconds"), d.deadlines())
	d.compare("attempts of calls against the log", got.with("rotator_api_requests_total"), d.logged())
	d.compare("attempts of calls against Sinch's count", got.sinch(), d.counted())
	for _, name := range append(contract(t), alerted(t)...) {
		if !slices.Contains(names, name) {
			t.Errorf("there is no %s", name)
		}
	}
	if age := got["rotator_audit_checkpoint_age_seconds"]; age < 0 || age > rig.Limit.Seconds() {
		t.Errorf("the newest checkpoint is %v s old", age)
	}
	d.Signal(syscall.SIGTERM)
	d.Exits(0)
	d.innocent(d.Log())
}

// succeeded waits for a run that has converged, by its own account just now.
func (d *daemon) succeeded() {
	d.T.Helper()
	var at float64
	d.Until("a run that converges", func() bool {
		got, _ := d.scrape()
		at = got["rotator_last_success_timestamp_seconds"]
		return at > 0
	})
	if ago := time.Since(time.UnixMilli(int64(at * 1000))); ago < 0 || ago > rig.Limit {
		d.T.Errorf("the last success was %s ago", ago)
	}
}

func (d *daemon) compare(what string, got, want samples) {
	d.T.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		d.T.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// deadlines are those of the keys in use: of rotations the newest ones.
func (d *daemon) deadlines() samples {
	all := samples{}
	for project, credential := range map[string]string{rig.Parent: "rotator", "due": "billing", "broken": "billing", "retire": "mail"} {
		var newest time.Time
		for _, k := range d.Sim.Keys(project) {
			if k.CreateTime.After(newest) {
				newest = k.CreateTime
			}
		}
		all["credential="+credential+" project="+project] = float64(newest.Add(90*rig.Day).UnixMilli()) / 1000
	}
	return all
}

// logged are the attempts that the audit log tells of.
func (d *daemon) logged() samples {
	d.T.Helper()
	rows, err := d.DB.Query(d.T.Context(), `SELECT CASE WHEN operation LIKE 'vault.%' THEN 'vault' ELSE 'sinch' END, operation,
			coalesce(nullif(http_status, 0)::text, 'none'), count(*)
		FROM audit.event WHERE type = 'api.call' AND phase = 'outcome' GROUP BY 1, 2, 3`)
	if err != nil {
		d.T.Fatal(err)
	}
	defer rows.Close()
	all := samples{}
	for rows.Next() {
		var service, operation, code string
		var n int
		if err := rows.Scan(&service, &operation, &code, &n); err != nil {
			d.T.Fatal(err)
		}
		all["code="+code+" operation="+operation+" service="+service] = float64(n)
	}
	if err := rows.Err(); err != nil {
		d.T.Fatal(err)
	}
	return all
}

// sinch are the attempts of Sinch's operations as the simulator counts them.
func (s samples) sinch() samples {
	all := samples{}
	for labels, n := range s.with("rotator_api_requests_total") {
		parts := strings.Fields(labels)
		if parts[2] == "service=sinch" {
			code := strings.Replace(strings.TrimPrefix(parts[0], "code="), "none", "0", 1)
			all[strings.TrimPrefix(parts[1], "operation=")+" "+code] = n
		}
	}
	return all
}

func (d *daemon) counted() samples {
	all := samples{}
	for what, n := range d.Sim.Counts() {
		all[what] = float64(n)
	}
	return all
}

// contract are the names that docs/metrics.md promises.
func contract(t *testing.T) []string {
	t.Helper()
	return found(t, "../../docs/metrics.md", "(?m)^\\| `(rotator_[a-z_]+)` \\|", 14)
}

// alerted are the names that the alerts use.
func alerted(t *testing.T) []string {
	t.Helper()
	return found(t, "../../deploy/prometheus/rotator.rules.yml", `\b((?:rotator|process|go)_[a-z_]+)\b`, 8)
}

func found(t *testing.T, file, pattern string, least int) (names []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1) {
		names = append(names, match[1])
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) < least {
		t.Fatalf("%s names only %d metrics: %v", file, len(names), names)
	}
	return names
}
