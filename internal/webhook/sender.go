package webhook

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"rotator/internal/secret"
)

// From says who tells.
type From struct {
	Host    string
	Project string // the parent's id
}

// Config is what a Sender works with.
type Config struct {
	From   From
	URL    secret.Value // nothing is collected or sent while it is empty
	Logger *slog.Logger
	// Collect returns what nobody was told of yet; each piece of news once.
	// The error says why it may be incomplete: what was returned is told.
	Collect func(context.Context) (News, error)
	// Delivered is told how each message ended; it may be nil.
	Delivered func(ok bool)

	Timeout  time.Duration // of one attempt; 10 s if 0
	Attempts int           // for one message; 8 if 0
	Pause    time.Duration // after the first failure, doubling up to a minute; 1 s if 0
	Flush    time.Duration // for what is left at the end; 5 s if 0
	Now      func() time.Time
}

// Sender delivers messages in the background, one at a time.
type Sender struct {
	Config
	wake chan struct{} // holds one: something may be new
	stop chan struct{}
	done chan struct{}
	once sync.Once // closes stop

	mu  sync.Mutex // guards url
	url secret.Value
}

// Start returns a Sender at work. Close it.
func Start(cfg Config) *Sender {
	set(&cfg.Timeout, 10*time.Second)
	set(&cfg.Pause, time.Second)
	set(&cfg.Flush, 5*time.Second)
	set(&cfg.Attempts, 8)
	s := &Sender{Config: cfg, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}), url: cfg.URL}
	go s.work()
	return s
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Wake says that something may be new. It never waits.
func (s *Sender) Wake() {
	select {
	case s.wake <- struct{}{}:
	default: // somebody will look anyway
	}
}

// Use changes where messages go from the next attempt on.
func (s *Sender) Use(url secret.Value) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.url = url
}

func (s *Sender) target() secret.Value {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.url
}

// Close ends the work. What is new or under way has Config.Flush. It may be
// called again.
func (s *Sender) Close() {
	s.once.Do(func() { close(s.stop) })
	<-s.done
}

func (s *Sender) work() {
	defer close(s.done)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // the end comes a while after the stop
		select {
		case <-s.stop:
		case <-ctx.Done():
			return
		}
		timer := time.NewTimer(s.Flush)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		cancel()
	}()
	for s.waken() {
		s.tell(ctx)
	}
}

// waken waits for a reason to look. It reports false when the work is over and
// nobody has asked for a look.
func (s *Sender) waken() bool {
	select {
	case <-s.wake:
		return true
	default:
	}
	select {
	case <-s.wake:
		return true
	case <-s.stop:
		return false
	}
}

// tell delivers what is new, if anything.
func (s *Sender) tell(ctx context.Context) {
	if s.target().IsZero() {
		return
	}
	var news News
	s.collect(ctx, &news)
	if news.empty() {
		return
	}
	err := s.deliver(ctx, &news)
	if news.empty() && err == nil {
		return // what it was about was over before it could be told
	}
	if err != nil {
		s.Logger.ErrorContext(ctx, "webhook message not delivered", "host", hostOf(s.target()), "problems", news.Total, "recovered", news.Over, "err", err)
	}
	if s.Delivered != nil {
		s.Delivered(err == nil)
	}
}

// collect adds what is new.
func (s *Sender) collect(ctx context.Context, news *News) {
	more, err := s.Collect(ctx)
	if err != nil {
		s.Logger.DebugContext(ctx, "news may be incomplete", "err", err)
	}
	news.merge(more)
}
