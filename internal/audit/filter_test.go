package audit_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rotator/internal/audit"
)

func TestFilterCheck(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		filter audit.Filter
		want   []string // the fields that are wrong
	}{
		"nothing":          {audit.Filter{}, nil},
		"all right":        {audit.Filter{Run: someID, Rotation: "0123456789abv", Status: "5xx", Outcome: "unknown", Since: at, Until: at.Add(1)}, nil},
		"upper case":       {audit.Filter{Run: "01890A5D-AC96-774B-BCCE-B302099A8057", Status: "5XX"}, nil},
		"run":              {audit.Filter{Run: "7"}, []string{"run"}},
		"run as a URN":     {audit.Filter{Run: "urn:uuid:" + someID}, []string{"run"}},
		"run with a hole":  {audit.Filter{Run: someID[:35] + "x"}, []string{"run"}},
		"short rotation":   {audit.Filter{Rotation: "0123456789ab"}, []string{"rotation"}},
		"rotation, upper":  {audit.Filter{Rotation: "0123456789ABC"}, []string{"rotation"}},
		"rotation, line":   {audit.Filter{Rotation: "0123456789abc\n"}, []string{"rotation"}},
		"rotation, letter": {audit.Filter{Rotation: "0123456789abw"}, []string{"rotation"}},
		"status":           {audit.Filter{Status: "teapot"}, []string{"status"}},
		"no such class":    {audit.Filter{Status: "0xx"}, []string{"status"}},
		"outcome":          {audit.Filter{Outcome: "OK"}, []string{"outcome"}},
		"period":           {audit.Filter{Since: at, Until: at}, []string{"until"}},
		"everything":       {audit.Filter{Run: "r", Rotation: "r", Status: "s", Outcome: "o", Since: at, Until: at.Add(-1)}, []string{"run", "rotation", "status", "outcome", "until"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, wrong := range c.filter.Check() {
				got = append(got, wrong.Field)
				if !errors.Is(wrong, audit.ErrFilter) || wrong.Want == "" {
					t.Errorf("%v does not match ErrFilter or says nothing of what is right", wrong)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestFilterWords(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 1, 0, 0, 5000, time.FixedZone("CET", 3600))
	for want, f := range map[string]audit.Filter{
		"everything": {},
		"since 2026-03-01T00:00:00.000005Z, until 2026-03-01T00:00:01.000005Z, project p, credential c, key k, run r, rotation o, type t, op op, status 5xx, outcome ok, actor a": {
			Since: at, Until: at.Add(time.Second), Project: "p", Credential: "c", Key: "k", Run: "r", Rotation: "o", Type: "t", Operation: "op", Status: "5xx", Outcome: "ok", Actor: "a",
		},
		"at most 3":             {Limit: 3},
		"at most 3, the newest": {Limit: 3, Newest: true},
	} {
		if got := f.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
