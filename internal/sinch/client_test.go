package sinch_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"rotator/internal/call"
	"rotator/internal/sinch"
	"rotator/internal/sinch/sinchtest"
)

// deaf is a log that cannot be written.
type deaf struct{}

func (deaf) Intent(context.Context, call.Call) error { return errors.New("log is down") }

func (deaf) Outcome(context.Context, call.Call, call.Result) error { return errors.New("log is down") }

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for want, spoil := range map[string]func(*sinch.Config){
		"AuthURL":        func(c *sinch.Config) { c.AuthURL = "auth.sinch.com" },
		"AccessKeysURL":  func(c *sinch.Config) { c.AccessKeysURL = "https://user:hunter2secret@host" },
		"SubprojectsURL": func(c *sinch.Config) { c.SubprojectsURL = "https://host?key=hunter2secret" },
		"Subprojects":    func(c *sinch.Config) { c.Subprojects = "v2" },
		"AuthMethod":     func(c *sinch.Config) { c.AuthMethod = "" },
		"Timeout":        func(c *sinch.Config) { c.Timeout = 0 },
		"VerifyTimeout":  func(c *sinch.Config) { c.VerifyTimeout = -1 },
		"Recorder":       func(c *sinch.Config) { c.Recorder = nil },
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			cfg := config("http://sinch.test", &recorder{})
			spoil(&cfg)
			_, err := sinch.New(cfg, sinch.Credentials{})
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2secret") {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestBasicWarns(t *testing.T) {
	t.Parallel()
	for method, warned := range map[string]bool{"oauth2": false, "basic": true} {
		var out bytes.Buffer
		cfg := config("http://sinch.test", &recorder{})
		cfg.AuthMethod, cfg.Logger = method, slog.New(slog.NewTextHandler(&out, nil))
		if _, err := sinch.New(cfg, sinch.Credentials{}); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(out.String(), "level=WARN"); got != warned {
			t.Errorf("%s: log is %q", method, out.String())
		}
	}
}

func TestServerSkew(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	if _, ok := g.ServerSkew(); ok {
		t.Error("skew is known before the first answer")
	}
	for _, want := range []time.Duration{0, 5 * time.Minute, -time.Hour} {
		g.SetClockSkew(want)
		if _, err := g.ListKeys(t.Context(), child); err != nil {
			t.Fatal(err)
		}
		if got, ok := g.ServerSkew(); !ok || (got-want).Abs() > 2*time.Second {
			t.Errorf("skew is %s, want %s", got, want)
		}
	}
}

func TestParseProbes(t *testing.T) {
	t.Parallel()
	probes, err := sinch.ParseProbes(" numbers, fax=http://127.0.0.1:1/base ,,conversation")
	if err != nil || len(probes) != 3 {
		t.Fatalf("got %v, %v", probes, err)
	}
	if probes[1].Bases[0] != "http://127.0.0.1:1/base" || len(probes[2].Bases) != 3 {
		t.Errorf("got %+v", probes)
	}
	if none, err := sinch.ParseProbes(" "); err != nil || none != nil {
		t.Errorf("nothing gives %v, %v", none, err)
	}
	for text, want := range map[string]string{
		"voice":           "conversation, elastic-sip-trunking, fax, numbers, provisioning",
		"fax,fax":         "twice",
		"fax=":            "fax",
		"fax=ftp://x":     "http",
		"fax=http://a:b@": "fax",
	} {
		if _, err := sinch.ParseProbes(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error is %v", text, err)
		}
	}
}
