// Package sinch is the client of Sinch's access keys, subprojects and token
// APIs (SINCH.md has the facts it rests on).
//
// Every attempt goes through call.Transport, so it is recorded, and a
// mutating one leaves only after its intent is committed. An operation's way:
//
//	retry (retry.go) → session: token (session.go) → request (request.go)
//
// Reads, deletes and renames are repeated while that can help; a create is
// sent once, because nothing tells whether a lost one was applied.
package sinch

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"rotator/internal/call"
	"rotator/internal/secret"
)

// Authentication methods.
const (
	oauth2 = "oauth2" // a bearer token per hour
	basic  = "basic"  // id and secret on every call; for prototypes only
)

// Config is what a Client works with.
type Config struct {
	AuthURL        string // the token endpoint itself
	AccessKeysURL  string // base URL of the access keys API
	SubprojectsURL string // base URL of the subprojects API
	Subprojects    string // "auto", "v1", "v1alpha1" or "off"
	AuthMethod     string // "oauth2" or "basic"

	RateLimit  float64 // requests/s to each resource host; 0 or less: unlimited
	TokenRate  float64 // token exchanges/s; 0 or less: unlimited
	TokenBurst int     // token exchanges at once

	Timeout       time.Duration // of one attempt
	VerifyTimeout time.Duration // how long Verify waits for a new key to work
	Probes        []Probe       // from ParseProbes; Verify asks them last

	Base     http.RoundTripper // nil means a transport of our own
	Recorder call.Recorder     // required
	Logger   *slog.Logger      // nil means none
	Now      func() time.Time  // nil means time.Now
	MaxConns int               // idle connections kept to each host
}

// Credentials are an access key's id and secret.
type Credentials struct {
	KeyID  string
	Secret secret.Value
}

// Client talks to Sinch as one access key, its own. It is safe for concurrent
// use.
type Client struct {
	cfg    Config
	http   *http.Client
	base   http.RoundTripper
	own    atomic.Pointer[session]
	limits limits

	skewMu sync.Mutex
	skew   time.Duration
	skewed bool // whether skew has been measured
}

// New returns a Client that authenticates as own. Zero credentials are
// allowed: until Use is called, every operation fails with ErrUnauthenticated.
func New(cfg Config, own Credentials) (*Client, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("configuring the Sinch client: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Base == nil {
		cfg.Base = newTransport(cfg.MaxConns)
	}
	if cfg.AuthMethod == basic {
		cfg.Logger.Warn("basic authentication is for prototypes and heavily rate limited by Sinch; set SINCH_AUTH_METHOD=oauth2")
	}
	c := &Client{cfg: cfg, base: cfg.Base, limits: limits{
		resource: perSecond(cfg.RateLimit),
		token:    rate.NewLimiter(perSecond(cfg.TokenRate), max(cfg.TokenBurst, 1)),
		share:    1,
	}}
	c.http = &http.Client{
		Transport: &call.Transport{Service: call.Sinch, Base: cfg.Base, Recorder: cfg.Recorder},
		// Go would send a redirected POST again, and a create must not be.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	c.Use(own)
	return c, nil
}

func (cfg Config) check() error {
	var problems []error
	for _, u := range []struct{ name, text string }{
		{"AuthURL", cfg.AuthURL}, {"AccessKeysURL", cfg.AccessKeysURL}, {"SubprojectsURL", cfg.SubprojectsURL},
	} {
		if err := checkURL(u.text); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", u.name, err))
		}
	}
	switch cfg.Subprojects {
	case subprojectsAuto, subprojectsV1, subprojectsV1Alpha1, subprojectsOff:
	default:
		problems = append(problems, fmt.Errorf("Subprojects is %q, not auto, v1, v1alpha1 or off", cfg.Subprojects))
	}
	if cfg.AuthMethod != oauth2 && cfg.AuthMethod != basic {
		problems = append(problems, fmt.Errorf("AuthMethod is %q, not oauth2 or basic", cfg.AuthMethod))
	}
	if cfg.Timeout <= 0 || cfg.VerifyTimeout <= 0 {
		problems = append(problems, errors.New("the fields Timeout and VerifyTimeout must be positive"))
	}
	if cfg.Recorder == nil {
		problems = append(problems, errors.New("a Recorder is missing"))
	}
	return errors.Join(problems...)
}

// checkURL refuses what could not be the base of a request, and what would
// put a password or a query into every recorded URL.
func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return errors.New("is not a URL") // url.Parse quotes its input, which may hold a password
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return errors.New("is not an http or https URL with a host")
	case u.User != nil, u.RawQuery != "", u.Fragment != "":
		return errors.New("must have no user info, query or fragment")
	}
	return nil
}

// Use switches to another access key of rotator's own. Calls under way end
// with the key that they began with; the cached token is dropped.
func (c *Client) Use(own Credentials) { c.own.Store(c.newSession(own)) }

// KeyID is the access key that the client authenticates with.
func (c *Client) KeyID() string { return c.own.Load().cred.KeyID }

// Share divides the configured rate limits among so many replicas.
func (c *Client) Share(replicas int) {
	c.limits.divide(max(replicas, 1), perSecond(c.cfg.TokenRate))
}

// Close closes idle connections; the client stays usable.
func (c *Client) Close() {
	if b, ok := c.base.(interface{ CloseIdleConnections() }); ok {
		b.CloseIdleConnections()
	}
}

// ServerSkew is how far Sinch's clock was ahead of this host's at the latest
// answer, within a second (the grain of the Date header) and half the round
// trip. It is false before the first answer.
func (c *Client) ServerSkew() (time.Duration, bool) {
	c.skewMu.Lock()
	defer c.skewMu.Unlock()
	return c.skew, c.skewed
}

// observe notes the server's clock from an answer's Date header.
func (c *Client) observe(h http.Header, sent, received time.Time) {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return
	}
	c.skewMu.Lock()
	defer c.skewMu.Unlock()
	c.skew, c.skewed = date.Sub(sent.Add(received.Sub(sent)/2)), true
}
