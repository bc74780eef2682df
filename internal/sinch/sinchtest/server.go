package sinchtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// bodyLimit is how much of a request is read, in bytes.
const bodyLimit = 1 << 20

// Server is a simulated Sinch. Its methods may be called at any time, also
// while it serves.
type Server struct {
	cfg        Config
	tokens     *rate.Limiter
	resources  *rate.Limiter
	down       atomic.Bool
	skew       atomic.Int64           // time.Duration, see SetClockSkew
	lastToken  atomic.Pointer[string] // for EchoSecrets
	lastSecret atomic.Pointer[string] // for EchoSecrets
	stopped    chan struct{}
	stop       func()

	mu             sync.Mutex
	web            *http.Server
	projects       map[string]*project
	keys           map[string]*key // deleted ones too
	arrivals       uint64          // requests that arrived
	ids            uint64          // ids given out
	salts          uint64          // page tokens given out
	issued         uint64          // tokens given out
	expiredThrough uint64          // tokens up to this one have been expired by force
	refusals       uint64          // refused exchanges, to vary the shape of the answer
	deletions      uint64          // deleted keys, to vary the shape of the answer
	refuse         map[string]int  // API version → status
	faults         []*fault
	requests       []*Request
	counts         map[string]int
}

var _ http.Handler = (*Server)(nil)

// New returns a Sinch without any project.
func New(cfg Config) *Server {
	cfg = cfg.withDefaults()
	s := &Server{
		cfg:       cfg,
		tokens:    rate.NewLimiter(rate.Limit(cfg.TokenRate), cfg.TokenBurst),
		resources: rate.NewLimiter(rate.Inf, 0),
		stopped:   make(chan struct{}),
		projects:  map[string]*project{},
		keys:      map[string]*key{},
		refuse:    map[string]int{},
		counts:    map[string]int{},
	}
	if cfg.TokenRate < 0 {
		s.tokens.SetLimit(rate.Inf)
	}
	if cfg.APIRate > 0 {
		s.resources = rate.NewLimiter(rate.Limit(cfg.APIRate), int(math.Ceil(cfg.APIRate)))
	}
	for version, status := range cfg.Refuse {
		s.refuse[version] = status
	}
	s.stop = sync.OnceFunc(func() { close(s.stopped) })
	return s
}

// Start serves on a free port of the loopback interface until Close and
// returns the base URL. It can be started once.
func (s *Server) Start() (string, error) {
	var config net.ListenConfig
	listener, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("listening on loopback: %w", err)
	}
	web := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelDebug),
	}
	s.mu.Lock()
	s.web = web
	s.mu.Unlock()
	go func() {
		if err := web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.cfg.Logger.Error("simulator stopped serving", "err", err)
		}
	}()
	return "http://" + listener.Addr().String(), nil
}

// Close closes all connections and then lets go of every held and delayed
// request: those still take effect, unanswered.
func (s *Server) Close() error {
	defer s.stop() // last, or a released request might still be answered
	s.mu.Lock()
	web := s.web
	s.mu.Unlock()
	if web == nil {
		return nil
	}
	if err := web.Close(); err != nil {
		return fmt.Errorf("closing the simulator: %w", err)
	}
	return nil
}

// SetDown makes every connection close without an answer, and nothing count
// as a request, until it is switched off again.
func (s *Server) SetDown(down bool) { s.down.Store(down) }

// SetClockSkew shifts what the Date header, createTime and updateTime say.
// Tokens and delays go on by Config.Now.
func (s *Server) SetClockSkew(d time.Duration) { s.skew.Store(int64(d)) }

// Refuse makes a version of the subprojects API ("v1" or "v1alpha1") answer
// status to everything; 0 lifts it.
func (s *Server) Refuse(version string, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse[version] = status
}

// ExpireTokens expires every token issued so far.
func (s *Server) ExpireTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expiredThrough = s.issued
}

// stamp is the clock that Sinch shows to the outside.
func (s *Server) stamp() time.Time {
	return s.cfg.Now().Add(time.Duration(s.skew.Load())).UTC()
}

// pause waits d in real time, or until the server is closed. It outlasts the
// client: a request that the client gave up still takes effect.
func (s *Server) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.stopped:
	}
}
