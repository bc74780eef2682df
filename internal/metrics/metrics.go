// Package metrics is what rotator tells Prometheus. Each Metrics has a registry
// of its own; it also carries the collectors of the Go runtime (go_*) and of
// the process (process_*).
//
//	metric                                   type       labels                     unit, meaning
//	rotator_keys                             gauge      project, state             keys, as the newest look at their project classified them
//	rotator_key_deadline_timestamp_seconds   gauge      project, credential        Unix time at which the key in use reaches its max age
//	rotator_orphans                          gauge                                 keys that failed attempts left behind
//	rotator_overdue_keys                     gauge                                 keys in scope older than their max age
//	rotator_leases                           gauge                                 projects that a process works on now
//	rotator_paused                           gauge                                 1 while the stop switch is on, else 0
//	rotator_rotations_total                  counter    result, step               rotations that ended: rotated (step done), failed (step where)
//	rotator_deletions_total                  counter    kind, result               deletions that ended: retired or orphan, ok or failed
//	rotator_last_success_timestamp_seconds   gauge                                 Unix time at which a run last converged; absent before
//	rotator_run_duration_seconds             histogram                             seconds from a run's start to its end
//	rotator_api_requests_total               counter    service, operation, code   attempts: HTTP status, "none" without an answer
//	rotator_api_request_duration_seconds     histogram  service, operation         seconds from sending to the whole answer
//	rotator_audit_append_duration_seconds    histogram                             seconds until a batch of audit events was committed
//	rotator_audit_checkpoint_age_seconds     gauge                                 seconds since the newest checkpoint; absent before
//	rotator_webhook_deliveries_total         counter    result                     messages to the webhook: ok, failed
//
// The first six are the installation's, read from its database at scrape time:
// each replica tells the same, and none of them if the database cannot be
// asked. The others are this process's own since it began.
//
// No label holds a secret; texts from outside are made valid and harmless.
package metrics

import (
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"rotator/internal/call"
)

// Results, steps and kinds, as labels have them.
const (
	resultRotated = "rotated"
	resultFailed  = "failed"
	resultOK      = "ok"
	stepDone      = "done"
	codeNone      = "none" // no answer came

	// Retired and Orphan are the kinds of deletion.
	Retired = "retired"
	Orphan  = "orphan"
)

// scrapes is how many are answered at once; more get a 503.
const scrapes = 4

// labelLimit is the longest label value, in bytes; credentials' names are cut
// there everywhere.
const labelLimit = 1024

// Metrics counts. Its methods may be called concurrently.
type Metrics struct {
	registry *prometheus.Registry
	logger   *slog.Logger

	rotations   *prometheus.CounterVec
	deletions   *prometheus.CounterVec
	lastSuccess *prometheus.GaugeVec // without labels: a vector is absent until it is set
	runs        prometheus.Histogram
	requests    *prometheus.CounterVec
	latency     *prometheus.HistogramVec
	appends     prometheus.Histogram
	webhook     *prometheus.CounterVec
}

