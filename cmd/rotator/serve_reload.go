package main

import (
	"context"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"rotator/internal/jobs"
)

// webhookURL is the variable that changes beside the runs.
const webhookURL = "ROTATOR_WEBHOOK_URL"

// live are the variables that change without a restart, beside LOG_LEVEL and
// the webhook.
var live = []string{
	"ROTATOR_INCLUDE", "ROTATOR_EXCLUDE", "ROTATOR_MAX_AGE", "ROTATOR_OVERLAP", "ROTATOR_MARGIN", "ROTATOR_ADOPT", "ROTATOR_LABELS",
	"ROTATOR_ONBOARD", "ROTATOR_SCHEDULE", "ROTATOR_TIMEZONE", "ROTATOR_JITTER", "ROTATOR_RECHECK",
	"ROTATOR_MAX_ROTATIONS", "ROTATOR_MAX_DELETIONS", "ROTATOR_MAX_FAILURES",
}

// onHangup receives SIGHUP, which otherwise ends a process, until stop is called.
func onHangup() (hangups <-chan os.Signal, stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	return signals, func() { signal.Stop(signals) }
}

// reloads reads the configuration again at every SIGHUP, until ctx ends. What is
// wrong is reported and changes nothing. The environment itself cannot change in
// a running process; files can.
func (c *cli) reloads(ctx context.Context, a *app, hangups <-chan os.Signal) <-chan jobs.Settings {
	changes := make(chan jobs.Settings)
	go func() {
		now := a.cfg
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangups:
			}
			cfg, err := c.config(ctx, needsOfRun|needServe)
			if err != nil {
				a.logger.ErrorContext(ctx, "configuration not read again, everything stays as it was", "err", text(err))
				continue
			}
			changed, restart := differences(now, cfg)
			said := changed
			if !now.Run.WebhookURL.Equal(cfg.Run.WebhookURL) {
				a.news.use(cfg.Run.WebhookURL)
				said = append(slices.Clone(changed), webhookURL)
			}
			a.logger.InfoContext(ctx, "configuration read again", "changed", said, "needs_restart", restart)
			now = cfg
			if len(changed) == 0 {
				continue
			}
			select {
			case changes <- settings(cfg, "SIGHUP: "+strings.Join(changed, ", ")):
			case <-ctx.Done():
			}
		}
	}()
	return changes
}

// differences names the variables that say something else: those that change
// now, and those that need a restart. Of a secret only whether it is set can
// be told.
func differences(before, after *config) (changed, restart []string) {
	was, is := before.values(), after.values()
	for _, name := range slices.Sorted(maps.Keys(is)) {
		switch {
		case was[name] == is[name], name == "LOG_LEVEL", name == webhookURL:
		case slices.Contains(live, name):
			changed = append(changed, name)
		default:
			restart = append(restart, name)
		}
	}
	return changed, restart
}

func settings(cfg *config, why string) jobs.Settings {
	return jobs.Settings{
		Policy: cfg.Policy, Scope: cfg.Scope, Labels: cfg.Labels, Onboard: cfg.Rotation.Onboard,
		Schedule: cfg.Schedule, Jitter: cfg.Rotation.Jitter, Recheck: cfg.Rotation.Recheck,
		MaxRotations: cfg.Run.MaxRotations, MaxDeletions: cfg.Run.MaxDeletions, MaxFailures: cfg.Run.MaxFailures, Why: why,
	}
}
