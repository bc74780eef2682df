// Package sinchtest simulates the Sinch side of rotator over real HTTP: the
// token endpoint, the access keys and subprojects APIs and the probes' APIs,
// all on one address (SINCH.md says what they do). Tests, the demo and
// benchmarks run against it.
//
// A Server is seeded without HTTP (AddParent, AddSubproject, AddKey,
// SeedFleet), misbehaves by script (Fault) and tells the truth afterwards
// (Keys, Works, Requests, Counts). Check wraps it in a middleware that holds
// client and simulator against openapi.yaml.
//
// A request goes through these steps, and a Fault's Behaviour hooks in
// before or after the third:
//
//	arrive → recorded, matched with faults
//	       → latency, before hooks (may answer or hang up: not applied)
//	       → rate limits, authentication, the operation itself
//	       → after hooks (may replace, cut or withhold the answer: applied)
//	       → outcome recorded → answer sent
package sinchtest

import (
	"log/slog"
	"time"
)

// Config says how the simulated Sinch behaves. The zero Config is the
// documented Sinch: see each field's default.
type Config struct {
	// Now is the clock of token life, key times and token buckets; default
	// time.Now. Under a clock that stands still, a bucket never refills.
	Now func() time.Time

	// Latency delays every request, in real time; default none.
	Latency time.Duration

	// TokenLife is how long a token works; default one hour. Answers say one
	// second less (expires_in 3599), as Sinch does.
	TokenLife time.Duration

	// TokenGrace is how long a token still works after its key was deleted;
	// default one minute, negative none.
	TokenGrace time.Duration

	// KeyDelay is how long a key created through the API is still refused at
	// the token endpoint, while it propagates; default none.
	KeyDelay time.Duration

	// ReadyDelay is how long a subproject created through the API answers
	// 403 or 404; default 30 s, negative none. Seeding bypasses it.
	ReadyDelay time.Duration

	// TokenRate and TokenBurst are the token endpoint's bucket, in requests
	// per second and at once; default 10 and 30. A negative TokenRate is
	// unlimited.
	TokenRate  float64
	TokenBurst int

	// APIRate limits the resource APIs, in requests per second with a burst
	// of one second's worth; 0 (the default) is unlimited.
	APIRate float64

	// PageSizeMax clamps every page silently, so that few items make many
	// pages; 0 (the default) leaves the documented limit of 1000.
	PageSizeMax int

	// EmptyArrays answers an empty collection with an empty array instead of
	// the bare {} that it is by default.
	EmptyArrays bool

	// ExtraFields adds fields to every JSON answer that nobody has documented.
	ExtraFields bool

	// EchoSecrets makes error bodies repeat the Authorization header (also
	// decoded), the last token and the last key secret that were issued: what
	// a client must never let through to its log.
	EchoSecrets bool

	// InvalidClientStatus is what a wrong or deleted key gets from the token
	// endpoint; default 401, some have seen 400.
	InvalidClientStatus int

	// BasicDeleteDenied answers 403 to a DELETE with Basic authentication.
	BasicDeleteDenied bool

	// Refuse maps a version of the subprojects API ("v1", "v1alpha1") to the
	// status that refuses it (403, 404, 405, 501). See also Server.Refuse.
	Refuse map[string]int

	// KeepRequests bounds what Requests returns to about the newest so many;
	// 0 (the default) keeps all. Counts always counts all.
	KeepRequests int

	// Seed varies ids, secrets and the order of listings; each seed gives the
	// same ones every time.
	Seed uint64

	// Logger gets one debug line for each request; default none.
	Logger *slog.Logger
}

// Documented limits of the APIs (SINCH.md sections 1 to 3).
const (
	maxKeys         = 10
	defaultPageSize = 100
	maxPageSize     = 1000
	maxNameLength   = 255
	maxLabels       = 255
)

func (c Config) withDefaults() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.TokenLife = orDefault(c.TokenLife, time.Hour)
	c.TokenGrace = max(orDefault(c.TokenGrace, time.Minute), 0)
	c.ReadyDelay = max(orDefault(c.ReadyDelay, 30*time.Second), 0)
	c.TokenRate = orDefault(c.TokenRate, 10)
	c.TokenBurst = orDefault(c.TokenBurst, 30)
	c.InvalidClientStatus = orDefault(c.InvalidClientStatus, 401)
	return c
}

func orDefault[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}
