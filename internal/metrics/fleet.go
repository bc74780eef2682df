package metrics

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rotator/internal/call"
)

// Fleet is what there is in the installation.
type Fleet struct {
	Keys      []Keys
	Deadlines []Deadline
	Orphans   int
	Overdue   int
	Leases    int
	Paused    bool
}

// Keys counts a project's keys of one state.
type Keys struct {
	Project, State string
	Count          int
}

// Deadline is when a credential's key reaches its max age.
type Deadline struct {
	Project, Credential string
	At                  time.Time
}

const (
	// fresh is how long a reading serves for those who ask after it: nobody
	// can hammer the database through an endpoint that needs no login.
	fresh = 10 * time.Second
	// patience is how long a reading may take.
	patience = 5 * time.Second
)

// WatchFleet reads the fleet at scrape time. It is to be called once.
func (m *Metrics) WatchFleet(read func(context.Context) (Fleet, error)) {
	m.registry.MustRegister(&fleet{read: read, logger: m.logger})
}

// fleet collects the gauges of the fleet.
type fleet struct {
	read   func(context.Context) (Fleet, error)
	logger *slog.Logger

	mu    sync.Mutex // held while reading: whoever comes meanwhile gets the same answer
	asked time.Time
	got   Fleet
	err   error
}

var (
	keysDesc     = desc("rotator_keys", "Access keys, by project and state.", "project", "state")
	deadlineDesc = desc("rotator_key_deadline_timestamp_seconds", "Unix time at which the key that a credential's consumers use reaches its max age.", "project", "credential")
	orphansDesc  = desc("rotator_orphans", "Access keys that failed attempts left behind.")
	overdueDesc  = desc("rotator_overdue_keys", "Access keys in scope that are older than their max age.")
	leasesDesc   = desc("rotator_leases", "Projects that a process works on now.")
	pausedDesc   = desc("rotator_paused", "1 while rotator is paused, else 0.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// Describe names the gauges.
func (f *fleet) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{keysDesc, deadlineDesc, orphansDesc, overdueDesc, leasesDesc, pausedDesc} {
		to <- d
	}
}

// Collect gives the gauges, or nothing at all where the fleet cannot be read:
// neither an old value nor a zero would be true.
func (f *fleet) Collect(to chan<- prometheus.Metric) {
	now, err := f.now()
	if err != nil {
		return
	}
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for at, n := range now.counts() {
		gauge(keysDesc, float64(n), at[0], at[1])
	}
	for of, at := range now.deadlines() {
		gauge(deadlineDesc, seconds(at), of[0], of[1])
	}
	gauge(orphansDesc, float64(now.Orphans))
	gauge(overdueDesc, float64(now.Overdue))
	gauge(leasesDesc, float64(now.Leases))
	paused := 0.0
	if now.Paused {
		paused = 1
	}
	gauge(pausedDesc, paused)
}

// now reads the fleet, unless that was tried just now.
func (f *fleet) now() (Fleet, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.asked.IsZero() && time.Since(f.asked) < fresh {
		return f.got, f.err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	before := f.err
	f.got, f.err = f.read(ctx)
	f.asked = time.Now()
	if f.err != nil && before == nil { // once, not at every scrape
		f.logger.WarnContext(ctx, "metrics of the fleet are left out", "err", call.Sanitize(f.err.Error()))
	}
	return f.got, f.err
}

// pair is two label values.
type pair [2]string

// counts are the keys by what their labels read: names that differ only in
// what a label cannot hold share one.
func (f Fleet) counts() map[pair]int {
	all := make(map[pair]int, len(f.Keys))
	for _, k := range f.Keys {
		all[label(k.Project, k.State)] += k.Count
	}
	return all
}

// deadlines are the same way the earliest ones.
func (f Fleet) deadlines() map[pair]time.Time {
	all := make(map[pair]time.Time, len(f.Deadlines))
	for _, d := range f.Deadlines {
		of := label(d.Project, d.Credential)
		if at, ok := all[of]; !ok || d.At.Before(at) {
			all[of] = d.At
		}
	}
	return all
}

func label(a, b string) pair { return pair{call.Clean(a, labelLimit), call.Clean(b, labelLimit)} }

// WatchCheckpoint tells at scrape time how old the newest checkpoint of the
// audit log is, nothing while there is none. It is to be called once.
func (m *Metrics) WatchCheckpoint(age func() (age time.Duration, ok bool)) {
	m.registry.MustRegister(checkpoint(age))
}

// checkpoint collects the age of the newest checkpoint.
type checkpoint func() (time.Duration, bool)

var checkpointDesc = desc("rotator_audit_checkpoint_age_seconds", "Seconds since the newest checkpoint of the audit log was made.")

// Describe names the gauge.
func (c checkpoint) Describe(to chan<- *prometheus.Desc) { to <- checkpointDesc }

// Collect gives the gauge, if there is a checkpoint.
func (c checkpoint) Collect(to chan<- prometheus.Metric) {
	if age, ok := c(); ok {
		to <- prometheus.MustNewConstMetric(checkpointDesc, prometheus.GaugeValue, age.Seconds())
	}
}
