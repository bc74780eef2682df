package metrics_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"rotator/internal/call"
	"rotator/internal/metrics"
)

// newMetrics returns Metrics whose rotations fail at "create" only.
func newMetrics() *metrics.Metrics {
	return metrics.New(slog.New(slog.DiscardHandler), []string{"create"})
}

// scrape asks as Prometheus does.
func scrape(t *testing.T, m *metrics.Metrics) map[string]*dto.MetricFamily {
	t.Helper()
	answer := httptest.NewRecorder()
	request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	request.Header.Set("Accept-Encoding", "gzip")
	m.Handler().ServeHTTP(answer, request)
	if answer.Code != http.StatusOK {
		t.Fatalf("answered %d: %s", answer.Code, answer.Body)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(answer.Body)
	if err != nil {
		t.Fatalf("what was answered cannot be read: %v", err)
	}
	return families
}

// compare holds metrics of a scrape against their text.
func compare(t *testing.T, m *metrics.Metrics, want string, names ...string) {
	t.Helper()
	server := httptest.NewServer(m.Handler())
	defer server.Close()
	if err := testutil.ScrapeAndCompare(server.URL, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
}

// one sets every metric.
func one(m *metrics.Metrics) {
	m.WatchFleet(func(context.Context) (metrics.Fleet, error) {
		return metrics.Fleet{
			Keys:      []metrics.Keys{{Project: "p", State: "current", Count: 2}},
			Deadlines: []metrics.Deadline{{Project: "p", Credential: "api", At: time.Unix(1e9, 5e8)}},
			Orphans:   3, Overdue: 4, Leases: 5, Paused: true,
		}, nil
	})
	m.WatchCheckpoint(func() (time.Duration, bool) { return 90 * time.Second, true })
	m.Rotated()
	m.RotationFailed("create")
	m.Deleted(metrics.Retired)
	m.DeletionFailed(metrics.Orphan)
	m.Ran(2 * time.Second)
	m.Succeeded(time.Unix(2e9, 0))
	m.Request(call.Call{Label: call.Label{Operation: "access_keys.list"}, Service: call.Sinch}, call.Result{Status: 200, Duration: time.Second})
	m.Request(call.Call{Label: call.Label{Operation: "vault.read"}, Service: call.Vault}, call.Result{})
	m.Appended(time.Millisecond)
}

// row is a line of a table of metrics: name, type, labels.
var row = regexp.MustCompile("(?m)^\\| `(rotator_[a-z_]+)` \\| ([a-z]+) \\| ([a-z`, ]*) \\|")

// TestContract: the metrics, their types and labels are those that
// docs/metrics.md lists, no more and no fewer.
func TestContract(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, r := range row.FindAllStringSubmatch(string(text), -1) {
		want = append(want, fmt.Sprintf("%s %s %s", r[1], r[2], strings.ReplaceAll(r[3], "`", "")))
	}
	m := newMetrics()
	one(m)
	var got []string
	families := scrape(t, m)
	for name, f := range families {
		if !strings.HasPrefix(name, "rotator_") {
			continue
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		got = append(got, fmt.Sprintf("%s %s %s", name, strings.ToLower(f.GetType().String()), strings.Join(labels, ", ")))
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("docs/metrics.md against a scrape (-want +got):\n" + diff)
	}
	for _, name := range []string{"go_goroutines", "process_start_time_seconds"} {
		if families[name] == nil {
			t.Errorf("there is no %s", name)
		}
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	m := newMetrics()
	one(m)
	compare(t, m, `
		# HELP rotator_api_requests_total Attempted HTTP requests to Sinch and Vault, by HTTP status; none if no answer came.
		# TYPE rotator_api_requests_total counter
		rotator_api_requests_total{code="200",operation="access_keys.list",service="sinch"} 1
		rotator_api_requests_total{code="none",operation="vault.read",service="vault"} 1
		# HELP rotator_audit_checkpoint_age_seconds Seconds since the newest checkpoint of the audit log was made.
		# TYPE rotator_audit_checkpoint_age_seconds gauge
		rotator_audit_checkpoint_age_seconds 90
		# HELP rotator_deletions_total Deletions that ended, by kind (retired, orphan) and result (ok, failed).
		# TYPE rotator_deletions_total counter
		rotator_deletions_total{kind="orphan",result="failed"} 1
		rotator_deletions_total{kind="orphan",result="ok"} 0
		rotator_deletions_total{kind="retired",result="failed"} 0
		rotator_deletions_total{kind="retired",result="ok"} 1
		# HELP rotator_key_deadline_timestamp_seconds Unix time at which the key that a credential's consumers use reaches its max age.
		# TYPE rotator_key_deadline_timestamp_seconds gauge
		rotator_key_deadline_timestamp_seconds{credential="api",project="p"} 1.0000000005e+09
		# HELP rotator_keys Access keys, by project and state.
		# TYPE rotator_keys gauge
		rotator_keys{project="p",state="current"} 2
		# HELP rotator_last_success_timestamp_seconds Unix time at which a run of this process last converged.
		# TYPE rotator_last_success_timestamp_seconds gauge
		rotator_last_success_timestamp_seconds 2e+09
		# HELP rotator_leases Projects that a process works on now.
		# TYPE rotator_leases gauge
		rotator_leases 5
		# HELP rotator_orphans Access keys that failed attempts left behind.
		# TYPE rotator_orphans gauge
		rotator_orphans 3
		# HELP rotator_overdue_keys Access keys in scope that are older than their max age.
		# TYPE rotator_overdue_keys gauge
		rotator_overdue_keys 4
		# HELP rotator_paused 1 while rotator is paused, else 0.
		# TYPE rotator_paused gauge
		rotator_paused 1
		# HELP rotator_rotations_total Rotations that ended, by result (rotated, failed) and the step at which they failed (done for those that did not).
		# TYPE rotator_rotations_total counter
		rotator_rotations_total{result="failed",step="create"} 1
		rotator_rotations_total{result="rotated",step="done"} 1
		`,
		"rotator_api_requests_total", "rotator_audit_checkpoint_age_seconds", "rotator_deletions_total",
		"rotator_key_deadline_timestamp_seconds", "rotator_keys", "rotator_last_success_timestamp_seconds", "rotator_leases",
		"rotator_orphans", "rotator_overdue_keys", "rotator_paused", "rotator_rotations_total")
	families := scrape(t, m)
	for name, want := range map[string]float64{
		"rotator_run_duration_seconds": 2, "rotator_api_request_duration_seconds": 1, "rotator_audit_append_duration_seconds": 0.001,
	} {
		all := families[name].GetMetric()
		if h := all[0].GetHistogram(); len(all) != 1 || h.GetSampleCount() != 1 || h.GetSampleSum() != want {
			t.Errorf("%s: %v, want one sample of %v", name, all, want)
		}
	}
}

// TestAtTheStart: what is counted stands at 0, so that the first failure is an
// increase; what nobody knows yet is absent.
func TestAtTheStart(t *testing.T) {
	t.Parallel()
	m := newMetrics()
	m.WatchCheckpoint(func() (time.Duration, bool) { return 0, false })
	families := scrape(t, m)
	for name, series := range map[string]int{"rotator_rotations_total": 2, "rotator_deletions_total": 4} {
		if got := len(families[name].GetMetric()); got != series {
			t.Errorf("%s has %d series, want %d", name, got, series)
		}
	}
	for _, name := range []string{"rotator_last_success_timestamp_seconds", "rotator_audit_checkpoint_age_seconds", "rotator_paused"} {
		if families[name] != nil {
			t.Errorf("there is a %s: %v", name, families[name])
		}
	}
}

// TestFleetAway: while the database cannot be asked, its gauges are absent and
// the rest is there; nobody waits for longer than 5 s, or asks more often than
// every 10 s; the log says so once.
func TestFleetAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		m := metrics.New(slog.New(slog.NewTextHandler(&log, nil)), nil)
		asked, good := 0, false
		m.WatchFleet(func(ctx context.Context) (metrics.Fleet, error) {
			asked++
			if good {
				return metrics.Fleet{Orphans: asked}, nil
			}
			<-ctx.Done()
			return metrics.Fleet{Orphans: 7}, errors.New("the database\nis away")
		})
		orphans := func() float64 {
			t.Helper()
			families := scrape(t, m)
			if families["rotator_rotations_total"] == nil {
				t.Error("the rest is absent, too")
			}
			if (families["rotator_orphans"] == nil) != (families["rotator_paused"] == nil) {
				t.Error("half of the fleet's gauges are there")
			}
			if families["rotator_orphans"] == nil {
				return -1
			}
			return families["rotator_orphans"].GetMetric()[0].GetGauge().GetValue()
		}
		begun := time.Now()
		want := func(value float64, readings int, when string) {
			t.Helper()
			if got := orphans(); got != value || asked != readings {
				t.Errorf("%s: %v orphans after %d readings, want %v after %d", when, got, asked, value, readings)
			}
		}
		want(-1, 1, "away")
		if took := time.Since(begun); took != 5*time.Second {
			t.Errorf("the scrape took %s, want 5s", took)
		}
		want(-1, 1, "away, at once again")
		time.Sleep(10 * time.Second)
		want(-1, 2, "still away")
		good = true
		time.Sleep(10 * time.Second)
		want(3, 3, "back")
		time.Sleep(9 * time.Second)
		want(3, 3, "back, 9 s later")
		time.Sleep(time.Second)
		want(4, 4, "back, 10 s later")
		good = false
		time.Sleep(10 * time.Second)
		want(-1, 5, "away again")
		if said := log.String(); strings.Count(said, "level=WARN") != 2 || !strings.Contains(said, `err="the database is away"`) {
			t.Errorf("the log says:\n%s", said)
		}
	})
}

// TestHostileNames: names from outside become valid labels, and names that
// read alike one series; a scrape never fails for them.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	m := newMetrics()
	early, late := time.Unix(1000, 0), time.Unix(2000, 0)
	m.WatchFleet(func(context.Context) (metrics.Fleet, error) {
		return metrics.Fleet{
			Keys: []metrics.Keys{{"p\xff", "current", 1}, {"p\xfe", "current", 2}, {"q\n\"\\", "orphan", 3}},
			Deadlines: []metrics.Deadline{
				{"p", "a\xff", late}, {"p", "a\xfe", early}, {"p", "line\nbreak", late}, {"p", strings.Repeat("ü", 2000), late}, {"p", "", late},
			},
		}, nil
	})
	families := scrape(t, m)
	got := map[string]float64{}
	for _, name := range []string{"rotator_keys", "rotator_key_deadline_timestamp_seconds"} {
		for _, s := range families[name].GetMetric() {
			first := s.GetLabel()[0].GetValue() // of two labels the one that sorts first: credential, or project
			got[first[:min(len(first), 20)]] = s.GetGauge().GetValue()
		}
	}
	want := map[string]float64{"p\uFFFD": 3, "q \"\\": 3, "a\uFFFD": 1000, "line break": 2000, strings.Repeat("ü", 10): 2000, "": 2000}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("labels and values (-want +got):\n" + diff)
	}
}
