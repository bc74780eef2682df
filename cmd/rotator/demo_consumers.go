package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"

	"rotator/internal/vault"
)

// crowd is the consumers of the demo's credentials: each uses the key it
// holds without pause and re-reads Vault now and then, as Vault Agent does.
type crowd struct {
	cancel context.CancelFunc
	group  sync.WaitGroup
}

// tally is what the consumers have seen.
type tally struct {
	calls, failures, switches atomic.Int64
	exchanges                 atomic.Int64 // at the token endpoint
}

const (
	consumerPause   = time.Second
	consumerRefresh = 2 * time.Second
)

// consume starts a consumer for every key and returns how many there are.
func (d *demo) consume(ctx context.Context) int {
	ctx, cancel := context.WithCancel(ctx)
	d.crowd = &crowd{cancel: cancel}
	n := 0
	for _, project := range d.projects() {
		if project == demoParent {
			continue // rotator itself is the consumer of that one
		}
		for _, k := range d.sim.Keys(project) {
			text, _ := d.sim.Secret(k.ID)
			c := &consumer{demo: d, project: project, credential: k.DisplayName, id: k.ID, secret: text}
			d.crowd.group.Go(func() { c.work(ctx) })
			n++
		}
	}
	return n
}

// quiet stops the consumers.
func (d *demo) quiet() {
	if d.crowd != nil {
		d.crowd.cancel()
		d.crowd.group.Wait()
	}
}

type consumer struct {
	*demo
	project, credential string
	id, secret          string
}

func (c *consumer) work(ctx context.Context) {
	refreshed := time.Now()
	for sleep(ctx, consumerPause) == nil {
		if time.Since(refreshed) > consumerRefresh {
			c.refresh(ctx)
			refreshed = time.Now()
		}
		if err := c.authenticate(ctx); ctx.Err() == nil {
			c.tally.calls.Add(1)
			if err != nil {
				c.tally.failures.Add(1)
			}
		}
	}
}

// refresh takes over what Vault's path holds, if it holds anything yet.
func (c *consumer) refresh(ctx context.Context) {
	cfg := api.DefaultConfig()
	cfg.Address = c.env["VAULT_ADDR"]
	client, err := api.NewClient(cfg)
	if err != nil {
		return // the old key stays in use, and its failures are counted
	}
	client.SetToken(c.env["VAULT_TOKEN"])
	prefix := c.env["VAULT_KV_PREFIX"]
	if prefix == "" {
		prefix = "sinch"
	}
	s, err := client.KVv2("secret").Get(ctx, prefix+"/"+c.project+"/"+vault.Component(c.credential))
	if err != nil {
		return // as above
	}
	id, _ := s.Data["key_id"].(string)
	text, _ := s.Data["key_secret"].(string)
	if id != "" && id != c.id {
		c.id, c.secret = id, text
		c.tally.switches.Add(1)
	}
}

var errRefused = errors.New("refused")

// authenticate exchanges the key for a token, as a consumer's SDK does.
func (c *consumer) authenticate(ctx context.Context) error {
	form := strings.NewReader(url.Values{"grant_type": {"client_credentials"}}.Encode())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.env["SINCH_AUTH_URL"], form)
	if err != nil {
		return fmt.Errorf("preparing a token exchange: %w", err)
	}
	req.SetBasicAuth(c.id, c.secret)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("exchanging a token: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // nothing is read
	c.tally.exchanges.Add(1)
	if resp.StatusCode == http.StatusTooManyRequests {
		return nil // the token bucket is shared; a key that is refused answers otherwise
	}
	if resp.StatusCode != http.StatusOK {
		return errRefused
	}
	return nil
}

// verdict says what was measured, and fails the demo if any of it is wrong.
func (d *demo) verdict() error {
	broken := 0
	for _, project := range d.projects() {
		for _, k := range d.sim.Keys(project) {
			if time.Since(k.CreateTime) > 90*demoDay {
				broken++
			}
		}
	}
	t := &d.tally
	d.say("Consumers made %d calls with their keys, %d of them failed; they changed over to %d new keys.\n  Keys over the age limit now: %d. The whole story took %s.",
		t.calls.Load(), t.failures.Load(), t.switches.Load(), broken, time.Since(d.began).Round(100*time.Millisecond))
	if t.failures.Load() > 0 || t.switches.Load() == 0 || broken > 0 {
		return errors.New("the demo did not end as it should: consumers failed, or old keys are left")
	}
	return nil
}
