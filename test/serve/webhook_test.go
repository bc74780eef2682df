package serve_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/sinch/sinchtest"
	"rotator/internal/webhook"
	"rotator/test/rig"
)

// inbox is where messages of the world's daemons arrive.
type inbox struct {
	w   *world
	url string

	mu   sync.Mutex
	came []string // bodies, the oldest first
	hang chan struct{}
}

const hook = "/services/T0/B0/verysecret"

// inbox starts one, that the processes to come write to.
func (w *world) inbox() *inbox {
	w.T.Helper()
	in := &inbox{w: w}
	server := httptest.NewServer(in)
	w.T.Cleanup(server.Close)
	in.url = server.URL + hook
	w.Set("ROTATOR_WEBHOOK_URL", in.url)
	return in
}

func (in *inbox) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || r.URL.Path != hook {
		in.w.T.Errorf("%v: %s", err, r.URL)
	}
	in.mu.Lock()
	in.came = append(in.came, string(body))
	hang := in.hang
	in.mu.Unlock()
	if hang != nil {
		<-hang
	}
}

func (in *inbox) all() []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return append([]string{}, in.came...)
}

// got waits until so many messages have come, and returns the newest of these.
func (in *inbox) got(n int) (m webhook.Message, body string) {
	in.w.T.Helper()
	in.w.Until("a message", func() bool { return len(in.all()) >= n })
	body = in.all()[n-1]
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		in.w.T.Fatal(err)
	}
	return m, body
}

// still fails the test if there are more messages after some more ticks.
func (in *inbox) still(n int) {
	in.w.T.Helper()
	runs := in.w.runs()
	in.w.Until("two more runs", func() bool { return in.w.runs() >= runs+2 })
	if all := in.all(); len(all) != n {
		in.w.T.Errorf("%d messages came, want %d:\n%s", len(all), n, strings.Join(all, "\n"))
	}
}

// young makes a project whose only key has to be replaced, and is not overdue.
func (w *world) young(project string) {
	w.T.Helper()
	w.Sim.AddSubproject(rig.Parent, project, project, nil)
	w.Publish(project, "billing", w.Key(project, "billing", 89*rig.Day))
}

// TestWebhook: a credential that fails is told once, and once more when it is
// well again, although two replicas see to it. What is sent is what
// docs/webhook.md shows.
func TestWebhook(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rig.Config{Env: []string{"ROTATOR_SCHEDULE=@every 3s"}})
	in := w.inbox()
	w.young("p1")
	mend := w.Sim.Fault(sinchtest.Fault{Operation: "access_keys.create", Project: "p1", Do: sinchtest.Status(400)})
	first, second := w.serve(), w.serve()
	broken, body := in.got(1)
	mend()
	if broken.Event != "problem" || len(broken.Problems) != 1 || broken.Problems[0].Kind != webhook.Failed || broken.Open != 1 {
		t.Errorf("the failure is told as %s", body)
	}
	compareDocs(t, 0, body)
	well, body := in.got(2)
	if well.Event != "recovery" || well.Open != 0 || len(well.Recovered) != 1 || well.Recovered[0].Credential != "billing" {
		t.Errorf("the recovery is told as %s", body)
	}
	compareDocs(t, 1, body)
	w.rotated(1)
	in.still(2)
	for _, d := range []*daemon{first, second} {
		d.stop()
		if strings.Contains(d.Log(), "verysecret") {
			t.Error("the log shows the URL")
		}
	}
	for _, m := range in.all() {
		for _, k := range w.Sim.Keys("p1") {
			if plain, ok := w.Sim.Secret(k.ID); ok && strings.Contains(m, plain) {
				t.Error("a message holds a secret")
			}
		}
	}
	w.Check(map[string]int{"p1": 2})
}

var changing = regexp.MustCompile(`"(at|since|host)":"[^"]*"|rotator on \S+,`)

// compareDocs compares a message with an example, apart from times and the host.
func compareDocs(t *testing.T, n int, body string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/webhook.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile(`(?m)^    \{\n(    .*\n)+?    \}\n`).FindAllString(string(text), -1)
	if len(examples) <= n {
		t.Fatalf("docs/webhook.md has %d examples; sent was\n%s", len(examples), body)
	}
	read := func(text string) (fields map[string]any) {
		t.Helper()
		text = changing.ReplaceAllStringFunc(text, func(s string) string {
			name, _, _ := strings.Cut(s, ":")
			if strings.HasPrefix(s, "rotator") {
				return "rotator on …,"
			}
			return name + `:"…"`
		})
		if err := json.Unmarshal([]byte(text), &fields); err != nil {
			t.Fatal(err)
		}
		return fields
	}
	docs := strings.ReplaceAll(examples[n], `": "`, `":"`)
	if diff := cmp.Diff(read(docs), read(body)); diff != "" {
		t.Errorf("example %d of docs/webhook.md (-docs +sent):\n%s\n%s", n+1, diff, body)
	}
}

