package main

import (
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progressEvery is how often progress is logged where there is no terminal.
const progressEvery = 10 * time.Second

// progress shows a bar on a terminal, and a log line now and then elsewhere.
type progress struct {
	mu     sync.Mutex
	w      io.Writer // a terminal, or nil
	bar    *progressbar.ProgressBar
	logger *slog.Logger
	what   string
	unit   string // what is counted, to show how many a second; "" shows none
	said   time.Time
}

func newProgress(w io.Writer, logger *slog.Logger, what string) *progress {
	p := &progress{logger: logger, what: what, said: time.Now()}
	if isTerminal(w) {
		p.w = w
	}
	return p
}

// show notes how far it has come. It may be called concurrently.
func (p *progress) show(done, total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.w == nil {
		if time.Since(p.said) >= progressEvery {
			p.said = time.Now()
			p.logger.Info("progress", "what", p.what, "done", done, "total", total)
		}
		return
	}
	if p.bar == nil {
		options := []progressbar.Option{
			progressbar.OptionSetWriter(p.w), progressbar.OptionSetDescription(p.what),
			progressbar.OptionShowCount(), progressbar.OptionSetWidth(30), progressbar.OptionClearOnFinish(),
			progressbar.OptionThrottle(100 * time.Millisecond), progressbar.OptionSetPredictTime(true),
		}
		if p.unit != "" {
			options = append(options, progressbar.OptionShowIts(), progressbar.OptionSetItsString(p.unit))
		}
		p.bar = progressbar.NewOptions(total, options...)
	}
	_ = p.bar.Set(done) // a bar that cannot be drawn is no reason to fail
}

// done removes the bar.
func (p *progress) done() {
	if p.bar != nil {
		_ = p.bar.Finish() // as above
	}
}