// New returns Metrics. Steps are those at which rotations may fail: their
// counters stand at 0 from the start, so that the first failure is an increase.
func New(logger *slog.Logger, steps []string) *Metrics {
	m := &Metrics{
		registry:    prometheus.NewRegistry(),
		logger:      logger,
		rotations:   counter("rotations_total", "Rotations that ended, by result (rotated, failed) and the step at which they failed (done for those that did not).", "result", "step"),
		deletions:   counter("deletions_total", "Deletions that ended, by kind (retired, orphan) and result (ok, failed).", "kind", "result"),
		lastSuccess: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "rotator_last_success_timestamp_seconds", Help: "Unix time at which a run of this process last converged."}, nil),
		runs:        prometheus.NewHistogram(histogram("run_duration_seconds", "How long runs took, in seconds.", prometheus.ExponentialBuckets(0.25, 4, 9))),
		requests:    counter("api_requests_total", "Attempted HTTP requests to Sinch and Vault, by HTTP status; none if no answer came.", "service", "operation", "code"),
		latency:     prometheus.NewHistogramVec(histogram("api_request_duration_seconds", "How long HTTP requests took, whole answer included, in seconds.", latencies()), []string{"service", "operation"}),
		appends:     prometheus.NewHistogram(histogram("audit_append_duration_seconds", "How long it took to commit a batch of audit events, in seconds.", prometheus.ExponentialBuckets(0.0005, 2, 15))),
		webhook:     counter("webhook_deliveries_total", "Messages to the webhook that ended, by result (ok, failed).", "result"),
	}
	m.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.rotations, m.deletions, m.lastSuccess, m.runs, m.requests, m.latency, m.appends, m.webhook,
	)
	m.rotations.WithLabelValues(resultRotated, stepDone)
	m.webhook.WithLabelValues(resultOK)
	m.webhook.WithLabelValues(resultFailed)
	for _, step := range steps {
		m.rotations.WithLabelValues(resultFailed, step)
	}
	for _, kind := range []string{Retired, Orphan} {
		m.deletions.WithLabelValues(kind, resultOK)
		m.deletions.WithLabelValues(kind, resultFailed)
	}
	return m
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rotator_" + name, Help: help}, labels)
}

func histogram(name, help string, buckets []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{Name: "rotator_" + name, Help: help, Buckets: buckets}
}

// latencies are bounds up to twice the default of SINCH_TIMEOUT.
func latencies() []float64 {
	return []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30}
}

// Handler answers a scrape in Prometheus' text format, uncompressed. What
// cannot be collected is left out; the rest is answered all the same.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog:      slog.NewLogLogger(m.logger.Handler(), slog.LevelWarn),
		ErrorHandling: promhttp.ContinueOnError, DisableCompression: true, MaxRequestsInFlight: scrapes,
	})
}

// Request counts an attempt and how it ended.
func (m *Metrics) Request(c call.Call, r call.Result) {
	code := codeNone
	if r.Status != 0 {
		code = strconv.Itoa(r.Status)
	}
	m.requests.WithLabelValues(c.Service, c.Operation, code).Inc()
	if r.Duration > 0 { // unknown of attempts that Go's transport repeated by itself
		m.latency.WithLabelValues(c.Service, c.Operation).Observe(r.Duration.Seconds())
	}
}

// Rotated counts a rotation that succeeded.
func (m *Metrics) Rotated() { m.rotations.WithLabelValues(resultRotated, stepDone).Inc() }

// RotationFailed counts a rotation that failed at a step.
func (m *Metrics) RotationFailed(step string) {
	m.rotations.WithLabelValues(resultFailed, step).Inc()
}

// Deleted counts a deletion of a kind, Retired or Orphan, that succeeded.
func (m *Metrics) Deleted(kind string) { m.deletions.WithLabelValues(kind, resultOK).Inc() }

// DeletionFailed counts a deletion of a kind that failed.
func (m *Metrics) DeletionFailed(kind string) {
	m.deletions.WithLabelValues(kind, resultFailed).Inc()
}

// Ran counts a run and how long it took.
func (m *Metrics) Ran(took time.Duration) { m.runs.Observe(took.Seconds()) }

// Succeeded notes when a run converged.
func (m *Metrics) Succeeded(at time.Time) {
	m.lastSuccess.WithLabelValues().Set(seconds(at))
}

// Appended counts a batch of audit events and how long its commit took.
func (m *Metrics) Appended(took time.Duration) { m.appends.Observe(took.Seconds()) }

// Delivered counts a message to the webhook, delivered or given up.
func (m *Metrics) Delivered(ok bool) {
	result := resultFailed
	if ok {
		result = resultOK
	}
	m.webhook.WithLabelValues(result).Inc()
}

// seconds is a time as Prometheus has it.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
