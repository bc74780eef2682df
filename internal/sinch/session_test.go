package sinch_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/secret"
	"rotator/internal/sinch"
	"rotator/internal/sinch/sinchtest"
)

const opExchange = "token.exchange"

func TestManyCallersShareOneExchange(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	g.Fault(sinchtest.Fault{Operation: opExchange, Do: sinchtest.Delay(100 * time.Millisecond)})
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if _, err := g.ListKeys(t.Context(), child); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := g.sent(opExchange); n != 1 {
		t.Errorf("%d exchanges", n)
	}
}

func TestManyCallersShareOneRefusal(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	hold, held := sinchtest.Hold()
	g.Fault(sinchtest.Fault{Operation: opExchange, Times: 1, Do: hold})
	g.Fault(sinchtest.Fault{Operation: opExchange, Do: sinchtest.Status(401)})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			_, err := g.ListKeys(t.Context(), child)
			if !errors.Is(err, sinch.ErrUnauthenticated) {
				t.Error(err)
			}
		})
	}
	<-held.Arrived()
	time.Sleep(time.Second) // let the others queue up
	held.Release()
	wg.Wait()
	if n := g.sent(opExchange); n > 2 {
		t.Errorf("%d exchanges of a refused key", n)
	}
}

// TestExchangeOutlivesItsLeader: whoever waits for an exchange is not failed
// by another caller's cancellation.
func TestExchangeOutlivesItsLeader(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	hold, held := sinchtest.Hold()
	g.Fault(sinchtest.Fault{Operation: opExchange, Times: 1, Do: hold})
	leading, stop := context.WithCancel(t.Context())
	led := make(chan error, 1)
	go func() {
		_, err := g.ListKeys(leading, child)
		led <- err
	}()
	<-held.Arrived()
	followed := make(chan error, 1)
	go func() {
		_, err := g.ListKeys(t.Context(), child)
		followed <- err
	}()
	impatient, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := g.ListKeys(impatient, child); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a waiting caller does not respect its context: %v", err)
	}
	stop()
	if err := <-led; !errors.Is(err, context.Canceled) {
		t.Errorf("leader: %v", err)
	}
	if err := <-followed; err != nil {
		t.Errorf("follower: %v", err)
	}
}

func TestTokenIsRenewedAMinuteBeforeItExpires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := startDirect(t, sinchtest.Config{})
		list := func() {
			t.Helper()
			if _, err := g.ListKeys(t.Context(), child); err != nil {
				t.Fatal(err)
			}
		}
		list()
		time.Sleep(59*time.Minute - 2*time.Second) // expires_in is 3599
		list()
		if n := g.sent(opExchange); n != 1 {
			t.Errorf("%d exchanges while the token lives", n)
		}
		time.Sleep(2 * time.Second)
		list()
		if n := g.sent(opExchange); n != 2 {
			t.Errorf("%d exchanges after it expired", n)
		}
		if n := g.Counts()["access_keys.list 401"]; n != 0 {
			t.Errorf("an expired token was sent %d times", n)
		}
	})
}

func TestRefusedTokenIsExchangedOnceMore(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	if _, err := g.ListKeys(t.Context(), child); err != nil {
		t.Fatal(err)
	}
	g.ExpireTokens()
	if _, err := g.ListKeys(t.Context(), child); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"ok 1 200", "error 1 401", "ok 2 200"}, g.log.story("access_keys.list")); diff != "" {
		t.Error(diff)
	}
	g.Fault(sinchtest.Fault{Operation: "access_keys.list", Do: sinchtest.Status(401)})
	_, err := g.ListKeys(t.Context(), child)
	matches(t, err, sinch.ErrUnauthenticated, sinch.ErrPermanent)
	if n := g.Counts()["access_keys.list 401"]; n != 3 {
		t.Errorf("%d refusals, want one and then two", n)
	}
}

func TestUseSwitchesTheKey(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	if _, err := g.ListKeys(t.Context(), child); err != nil {
		t.Fatal(err)
	}
	next := credentials(g.AddKey(parent, "next", time.Now()))
	g.Use(next)
	if g.KeyID() != next.KeyID {
		t.Errorf("key id is %q", g.KeyID())
	}
	if _, err := g.ListKeys(t.Context(), child); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, r := range g.Requests() {
		if r.Operation == opExchange {
			keys = append(keys, r.Key)
		}
	}
	if diff := cmp.Diff([]string{g.own.KeyID, next.KeyID}, keys); diff != "" {
		t.Error(diff)
	}
}

func TestNoCredentialsYet(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	g.Use(sinch.Credentials{})
	_, err := g.ListKeys(t.Context(), child)
	matches(t, err, sinch.ErrUnauthenticated, sinch.ErrNotApplied)
	if len(g.Requests()) != 0 {
		t.Error("something was sent")
	}
}

