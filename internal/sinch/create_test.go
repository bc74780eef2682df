package sinch_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/call"
	"rotator/internal/sinch"
	"rotator/internal/sinch/sinchtest"
)

const opCreate = "access_keys.create"

func TestCreateKey(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{ExtraFields: true})
	name := "billing \"api\"/\u00e9\u2028\u4e16<>&~0123456789abc"
	key, secret, err := g.CreateKey(t.Context(), child, name)
	if err != nil {
		t.Fatal(err)
	}
	if key.DisplayName != name || key.ProjectID != child || key.CreatedAt.IsZero() {
		t.Errorf("created %+v", key)
	}
	if !g.Works(key.ID, secret.Reveal()) {
		t.Error("the secret does not work")
	}
	log := g.log.all()
	last := log[len(log)-1]
	if last.result.Key != key.ID || last.call.DisplayName != name || last.call.Project != child || !last.call.Mutating {
		t.Errorf("recorded %+v", last)
	}
	if diff := cmp.Diff([]string{"intent 1", "ok 1 200"}, g.log.story(opCreate)); diff != "" {
		t.Error(diff)
	}
}

// TestCreateIsSentOnce holds invariant 4: whatever comes back, one POST left,
// and the error never claims more than is certain.
func TestCreateIsSentOnce(t *testing.T) {
	t.Parallel()
	unknown := []error{sinch.ErrStateUnknown}
	answer := func(status int, body string) sinchtest.Behaviour { return sinchtest.AppliedAnswer(status, body, nil) }
	for name, tc := range map[string]struct {
		do   sinchtest.Behaviour
		want []error
	}{
		"401":            {sinchtest.Status(401), []error{sinch.ErrNotApplied, sinch.ErrUnauthenticated}},
		"expired token":  {sinchtest.ExpireTokens(), []error{sinch.ErrNotApplied, sinch.ErrUnauthenticated}},
		"429":            {sinchtest.RateLimited(""), []error{sinch.ErrNotApplied, sinch.ErrRetryable}},
		"400":            {sinchtest.Status(400), []error{sinch.ErrPermanent}},
		"403":            {sinchtest.Status(403), []error{sinch.ErrPermanent, sinch.ErrForbidden}},
		"404":            {sinchtest.Status(404), []error{sinch.ErrPermanent, sinch.ErrNotFound}},
		"408":            {sinchtest.Status(408), unknown},
		"409":            {sinchtest.Status(409), []error{sinch.ErrPermanent, sinch.ErrNameTaken}},
		"500":            {sinchtest.Status(500), unknown},
		"500 though":     {sinchtest.AppliedStatus(500), unknown},
		"501":            {sinchtest.Status(501), unknown},
		"503 though":     {sinchtest.AppliedStatus(503), unknown},
		"302":            {sinchtest.Answer(302, "", http.Header{"Location": {"/elsewhere"}}), unknown},
		"307":            {sinchtest.Answer(307, "", http.Header{"Location": {"/elsewhere"}}), unknown},
		"308 bad target": {sinchtest.Answer(308, "", http.Header{"Location": {":%zz"}}), unknown},
		"lost":           {sinchtest.Lost(), unknown},
		"lost though":    {sinchtest.AppliedLost(), unknown},
		"cut":            {sinchtest.CutBody(), unknown},
		"not JSON":       {sinchtest.NotJSON(), unknown},
		"empty object":   {sinchtest.EmptyObject(), unknown},
		"no body":        {answer(200, ""), unknown},
		"204":            {answer(204, ""), unknown},
		"null":           {answer(200, "null"), unknown},
		"no secret":      {answer(200, `{"accessKey":{"accessKeyId":"k","createTime":"2026-01-01T00:00:00Z"}}`), unknown},
		"no id":          {answer(200, `{"accessKey":{"createTime":"2026-01-01T00:00:00Z"},"secret":"s3cret-value"}`), unknown},
		"other project":  {answer(200, `{"accessKey":{"accessKeyId":"k","projectId":"other","createTime":"2026-01-01T00:00:00Z"},"secret":"s3cret-value"}`), unknown},
		"secret typed":   {answer(200, `{"accessKey":{"accessKeyId":"k","createTime":"2026-01-01T00:00:00Z"},"secret":7}`), unknown},
		"too long":       {answer(200, strings.Repeat(" ", call.BodyLimit+1)), unknown},
		"too slow":       {sinchtest.AppliedDelay(10 * time.Second), unknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t, sinchtest.Config{}, func(c *sinch.Config) { c.Timeout = 2 * time.Second })
			g.Fault(sinchtest.Fault{Operation: opCreate, Do: tc.do})
			_, secret, err := g.CreateKey(t.Context(), child, "a~0123456789abc")
			matches(t, err, tc.want...)
			if !secret.IsZero() {
				t.Error("returned a secret with an error")
			}
			if n := g.sent(opCreate); n != 1 {
				t.Errorf("sent %d times", n)
			}
			if story := g.log.story(opCreate); len(story) != 2 || story[0] != "intent 1" {
				t.Errorf("recorded %q", story)
			}
			if n := g.sent("unknown"); n != 0 {
				t.Error("followed a redirect")
			}
		})
	}
}

