package tracing_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	span "go.opentelemetry.io/proto/otlp/trace/v1"

	"rotator/test/rig"
)

// ci is the span of a job that starts rotator.
const ci = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

var form = regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$`)

// event is what the log says of an attempt.
type event struct{ Phase, Call, Run, Method, URL, Traceparent, Type, Op string }

func logged(w *rig.World, where string) (all []event) {
	w.T.Helper()
	for _, body := range w.Strings(`select body::text from audit.event where ` + where + ` order by seq`) {
		var e event
		if err := json.Unmarshal([]byte(body), &e); err != nil {
			w.T.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// TestTraceparents: each request that arrives, retried ones too, carries a
// traceparent of its own, which the events of that attempt hold; a run is one
// trace, which says that nobody records it.
func TestTraceparents(t *testing.T) {
	t.Parallel()
	w := fleet(t)
	arrived := watch(w)
	w.Run(0, "run-now")
	calls := matched(w, arrived.sent())
	retried := 0
	for _, e := range calls {
		if !strings.HasSuffix(e.Traceparent, "-00") {
			t.Errorf("%s is sampled, and nobody records: %s", e.Op, e.Traceparent)
		}
		if e.Op == "access_keys.list" && strings.Contains(e.URL, "/due/") {
			retried++
		}
	}
	if retried < 3 {
		t.Errorf("%d attempts of a listing that failed twice", retried)
	}
	oneTrace(w, "")
	w.CheckLog()
	w.Run(0, "audit", "verify")
}

// matched compares requests with the log, and returns the outcomes by their
// traceparents.
func matched(w *rig.World, arrived []request) map[string]event {
	w.T.Helper()
	outcomes, calls := map[string]event{}, map[string]event{}
	for _, e := range logged(w, `type = 'api.call' and phase = 'outcome'`) {
		if before, twice := outcomes[e.Traceparent]; twice {
			w.T.Errorf("%s and %s have the same traceparent, %s", before.Op, e.Op, e.Traceparent)
		}
		outcomes[e.Traceparent], calls[e.Call] = e, e
	}
	for _, e := range logged(w, `type = 'api.call' and phase = 'intent'`) {
		if got := calls[e.Call].Traceparent; got != e.Traceparent {
			w.T.Errorf("%s was intended as %q and ended as %q", e.Op, e.Traceparent, got)
		}
	}
	if len(arrived) != len(outcomes) || len(arrived) < 30 {
		w.T.Errorf("%d requests arrived, the log has %d", len(arrived), len(outcomes))
	}
	spans := map[string]bool{}
	for _, r := range arrived {
		e, known := outcomes[r.traceparent]
		u, err := url.Parse(e.URL)
		if !known || !form.MatchString(r.traceparent) || err != nil || e.Method != r.method || u.Path != r.path {
			w.T.Errorf("%s %s arrived with traceparent %q, of which the log says %+v", r.method, r.path, r.traceparent, e)
			continue
		}
		if id := r.traceparent[36:52]; spans[id] {
			w.T.Errorf("%s %s has the span of another request", r.method, r.path)
		} else {
			spans[id] = true
		}
	}
	return outcomes
}

// oneTrace: all events of the one run have one trace, that which is wanted if
// one is.
func oneTrace(w *rig.World, want string) {
	w.T.Helper()
	kinds := map[string]bool{}
	for _, e := range logged(w, `run_id is not null and type <> 'inventory.snapshot'`) {
		if !form.MatchString(e.Traceparent) {
			w.T.Errorf("%s %s of the run has the traceparent %q", e.Type, e.Op, e.Traceparent)
			continue
		}
		kinds[e.Type] = true
		if want == "" {
			want = e.Traceparent[3:35]
		}
		if e.Traceparent[3:35] != want {
			w.T.Errorf("%s %s is of another trace than %s: %s", e.Type, e.Op, want, e.Traceparent)
		}
	}
	for _, kind := range []string{"run.started", "run.finished", "rotation.planned", "rotation.published", "key.retired", "api.call"} {
		if !kinds[kind] {
			w.T.Errorf("the run has no %s", kind)
		}
	}
}

// TestSpans: with a collector, run, project, steps and attempts arrive as
// spans below the job that started the process; no secret does.
func TestSpans(t *testing.T) {
	t.Parallel()
	s := collect(t)
	w := fleet(t, "TRACEPARENT="+ci, "OTEL_EXPORTER_OTLP_ENDPOINT="+s.URL, "OTEL_RESOURCE_ATTRIBUTES=deployment.environment=test")
	arrived := watch(w)
	p := w.Run(0, "run-now", "-o", "json")
	calls := matched(w, arrived.sent())
	oneTrace(w, ci[3:35])
	if !s.paths["POST /v1/traces"] || text(s.about, "service.name") != "rotator" || text(s.about, "deployment.environment") != "test" {
		t.Errorf("exported to %v, about %v", s.paths, s.about)
	}
	byID := map[string]*span.Span{}
	for _, sp := range s.spans {
		byID[hex.EncodeToString(sp.GetSpanId())] = sp
	}
	for traceparent, e := range calls {
		sp := byID[traceparent[36:52]]
		if sp.GetName() != e.Op || sp.GetKind() != span.Span_SPAN_KIND_CLIENT || text(sp.GetAttributes(), "http.request.method") != e.Method ||
			text(sp.GetAttributes(), "server.address") != "127.0.0.1" || text(sp.GetAttributes(), "rotator.call") != e.Call {
			t.Errorf("%s %s has the span %v", e.Op, traceparent, sp)
		}
	}
	var chains []string
	for id, sp := range byID {
		if sp.GetKind() == span.Span_SPAN_KIND_CLIENT {
			chains = append(chains, chain(byID, id))
		}
	}
	for _, want := range []string{
		"ci/run/project/rotate/create/access_keys.create", "ci/run/project/rotate/verify/access_keys.get",
		"ci/run/project/rotate/publish/vault.write", "ci/run/project/retire/move_on/vault.destroy",
		"ci/run/project/retire/delete/access_keys.delete", "ci/run/project/access_keys.list",
	} {
		if !slices.Contains(chains, want) {
			t.Errorf("no span %s", want)
		}
	}
	if t.Failed() {
		slices.Sort(chains)
		t.Log(slices.Compact(chains))
	}
	failed := slices.IndexFunc(s.spans, func(sp *span.Span) bool {
		return sp.GetName() == "access_keys.list" && sp.GetStatus().GetCode() == span.Status_STATUS_CODE_ERROR && strings.Contains(text(sp.GetAttributes(), "http.response.status_code"), "503")
	})
	if failed < 0 {
		t.Error("no span of the listing that was answered with 503")
	}
	innocent(w, s.raw.String()+p.Log())
}

// chain is a span's name after those above it.
func chain(all map[string]*span.Span, id string) string {
	if id == ci[36:52] {
		return "ci"
	}
	sp, found := all[id]
	if !found {
		return "?" + id
	}
	return chain(all, hex.EncodeToString(sp.GetParentSpanId())) + "/" + sp.GetName()
}

// innocent: what left holds no secret and no query of a URL.
func innocent(w *rig.World, said string) {
	w.T.Helper()
	n := 0
	for _, project := range []string{rig.Parent, "due", "retire"} {
		for _, k := range w.Sim.Keys(project) {
			if plain, ok := w.Sim.Secret(k.ID); ok {
				n++
				if strings.Contains(said, plain) {
					w.T.Errorf("the secret of key %s left", k.ID)
				}
			}
		}
	}
	if n < 4 || strings.Contains(said, w.Setting("VAULT_TOKEN")) || strings.Contains(said, "pageSize") {
		w.T.Errorf("of %d keys no secret left, but Vault's token or a query did", n)
	}
}

// TestDeadCollector: a collector that is not there, or never answers, costs
// no run anything, and the end of the process a few seconds at most.
func TestDeadCollector(t *testing.T) {
	t.Parallel()
	mute, err := net.Listen("tcp", "127.0.0.1:0") // it accepts, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = gone.Close()
	t.Cleanup(func() { _ = mute.Close() })
	for name, address := range map[string]string{"mute": mute.Addr().String(), "gone": gone.Addr().String()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := fleet(t, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://"+address+"/v1/traces", "OTEL_EXPORTER_OTLP_TIMEOUT=60000")
			p := w.Run(0, "run-now", "-o", "json")
			ended := time.Now()
			var report struct {
				FinishedAt time.Time `json:"finished_at"`
				Rotated    int
			}
			if err := json.Unmarshal([]byte(p.Out.String()), &report); err != nil || report.Rotated != 1 {
				t.Fatalf("%v: %s", err, p.Log())
			}
			if took := ended.Sub(report.FinishedAt); took > 20*time.Second {
				t.Errorf("the process went on for %s", took)
			}
			p.Says("tracing")
		})
	}
}

// TestNothingIsLoaded: only with OpenTelemetry's variables any of it is at
// work in the daemon.
func TestNothingIsLoaded(t *testing.T) {
	t.Parallel()
	s := collect(t)
	for name, tc := range map[string]struct {
		env  string
		want bool
	}{
		"no variable": {"LOG_LEVEL=info", false},
		"endpoint":    {"OTEL_EXPORTER_OTLP_ENDPOINT=" + s.URL, true},
		"console":     {"OTEL_TRACES_EXPORTER=console", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := rig.New(t, rig.Config{Env: []string{"ROTATOR_LISTEN=127.0.0.1:0", tc.env}})
			p := w.Start("serve")
			w.Until("a run", func() bool { return strings.Contains(p.Log(), "run ended") })
			p.Signal(syscall.SIGQUIT) // Go's runtime shows every goroutine, and ends
			p.Wait()
			stacks := p.Log()
			if at := strings.Index(stacks, "goroutine "); at < 0 || strings.Contains(stacks[at:], "go.opentelemetry.io/") != tc.want {
				t.Errorf("OpenTelemetry at work, want %v:\n%s", tc.want, stacks)
			}
		})
	}
}

// TestUnfitVariables: what cannot be done is said, and nothing is recorded.
func TestUnfitVariables(t *testing.T) {
	t.Parallel()
	s := collect(t)
	for i, env := range [][]string{
		{"OTEL_EXPORTER_OTLP_PROTOCOL=grpc"},
		{"OTEL_TRACES_EXPORTER=zipkin"},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=collector:4318"},
		{"OTEL_SDK_DISABLED=true"},
		{"OTEL_TRACES_EXPORTER=none"},
	} {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			w := rig.New(t, rig.Config{Env: append(env, "OTEL_EXPORTER_OTLP_ENDPOINT="+s.URL, "OTEL_EXPORTER_OTLP_HEADERS=authorization=very%20secret%zz")})
			p := w.Run(0, "run-now")
			if said := strings.Contains(p.Log(), "no spans are made"); said != (i < 3) {
				t.Errorf("it says so: %v\n%s", said, p.Log())
			}
			if strings.Contains(p.Log(), "secret") {
				t.Errorf("a header shows: %s", p.Log())
			}
		})
	}
	t.Cleanup(func() {
		if len(s.spans) > 0 {
			t.Error(fmt.Sprint(len(s.spans), " spans were made"))
		}
	})
}
