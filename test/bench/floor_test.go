package bench_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// floor makes the calls that a run cannot do without, with rotator's transport
// settings and as many at once, and nothing else: no log, no state, no thought.
type floor struct {
	s      *stack
	web    *http.Client
	bearer string
	calls  atomic.Int64
	alone  time.Duration // what a call takes that nothing disturbs
}

func (s *stack) floor() *floor {
	s.b.Helper()
	f := &floor{s: s, web: client()}
	token, err := f.token(s.b.Context(), s.own.KeyID, s.own.Secret)
	if err != nil {
		s.b.Fatal(err)
	}
	f.bearer = token
	return f
}

// took is how long the floor takes over the fleet's projects. In rotate of
// them, from the first on, it makes and publishes a key.
func (f *floor) took(fleet fleet, first, rotate int) time.Duration {
	f.s.b.Helper()
	f.calls.Store(0)
	begun := time.Now()
	g, ctx := errgroup.WithContext(f.s.b.Context())
	var next atomic.Int64
	for range concurrency {
		g.Go(func() error {
			for p := int(next.Add(1)) - 1; p < fleet.projects; p = int(next.Add(1)) - 1 {
				if err := f.project(ctx, fleet, p, p >= first && p < first+rotate); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		f.s.b.Fatal(err)
	}
	return time.Since(begun)
}

// listen finds out what a call takes when it is the only one: the latency that
// was asked for, and what the way there and back adds to it.
func (f *floor) listen() {
	f.s.b.Helper()
	var took []time.Duration
	for n := range 40 {
		call := func() error { return f.vault(f.s.b.Context(), http.MethodGet, project(0)+"/"+name(0), nil) }
		if n%2 == 0 {
			call = func() error {
				return f.sinch(f.s.b.Context(), http.MethodGet, "/v1/projects/"+project(0)+"/accessKeys", f.bearer, nil, nil)
			}
		}
		begun := time.Now()
		if err := call(); err != nil {
			f.s.b.Fatal(err)
		}
		took = append(took, time.Since(begun))
	}
	f.alone = median(took)
}

// ideal is how long as many calls take at least that nothing disturbs, one after
// the other on each of the workers.
func (f *floor) ideal() time.Duration {
	return time.Duration(f.calls.Load()) * f.alone / concurrency
}

func (f *floor) project(ctx context.Context, fleet fleet, p int, rotate bool) error {
	keys := "/v1/projects/" + project(p) + "/accessKeys"
	if err := f.sinch(ctx, http.MethodGet, keys+"?pageSize=1000", f.bearer, nil, nil); err != nil {
		return err
	}
	for k := range fleet.keys {
		if err := f.vault(ctx, http.MethodGet, project(p)+"/"+name(k), nil); err != nil {
			return err
		}
	}
	if !rotate {
		return nil
	}
	var made struct {
		AccessKey struct{ AccessKeyID string }
		Secret    string
	}
	err := f.sinch(ctx, http.MethodPost, keys, f.bearer, map[string]string{"displayName": fmt.Sprint("floor-", time.Now().UnixNano())}, &made)
	if err != nil {
		return err
	}
	token, err := f.token(ctx, made.AccessKey.AccessKeyID, made.Secret)
	if err != nil {
		return err
	}
	if err := f.sinch(ctx, http.MethodGet, keys+"/"+made.AccessKey.AccessKeyID, token, nil, nil); err != nil {
		return err
	}
	data := map[string]any{"data": map[string]string{"key_id": made.AccessKey.AccessKeyID, "key_secret": made.Secret}}
	if err := f.vault(ctx, http.MethodPost, project(p)+"/floor", data); err != nil {
		return err
	}
	return f.vault(ctx, http.MethodGet, project(p)+"/floor", nil)
}

// token exchanges a key for a token.
func (f *floor) token(ctx context.Context, id, secret string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.s.sinch+"/oauth2/token", strings.NewReader("grant_type=client_credentials"))
	if err != nil {
		return "", err
	}
	req.SetBasicAuth(id, secret)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	f.calls.Add(1)
	var answer struct {
		Token string `json:"access_token"`
	}
	err = exchange(f.web, req, &answer)
	return answer.Token, err
}

func (f *floor) sinch(ctx context.Context, method, path, bearer string, body, answer any) error {
	req, err := f.request(ctx, method, f.s.sinch+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	return exchange(f.web, req, answer)
}

func (f *floor) vault(ctx context.Context, method, path string, body any) error {
	req, err := f.request(ctx, method, f.s.vault+"/v1/secret/data/"+f.s.prefix+"/"+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("X-Vault-Token", f.s.token)
	return exchange(f.web, req, nil)
}

func (f *floor) request(ctx context.Context, method, address string, body any) (*http.Request, error) {
	f.calls.Add(1)
	if body == nil {
		return http.NewRequestWithContext(ctx, method, address, nil)
	}
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return http.NewRequestWithContext(ctx, method, address, bytes.NewReader(text))
}

// exchange sends a request and reads the whole answer, into answer unless that
// is nil.
func exchange(web *http.Client, req *http.Request, answer any) error {
	resp, err := web.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode > 299 {
		return fmt.Errorf("%w %d: %s %s", errStatus, resp.StatusCode, req.Method, req.URL.Path)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(body, answer)
}
