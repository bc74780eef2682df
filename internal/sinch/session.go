package sinch

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"rotator/internal/secret"
)

const (
	tokenMargin  = time.Minute     // a token is not used in its last minute
	tokenAssumed = 5 * time.Minute // life of a token that does not tell it
	tokenLongest = 24 * time.Hour  // a longer life is a mistake
)

// authorization is the value of an Authorization header.
type authorization struct {
	scheme string
	value  secret.Value
}

func (a authorization) header() string { return a.scheme + " " + a.value.Reveal() }

// session is one access key in use: it exchanges the key for a token, keeps
// that, and lets everyone who needs one meanwhile wait for the same exchange.
type session struct {
	client *Client
	cred   Credentials
	basic  authorization
	// attempts counts the exchanges of a session that is one operation, as
	// verifying is; nil counts each operation's own.
	attempts *atomic.Int32

	mu     sync.Mutex
	token  secret.Value
	until  time.Time // when the token is no longer used
	flight *flight   // the exchange under way
}

// flight is one exchange that several callers wait for.
type flight struct {
	done  chan struct{} // closed when the rest is set
	token secret.Value
	err   error
	// abandoned: whoever led it went away; someone else must.
	abandoned bool
}

func (c *Client) newSession(cred Credentials) *session {
	pair := base64.StdEncoding.EncodeToString([]byte(cred.KeyID + ":" + cred.Secret.Reveal()))
	return &session{client: c, cred: cred, basic: authorization{"Basic", secret.New(pair)}}
}

// authorize returns what to send, exchanging the key for a token if there is
// none that still lives.
func (s *session) authorize(ctx context.Context) (authorization, error) {
	if s.cred.KeyID == "" || s.cred.Secret.IsZero() {
		return authorization{}, fmt.Errorf("%w: there is none yet", ErrUnauthenticated)
	}
	if s.client.cfg.AuthMethod == basic {
		return s.basic, nil
	}
	for {
		s.mu.Lock()
		if !s.token.IsZero() && s.client.cfg.Now().Before(s.until) {
			token := s.token
			s.mu.Unlock()
			return authorization{"Bearer", token}, nil
		}
		f, mine := s.flight, false
		if f == nil {
			f, mine = &flight{done: make(chan struct{})}, true
			s.flight = f
		}
		s.mu.Unlock()
		if mine {
			s.lead(ctx, f)
			return authorization{"Bearer", f.token}, f.err
		}
		select {
		case <-f.done:
			if !f.abandoned {
				return authorization{"Bearer", f.token}, f.err
			}
		case <-ctx.Done():
			return authorization{}, fmt.Errorf("waiting for a token: %w", ctx.Err())
		}
	}
}

// lead makes the exchange that others wait for.
func (s *session) lead(ctx context.Context, f *flight) {
	var life time.Duration
	start := s.client.cfg.Now()
	f.err = errors.New("token exchange did not end") // unless it does
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.flight = nil
		if f.err == nil {
			s.token, s.until = f.token, start.Add(life-min(tokenMargin, life/2))
		}
		f.abandoned = f.err != nil && (ctx.Err() != nil || errors.Is(f.err, errNoTime))
		close(f.done)
	}()
	attempts := s.attempts
	if attempts == nil {
		attempts = new(atomic.Int32)
	}
	f.err = again(ctx, exchangeAttempts, retryable, func(ctx context.Context) (err error) {
		f.token, life, err = s.exchange(ctx, attempts)
		return err
	})
}

// drop forgets a refused token, unless another has taken its place. It
// reports whether trying again with another token makes sense.
func (s *session) drop(auth authorization) bool {
	if auth.scheme != "Bearer" {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token.Equal(auth.value) {
		s.token = secret.Value{}
	}
	return true
}

// exchange asks once for a token.
func (s *session) exchange(ctx context.Context, attempts *atomic.Int32) (secret.Value, time.Duration, error) {
	r := request{
		operation: opExchange, method: http.MethodPost, url: s.client.cfg.AuthURL,
		contentType: "application/x-www-form-urlencoded", body: []byte("grant_type=client_credentials"),
		key: s.cred.KeyID, attempts: attempts,
	}
	r.inspect = r.inspectError
	if err := waitFor(ctx, s.client.limits.token); err != nil {
		return secret.Value{}, 0, r.unsent(err)
	}
	a, err := s.client.do(ctx, r, s.basic)
	if err != nil {
		return secret.Value{}, 0, err
	}
	token, life, err := parseToken(a.body)
	if err != nil {
		return secret.Value{}, 0, r.unreadable(a, err)
	}
	return token, life, nil
}

// parseToken reads the token endpoint's answer. Errors do not quote it.
func parseToken(body []byte) (secret.Value, time.Duration, error) {
	var b struct {
		AccessToken string          `json:"access_token"`
		TokenType   string          `json:"token_type"`
		ExpiresIn   json.RawMessage `json:"expires_in"`
	}
	switch err := json.Unmarshal(body, &b); {
	case err != nil:
		return secret.Value{}, 0, errors.New("token answer is not the JSON expected")
	case b.AccessToken == "":
		return secret.Value{}, 0, errors.New("token answer holds no token")
	case b.TokenType != "" && !strings.EqualFold(b.TokenType, "bearer"):
		return secret.Value{}, 0, errors.New("token is not a bearer token")
	}
	seconds, err := strconv.ParseFloat(strings.Trim(string(b.ExpiresIn), `"`), 64)
	if err == nil && seconds > 0 && seconds <= tokenLongest.Seconds() {
		return secret.New(b.AccessToken), time.Duration(seconds * float64(time.Second)), nil
	}
	return secret.New(b.AccessToken), tokenAssumed, nil
}
