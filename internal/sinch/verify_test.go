package sinch_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/call"
	"rotator/internal/secret"
	"rotator/internal/sinch"
	"rotator/internal/sinch/sinchtest"
)

// probing makes a client ask every probe at url.
func probing(t *testing.T, url string) []sinch.Probe {
	t.Helper()
	var items []string
	for _, name := range []string{"conversation", "elastic-sip-trunking", "fax", "numbers", "provisioning"} {
		items = append(items, name+"="+url)
	}
	probes, err := sinch.ParseProbes(strings.Join(items, " , "))
	if err != nil {
		t.Fatal(err)
	}
	return probes
}

// startVerifying has every probe enabled and time at its disposal.
func startVerifying(t *testing.T, sim sinchtest.Config) *rig {
	t.Helper()
	return startDirect(t, sim, func(c *sinch.Config) {
		c.Probes = probing(t, "http://sinch.test")
		c.VerifyTimeout = 2 * time.Minute
	})
}

func TestVerifyOverHTTP(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	cfg := config(g.url, g.log)
	cfg.Probes = probing(t, g.url)
	c, err := sinch.New(cfg, g.own)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	key, s, err := c.CreateKey(t.Context(), child, "a~0123456789abc")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Verify(t.Context(), child, sinch.Credentials{KeyID: key.ID, Secret: s}); err != nil {
		t.Fatal(err)
	}
	var did []string
	for _, r := range g.Requests()[2:] {
		did = append(did, r.Operation)
	}
	want := []string{
		opExchange, "access_keys.get", "probe.conversation", "probe.elastic-sip-trunking", "probe.fax", "probe.numbers", "probe.provisioning",
	}
	if diff := cmp.Diff(want, did); diff != "" {
		t.Error(diff)
	}
}

func TestVerifyWaitsForPropagation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := startVerifying(t, sinchtest.Config{KeyDelay: 40 * time.Second})
		key, s, err := g.CreateKey(t.Context(), child, "a")
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		g.Fault(sinchtest.Fault{Operation: "access_keys.get", Times: 3, Do: sinchtest.Status(404)})
		g.Fault(sinchtest.Fault{Operation: "probe.fax", Times: 3, Do: sinchtest.Status(401)})
		if err := g.Verify(t.Context(), child, sinch.Credentials{KeyID: key.ID, Secret: s}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took < 40*time.Second || took > time.Minute {
			t.Errorf("took %s", took)
		}
		for i, e := range exchangesOf(g, key.ID) {
			if e.call.Attempt != i+1 {
				t.Errorf("exchange %d is recorded as attempt %d", i+1, e.call.Attempt)
				break
			}
		}
	})
}

func exchangesOf(g *rig, key string) []entry {
	var found []entry
	for _, e := range g.log.all() {
		if e.call.Operation == opExchange && e.call.Key == key && len(found) < 5 {
			found = append(found, e)
		}
	}
	return found
}

func TestVerifyFails(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		operation string
		do        sinchtest.Behaviour
		says      string
		atOnce    bool // and does not wait for the timeout
	}{
		"exchange refused":  {opExchange, sinchtest.Status(401), "exchanging it for a token", false},
		"exchange limited":  {opExchange, sinchtest.RateLimited(""), "exchanging it for a token", false},
		"get forbidden":     {"access_keys.get", sinchtest.Status(403), "reading the key itself", false},
		"get another":       {"access_keys.get", sinchtest.Answer(200, `{"accessKeyId":"b","createTime":"2026-01-01T00:00:00Z"}`, nil), "reading the key itself", false},
		"get down":          {"access_keys.get", sinchtest.Lost(), "reading the key itself", false},
		"probe refused":     {"probe.fax", sinchtest.Status(401), "probing fax", false},
		"probe unavailable": {"probe.numbers", sinchtest.Status(503), "probing numbers", false},
		"probe redirected":  {"probe.numbers", sinchtest.Answer(302, "", http.Header{"Location": {"/login"}}), "probing numbers", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := startVerifying(t, sinchtest.Config{TokenRate: -1})
				key := credentials(g.AddKey(child, "a", time.Now()))
				g.Fault(sinchtest.Fault{Operation: tc.operation, Key: keyOf(tc.operation, key), Do: tc.do})
				begin := time.Now()
				err := g.Verify(t.Context(), child, key)
				if !errors.Is(err, sinch.ErrVerify) || !strings.Contains(err.Error(), tc.says) {
					t.Errorf("error is %v", err)
				}
				if errors.Is(err, sinch.ErrUnauthenticated) {
					t.Error("another key's refusal passes for our own key's")
				}
				took := time.Since(begin)
				if took > 2*time.Minute || (took < time.Second) != tc.atOnce || (took < 100*time.Second) != tc.atOnce {
					t.Errorf("took %s", took)
				}
			})
		})
	}
}

