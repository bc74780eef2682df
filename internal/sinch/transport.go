package sinch

import (
	"context"
	"crypto/tls"
	"fmt"
	"math"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// newTransport returns a transport that keeps as many connections as are used
// at once: the default of two per host would open one for nearly every call.
func newTransport(maxConns int) *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dialer.DialContext,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: max(maxConns, 2),
		// Short, because a create that meets a connection which the server
		// has just closed counts as lost.
		IdleConnTimeout:        30 * time.Second,
		TLSHandshakeTimeout:    10 * time.Second,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// limits keeps requests within the rates that Sinch allows: one bucket for
// all token exchanges, one for each resource host.
type limits struct {
	token    *rate.Limiter
	resource rate.Limit

	mu    sync.Mutex
	share int // replicas that share the rates
	hosts map[string]*rate.Limiter
}

// wait blocks until a request to the host may be sent. Its error means that
// ctx ends first.
func (l *limits) wait(ctx context.Context, host string) error {
	return waitFor(ctx, l.host(host))
}

func waitFor(ctx context.Context, limiter *rate.Limiter) error {
	err := limiter.Wait(ctx)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("waiting for the rate limit: %w", ctx.Err())
	default: // the limiter sees beforehand that the deadline is too near
		return errNoTime
	}
}

// errNoTime says that a wait would outlast its caller's deadline.
var errNoTime = fmt.Errorf("the rate limit leaves no time before the deadline: %w", context.DeadlineExceeded)

func (l *limits) host(name string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	limiter, ok := l.hosts[name]
	if !ok {
		if l.hosts == nil {
			l.hosts = map[string]*rate.Limiter{}
		}
		limit := l.resource / rate.Limit(l.share)
		limiter = rate.NewLimiter(limit, burst(limit))
		l.hosts[name] = limiter
	}
	return limiter
}

// divide shares the rates out over replicas. The token bucket's depth stays:
// it is spent once, its refill is what lasts.
func (l *limits) divide(replicas int, token rate.Limit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.share = replicas
	l.token.SetLimit(token / rate.Limit(replicas))
	for _, limiter := range l.hosts {
		limit := l.resource / rate.Limit(replicas)
		limiter.SetLimit(limit)
		limiter.SetBurst(burst(limit))
	}
}

// burst is the requests of four fifths of a second. Sinch allows a second's, but
// counts when they arrive: the way of the first one, with its handshakes, takes
// longer than that of those behind it.
func burst(limit rate.Limit) int {
	if limit > math.MaxInt32 {
		return math.MaxInt32
	}
	return max(int(float64(limit)*4/5), 1)
}

func perSecond(n float64) rate.Limit {
	if n <= 0 {
		return rate.Inf
	}
	return rate.Limit(n)
}