func TestCreateAfterExpiryGoesOnWithAFreshToken(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	if _, err := g.ListKeys(t.Context(), child); err != nil {
		t.Fatal(err)
	}
	g.ExpireTokens()
	_, _, err := g.CreateKey(t.Context(), child, "a~0123456789abc")
	matches(t, err, sinch.ErrNotApplied, sinch.ErrUnauthenticated)
	if _, _, err := g.CreateKey(t.Context(), child, "a~0123456789abd"); err != nil {
		t.Errorf("second name: %v", err)
	}
}

func TestCreateLimits(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	for i := range 10 {
		g.AddKey(child, string(rune('a'+i)), time.Now())
	}
	_, _, err := g.CreateKey(t.Context(), child, "z")
	matches(t, err, sinch.ErrPermanent, sinch.ErrFull)
	g.AddKey(parent, "twin", time.Now())
	_, _, err = g.CreateKey(t.Context(), parent, "twin")
	matches(t, err, sinch.ErrPermanent, sinch.ErrNameTaken)
}

// TestNoIntentNoCreate holds invariant 3.
func TestNoIntentNoCreate(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	g.log.refuseIntents = errors.New("log is down")
	_, _, err := g.CreateKey(t.Context(), child, "a")
	matches(t, err, sinch.ErrNotApplied, call.ErrNotSent)
	key := g.Keys(parent)[0].ID
	matches(t, g.DeleteKey(t.Context(), parent, key), sinch.ErrNotApplied, call.ErrNotSent)
	_, err = g.RenameKey(t.Context(), parent, key, "b")
	matches(t, err, sinch.ErrNotApplied, call.ErrNotSent)
	if n := g.sent(opCreate) + g.sent("access_keys.delete") + g.sent("access_keys.update"); n != 0 {
		t.Errorf("%d mutations were sent without an intent", n)
	}
}

func TestCreateWhoseOutcomeIsNotRecorded(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	g.log.refuseOutcomes = errors.New("log is down")
	_, secret, err := g.CreateKey(t.Context(), child, "a")
	matches(t, err, sinch.ErrStateUnknown, call.ErrNotRecorded)
	if !secret.IsZero() {
		t.Error("returned a secret that is not on record")
	}
	if err := g.DeleteKey(t.Context(), child, g.Keys(child)[0].ID); !errors.Is(err, call.ErrNotRecorded) {
		t.Errorf("delete: %v", err)
	}
	if n := g.sent("access_keys.delete"); n != 1 {
		t.Errorf("delete was sent %d times while the log is down", n)
	}
}

func TestCreateCancelledUnderWay(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	hold, held := sinchtest.Hold()
	g.Fault(sinchtest.Fault{Operation: opCreate, Do: hold})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-held.Arrived()
		cancel()
	}()
	_, _, err := g.CreateKey(ctx, child, "a")
	matches(t, err, sinch.ErrStateUnknown)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v does not say that it was cancelled", err)
	}
}

func TestCreateCancelledBefore(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := g.CreateKey(ctx, child, "a")
	matches(t, err, sinch.ErrNotApplied)
	if len(g.log.all()) != 0 {
		t.Error("something was sent")
	}
}

func TestCreateWithoutAToken(t *testing.T) {
	t.Parallel()
	g := start(t, sinchtest.Config{})
	g.Fault(sinchtest.Fault{Operation: "token.exchange", Do: sinchtest.Status(401)})
	_, _, err := g.CreateKey(t.Context(), child, "a")
	matches(t, err, sinch.ErrNotApplied, sinch.ErrUnauthenticated, sinch.ErrPermanent)
	if n := g.sent("token.exchange"); n != 1 {
		t.Errorf("a refused key was exchanged %d times", n)
	}
}