func TestExchangeFailures(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		do   sinchtest.Behaviour
		want []error
	}{
		"401":      {sinchtest.Status(401), []error{sinch.ErrUnauthenticated, sinch.ErrPermanent, sinch.ErrNotApplied}},
		"400":      {sinchtest.Status(400), []error{sinch.ErrUnauthenticated, sinch.ErrPermanent, sinch.ErrNotApplied}},
		"403":      {sinchtest.Status(403), []error{sinch.ErrForbidden, sinch.ErrPermanent, sinch.ErrNotApplied}},
		"no token": {sinchtest.Answer(200, `{"token_type":"bearer"}`, nil), []error{sinch.ErrIncomplete, sinch.ErrRetryable, sinch.ErrNotApplied}},
		"not ours": {sinchtest.Answer(200, `{"access_token":"t","token_type":"mac"}`, nil), []error{sinch.ErrIncomplete, sinch.ErrRetryable, sinch.ErrNotApplied}},
		"429":      {sinchtest.RateLimited(""), []error{sinch.ErrRetryable, sinch.ErrNotApplied}},
		"503":      {sinchtest.Status(503), []error{sinch.ErrRetryable, sinch.ErrNotApplied}},
		"lost":     {sinchtest.Lost(), []error{sinch.ErrRetryable, sinch.ErrNotApplied}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := startDirect(t, sinchtest.Config{})
				g.Fault(sinchtest.Fault{Operation: opExchange, Do: tc.do})
				_, err := g.ListKeys(t.Context(), child)
				matches(t, err, tc.want...)
				if n := g.sent(opExchange); n > 8 {
					t.Errorf("%d exchanges: retries multiply", n)
				}
			})
		})
	}
}

// TestTokenAnswers checks how long tokens are kept, by what the answer says.
func TestTokenAnswers(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answer string
		kept   time.Duration // still used then, and no longer a second later
	}{
		"number":       {`{"access_token":"tok","token_type":"BeaRer","expires_in":600}`, 9 * time.Minute},
		"text":         {`{"access_token":"tok","token_type":"bearer","expires_in":"600"}`, 9 * time.Minute},
		"missing":      {`{"access_token":"tok"}`, 4 * time.Minute},
		"null":         {`{"access_token":"tok","expires_in":null}`, 4 * time.Minute},
		"not a number": {`{"access_token":"tok","expires_in":"NaN"}`, 4 * time.Minute},
		"negative":     {`{"access_token":"tok","expires_in":-1}`, 4 * time.Minute},
		"huge":         {`{"access_token":"tok","expires_in":1e30}`, 4 * time.Minute},
		"object":       {`{"access_token":"tok","expires_in":{}}`, 4 * time.Minute},
		"very short":   {`{"access_token":"tok","expires_in":30}`, 15 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := startDirect(t, sinchtest.Config{})
				g.Fault(sinchtest.Fault{Operation: opExchange, Do: sinchtest.Answer(200, tc.answer, nil)})
				g.Fault(sinchtest.Fault{Operation: "access_keys.list", Do: sinchtest.Answer(200, "{}", nil)})
				for i, wait := range []time.Duration{0, tc.kept - time.Second, time.Second} {
					time.Sleep(wait)
					if _, err := g.ListKeys(t.Context(), child); err != nil {
						t.Fatal(err)
					}
					if n, want := g.sent(opExchange), 1+i/2; n != want {
						t.Errorf("%d exchanges after step %d, want %d", n, i, want)
					}
				}
			})
		})
	}
}

// TestTokenBucket: exchanges keep within the documented bucket.
func TestTokenBucket(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := startDirect(t, sinchtest.Config{}, func(c *sinch.Config) { c.TokenRate, c.TokenBurst = 10, 30 })
		begin := time.Now()
		for range 60 {
			if err := g.ListOwn(t.Context(), child, g.own); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begin); took < 3*time.Second || took > 4*time.Second {
			t.Errorf("60 exchanges took %s, want 3s", took)
		}
		if n := g.Counts()["token.exchange 429"]; n != 0 {
			t.Errorf("the bucket overflowed %d times", n)
		}
	})
}

func TestExchangeWaitsOutAnEmptyBucket(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := startDirect(t, sinchtest.Config{})
		g.Fault(sinchtest.Fault{Operation: opExchange, Times: 3, Do: sinchtest.RateLimited("")})
		if _, _, err := g.CreateKey(t.Context(), child, "a"); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]string{"error 1 429", "error 2 429", "error 3 429", "ok 4 200"}, g.log.story(opExchange)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestBasic(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{}, func(c *sinch.Config) { c.AuthMethod = "basic" })
	if _, _, err := g.CreateKey(t.Context(), child, "a"); err != nil {
		t.Error(err)
	}
	g.Use(sinch.Credentials{KeyID: g.own.KeyID, Secret: secret.New("not-the-secret")})
	_, err := g.ListKeys(t.Context(), child)
	matches(t, err, sinch.ErrUnauthenticated, sinch.ErrPermanent)
	if n := g.sent(opExchange); n != 0 {
		t.Errorf("%d exchanges", n)
	}
	if n := g.sent("access_keys.list"); n != 1 {
		t.Errorf("a refused pair was sent %d times", n)
	}
}