// TestWebhookOfARefusal: a path that holds what somebody else wrote, and keys
// past their max age, are told; then Sinch is away, and back.
func TestWebhookOfARefusal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rig.Config{})
	in := w.inbox()
	w.Sim.AddSubproject(rig.Parent, "p1", "p1", nil)
	w.Sim.AddKey("p1", "billing", time.Now().Add(-100*rig.Day))
	path := w.Path("p1", "billing")
	if _, err := w.Vault.KVv2("secret").Put(t.Context(), path, map[string]any{"made": "by hand"}); err != nil {
		t.Fatal(err)
	}
	d := w.serve()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("messages:\n%s\nlog:\n%s", strings.Join(in.all(), "\n"), d.Log())
		}
	})
	kinds := func(problems []webhook.Problem) (all []string) {
		for _, p := range problems {
			all = append(all, p.Kind+" "+p.Project+"/"+p.Credential)
		}
		return all
	}
	first, body := in.got(1)
	if diff := cmp.Diff([]string{"overdue p1/billing", "refused p1/billing"}, kinds(first.Problems)); diff != "" {
		t.Errorf("(-want +got)\n%s\n%s", diff, body)
	}
	in.still(1)
	w.Sim.SetDown(true)
	down, body := in.got(2)
	if len(down.Problems) == 0 || down.Problems[0].Kind != webhook.Down || down.Open < 3 {
		t.Errorf("Sinch is away, told was %s", body)
	}
	w.Sim.SetDown(false)
	w.Until("it to be well again", func() bool {
		m, _ := in.got(len(in.all()))
		return m.Event == "recovery" && m.Open == 2
	})
	if err := w.Vault.KVv2("secret").DeleteMetadata(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	w.Until("the refusal to be over", func() bool {
		m, _ := in.got(len(in.all()))
		return m.Event == "recovery" && len(m.Recovered) == 1 && m.Recovered[0].Kind == webhook.Refused
	})
	d.stop()
}

// TestWebhookHangs: who does not answer delays neither runs nor the end.
func TestWebhookHangs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rig.Config{})
	in := w.inbox()
	in.hang = make(chan struct{})
	w.T.Cleanup(func() { close(in.hang) })
	w.Due("p1")
	d := w.serve()
	in.got(1)
	runs := w.runs()
	w.Until("runs meanwhile", func() bool { return w.runs() >= runs+3 })
	begun := time.Now()
	d.stop()
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("the end took %s", took)
	}
	d.Says("webhook message not delivered")
}

// TestWebhookStartsAndReloads: what the daemon waits for at its start is told,
// to a URL that a file gives; SIGHUP reads that again.
func TestWebhookStartsAndReloads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rig.Config{OwnVault: true})
	one, two := w.inbox(), w.inbox()
	file := filepath.Join(t.TempDir(), "url")
	write := func(url string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(url+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(one.url)
	w.Set("ROTATOR_WEBHOOK_URL", "")
	w.Set("ROTATOR_WEBHOOK_URL_FILE", file)
	w.Server.Seal(t)
	d := w.serve()
	if m, body := one.got(1); m.Problems[0].Kind != webhook.Down || !strings.Contains(m.Text, "sealed") {
		t.Errorf("Vault is sealed, told was %s", body)
	}
	w.Server.Unseal(t)
	if m, body := one.got(2); m.Event != "recovery" || m.Open != 0 {
		t.Errorf("Vault is unsealed, told was %s", body)
	}
	d.ready()
	write(two.url)
	d.Signal(syscall.SIGHUP)
	w.Until("the file to be read", func() bool {
		return strings.Contains(d.Log(), `"changed":["ROTATOR_WEBHOOK_URL"],"needs_restart":null`)
	})
	w.Server.Seal(t)
	two.got(1)
	w.Server.Unseal(t)
	two.got(2)
	d.stop()
	if n := len(one.all()); n != 2 {
		t.Errorf("%d messages went to the old URL, want 2", n)
	}
}