// keyOf limits a fault to the new key where the request names it.
func keyOf(operation string, key sinch.Credentials) string {
	if strings.HasPrefix(operation, "probe.") {
		return ""
	}
	return key.KeyID
}

func TestVerifyInconclusiveProbes(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	cfg := config(g.url, g.log)
	cfg.Probes = probing(t, g.url)
	c, err := sinch.New(cfg, g.own)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for operation, status := range map[string]int{"probe.fax": 403, "probe.numbers": 404, "probe.conversation": 400, "probe.provisioning": 405} {
		g.Fault(sinchtest.Fault{Operation: operation, Do: sinchtest.Status(status)})
	}
	if err := c.Verify(t.Context(), child, credentials(g.AddKey(child, "a", time.Now()))); err != nil {
		t.Error(err)
	}
}

// TestProbeBodiesAreNotRecorded: they may hold channel credentials.
func TestProbeBodiesAreNotRecorded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := startVerifying(t, sinchtest.Config{})
		body := `{"error":{"status":"NOT_FOUND","message":"` + sinchtest.ProbeCredential + `"}}`
		g.Fault(sinchtest.Fault{Operation: "probe.fax", Do: sinchtest.Answer(503, body, nil)})
		err := g.Verify(t.Context(), child, credentials(g.AddKey(child, "a", time.Now())))
		if err == nil || strings.Contains(err.Error(), sinchtest.ProbeCredential) {
			t.Errorf("error is %v", err)
		}
		for _, e := range g.log.all() {
			if strings.HasPrefix(e.call.Operation, "probe.") && e.result.Error != "" {
				t.Errorf("recorded %q", e.result.Error)
			}
		}
	})
}

func TestVerifyNeedsASecretAndAWorkingLog(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	matches(t, g.Verify(t.Context(), child, sinch.Credentials{KeyID: "a"}), sinch.ErrVerify, sinch.ErrPermanent)
	if len(g.Requests()) != 0 {
		t.Error("something was sent")
	}
	log := &deaf{}
	cfg := config(g.url, log)
	c, err := sinch.New(cfg, g.own)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	err = c.Verify(t.Context(), child, g.own)
	if !errors.Is(err, call.ErrNotRecorded) {
		t.Errorf("error is %v", err)
	}
	if n := len(g.Requests()); n != 1 {
		t.Errorf("%d requests without a log", n)
	}
}

func TestListOwn(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	next := credentials(g.AddKey(parent, "next", time.Now()))
	if err := g.ListOwn(t.Context(), parent, next); err != nil {
		t.Error(err)
	}
	if g.KeyID() != g.own.KeyID {
		t.Error("switched the key")
	}
	wrong := sinch.Credentials{KeyID: next.KeyID, Secret: secret.New("wrong-secret")}
	matches(t, g.ListOwn(t.Context(), parent, wrong), sinch.ErrPermanent, sinch.ErrNotApplied)
	foreign := credentials(g.AddKey(child, "foreign", time.Now()))
	matches(t, g.ListOwn(t.Context(), parent, foreign), sinch.ErrPermanent, sinch.ErrForbidden)
}
