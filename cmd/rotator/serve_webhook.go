package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"rotator/internal/jobs"
	"rotator/internal/metrics"
	"rotator/internal/secret"
	"rotator/internal/state"
	"rotator/internal/webhook"
)

// newsLimit is how long asking the database for news may take.
const newsLimit = 5 * time.Second

// notifier tells people how runs end (ROTATOR_WEBHOOK_URL). The installation's
// problems are in the database, where each is told by whichever replica comes
// first; that a run could do nothing at all each process tells by itself.
type notifier struct {
	sender *webhook.Sender
	logger *slog.Logger

	mu    sync.Mutex
	own   []webhook.Problem // as the latest run left them
	store *state.Store      // nil until the database is open

	standing webhook.Standing // the sender's alone
}

// notify begins to tell. Close its sender.
func notify(cfg *config, host string, m *metrics.Metrics, logger *slog.Logger) *notifier {
	n := &notifier{logger: logger}
	n.sender = webhook.Start(webhook.Config{
		From: webhook.From{Host: host, Project: cfg.Sinch.ProjectID}, URL: cfg.Run.WebhookURL, Logger: logger,
		Collect: n.collect, Delivered: m.Delivered, Now: time.Now,
	})
	return n
}

// use changes where messages go.
func (n *notifier) use(url secret.Value) { n.sender.Use(url) }

// opened gives it the database.
func (n *notifier) opened(store *state.Store) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.store = store
}

// ended notes how a run ended, or that none can begin, and returns at once.
func (n *notifier) ended(r *jobs.Report, err error) {
	var own []webhook.Problem
	if err != nil {
		own = append(own, webhook.Problem{Kind: webhook.Down, Error: text(err)})
	}
	if r != nil {
		for _, res := range r.Own() {
			own = append(own, webhook.Problem{Kind: webhook.Refused, Error: string(res.Error)})
		}
	}
	n.mu.Lock()
	n.own = own
	n.mu.Unlock()
	n.sender.Wake()
}

// collect is what nobody was told of yet.
func (n *notifier) collect(ctx context.Context) (webhook.News, error) {
	n.mu.Lock()
	own, store := n.own, n.store
	n.mu.Unlock()
	news := n.standing.Now(time.Now(), own)
	if store == nil {
		return news, nil
	}
	ctx, cancel := context.WithTimeout(ctx, newsLimit)
	defer cancel()
	found, err := store.News(ctx, webhook.Remind, webhook.Listed)
	if err != nil {
		return news, err //nolint:wrapcheck // state says what it was doing
	}
	news.Total, news.Over, news.Open = news.Total+found.Total, news.Over+found.Over, news.Open+found.Open
	news.Problems = append(news.Problems, asTold(found.Problems)...)
	news.Recovered = append(news.Recovered, asTold(found.Recovered)...)
	return news, nil
}

func asTold(list []state.Told) []webhook.Problem {
	told := make([]webhook.Problem, len(list))
	for i, t := range list {
		told[i] = webhook.Problem(t)
	}
	return told
}
