// Package alerts_test reads the shipped alerts as Prometheus does, and lets
// them fire. It is a module of its own, so that the product does not depend on
// Prometheus.
package alerts_test

import (
	"maps"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
)

const file = "../../deploy/prometheus/rotator.rules.yml"

// rules are the alerts by name.
func rules(t *testing.T) map[string]rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.ParseFile(file, false, model.LegacyValidation)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	all := map[string]rulefmt.Rule{}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			all[r.Alert] = r
		}
	}
	return all
}

// TestRules: Prometheus accepts the file, and each alert says what is wrong
// and what to do. All metrics are rotator's own, which test/metrics looks for
// in a real scrape, or Prometheus' and the blackbox exporter's.
func TestRules(t *testing.T) {
	t.Parallel()
	own := regexp.MustCompile(`^(rotator|process|go)_[a-z_]+$`)
	sentence := regexp.MustCompile("^[\"`/A-Za-z].*[.]$")
	for name, r := range rules(t) {
		if name == "" {
			t.Errorf("a rule is no alert: %s", r.Expr)
		}
		for _, part := range []string{"summary", "runbook"} {
			if !sentence.MatchString(r.Annotations[part]) && part == "runbook" || r.Annotations[part] == "" {
				t.Errorf("%s: %s %q is no sentence", name, part, r.Annotations[part])
			}
		}
		if r.Labels["severity"] != "warning" && r.Labels["severity"] != "critical" {
			t.Errorf("%s: severity %q", name, r.Labels["severity"])
		}
		expr, err := parser.ParseExpr(r.Expr)
		if err != nil {
			t.Fatal(err)
		}
		parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
			if v, ok := n.(*parser.VectorSelector); ok && !own.MatchString(v.Name) && v.Name != "up" && v.Name != "probe_success" {
				t.Errorf("%s: nobody tells %s", name, v.Name)
			}
			return nil
		})
	}
}

// healthy is five hours of two replicas at work, five minutes between samples;
// the second began four hours ago and another process converges mostly.
const healthy = `load 5m
	up{job="rotator", instance="a"} 1x60
	up{job="rotator", instance="b"} 1x60
	process_start_time_seconds{job="rotator", instance="a"} -100000x60
	process_start_time_seconds{job="rotator", instance="b"} 3600x60
	probe_success{job="rotator-readyz", instance="a"} 1x60
	rotator_overdue_keys{job="rotator", instance="a"} 0x60
	rotator_overdue_keys{job="rotator", instance="b"} 0x60
	rotator_orphans{job="rotator", instance="a"} 0x60
	rotator_paused{job="rotator", instance="a"} 0x60
	rotator_paused{job="rotator", instance="b"} 0x60
	rotator_last_success_timestamp_seconds{job="rotator", instance="a"} 0+300x60
	rotator_key_deadline_timestamp_seconds{job="rotator", instance="a", project="p", credential="api"} 200000x60
	rotator_rotations_total{job="rotator", instance="a", result="failed", step="create"} 3x60
	rotator_rotations_total{job="rotator", instance="a", result="rotated", step="done"} 0+1x60
	rotator_deletions_total{job="rotator", instance="a", kind="orphan", result="failed"} 0x60
	rotator_audit_checkpoint_age_seconds{job="rotator", instance="a"} 9000x60
	rotator_audit_checkpoint_age_seconds{job="rotator", instance="b"} 60x60
`

// TestFiring: what fires in which trouble, holding aside for how long it must
// last.
func TestFiring(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		series string   // the last 5 hours
		want   []string // alerts
	}{
		"all is well": {healthy, nil},
		"nobody there": {`load 5m
			up{job="rotator", instance="a"} 0x60`, []string{"RotatorDown"}},
		"nobody scraped": {"load 5m\n up{job=\"other\"} 1x60", []string{"RotatorDown"}},
		"no database": {`load 5m
			up{job="rotator", instance="a"} 1x60
			process_start_time_seconds{job="rotator", instance="a"} 17000x60`, []string{"RotatorDatabaseUnreachable"}},
		"never a success": {`load 5m
			up{job="rotator", instance="a"} 1x60
			rotator_paused{job="rotator", instance="a"} 0x60
			process_start_time_seconds{job="rotator", instance="a"} 0x60`, []string{"RotatorNoSuccessfulRun"}},
		"no more success": {`load 5m
			up{job="rotator", instance="a"} 1x60
			rotator_paused{job="rotator", instance="a"} 0x60
			process_start_time_seconds{job="rotator", instance="a"} 17000x60
			rotator_last_success_timestamp_seconds{job="rotator", instance="a"} 5000x60`, []string{"RotatorNoSuccessfulRun"}},
		"paused": {`load 5m
			up{job="rotator", instance="a"} 1x60
			rotator_paused{job="rotator", instance="a"} 1x60
			rotator_audit_checkpoint_age_seconds{job="rotator", instance="a"} 9000x60
			rotator_last_success_timestamp_seconds{job="rotator", instance="a"} 5000x60`, []string{"RotatorPaused"}},
		"not ready":         {"load 5m\n up{job=\"rotator\", instance=\"a\"} 1x60\n rotator_paused{job=\"rotator\", instance=\"a\"} 0x60\n probe_success{job=\"rotator-readyz\"} 0x60", []string{"RotatorNotReady"}},
		"an old key":        {with(`rotator_overdue_keys{job="rotator", instance="c"} 0x50 2x9`), []string{"RotatorKeysOverdue"}},
		"nearly old":        {with(`rotator_key_deadline_timestamp_seconds{job="rotator", instance="a", project="p", credential="web"} 100000x60`), []string{"RotatorKeyDeadlineNear"}},
		"an orphan":         {with(`rotator_orphans{job="rotator", instance="b"} 1x60`), []string{"RotatorOrphans"}},
		"the first failure": {with(`rotator_rotations_total{job="rotator", instance="a", result="failed", step="verify"} 0x50 1x9`), []string{"RotatorRotationsFailing"}},
		"old failures":      {with(`rotator_rotations_total{job="rotator", instance="a", result="failed", step="verify"} 0x20 1x39`), nil},
		"no deletion":       {with(`rotator_deletions_total{job="rotator", instance="a", kind="retired", result="failed"} 0x50 1x9`), []string{"RotatorDeletionsFailing"}},
		"no checkpoint": {`load 5m
			up{job="rotator", instance="a"} 1x60
			rotator_paused{job="rotator", instance="a"} 0x60
			rotator_audit_checkpoint_age_seconds{job="rotator", instance="a"} 0+300x60`, []string{"RotatorCheckpointOld"}},
	}
	all := rules(t)
	fired := map[string]bool{}
	for name, tt := range tests {
		got := firing(t, all, tt.series)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
		for _, a := range got {
			fired[a] = true
		}
	}
	for name := range all {
		if !fired[name] {
			t.Errorf("no test lets %s fire", name)
		}
	}
}

func with(series string) string { return healthy + "\t" + series + "\n" }

// firing are the alerts whose expression holds after five hours.
func firing(t *testing.T, all map[string]rulefmt.Rule, series string) (names []string) {
	t.Helper()
	storage := promqltest.LoadedStorage(t, series)
	defer storage.Close() //nolint:errcheck // in memory
	engine := promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		query, err := engine.NewInstantQuery(t.Context(), storage, promql.NewPrometheusQueryOpts(false, 0), all[name].Expr, time.Unix(5*3600, 0))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		vector, err := query.Exec(t.Context()).Vector()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(vector) > 0 {
			names = append(names, name)
		}
		query.Close()
	}
	return names
}
