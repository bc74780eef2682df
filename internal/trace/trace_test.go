package trace_test

import (
	"context"
	"errors"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"rotator/internal/trace"
)

var form = regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-00$`)

// TestNumbers: what is begun below a piece of work belongs to its trace and has
// a number of its own; beside it is another trace.
func TestNumbers(t *testing.T) {
	t.Parallel()
	if got := trace.Parent(t.Context()); got != "" {
		t.Errorf("outside of any work: %q", got)
	}
	ctx, end := trace.Start(t.Context(), "run")
	inner, endInner := trace.Start(ctx, "project")
	first, second := trace.Send(inner, "access_keys.list"), trace.Send(inner, "access_keys.list")
	other := trace.Send(t.Context(), "vault.login")
	all := []string{trace.Parent(ctx), trace.Parent(inner), first.Parent(), second.Parent(), other.Parent()}
	seen := map[string]bool{}
	for i, text := range all {
		if !form.MatchString(text) || strings.Contains(text, strings.Repeat("0", 16)) {
			t.Errorf("%q is no traceparent", text)
			continue
		}
		if span := text[36:52]; seen[span] {
			t.Errorf("span %s is there twice", span)
		} else {
			seen[span] = true
		}
		if same := text[3:35] == all[0][3:35]; same != (i < 4) {
			t.Errorf("%d belongs to the first one's trace: %v", i, same)
		}
	}
	first.End("", trace.Number("http.response.status_code", 200))
	second.End("lost")
	endInner(errors.New("failed"))
	end(nil)
}

// TestWithin: work goes on below somebody else's span, whose flag is kept:
// somebody records it. What cannot be read counts as not there.
func TestWithin(t *testing.T) {
	t.Parallel()
	const id, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	for text, want := range map[string]string{
		"00-" + id + "-" + span + "-01":                      "-01",
		"00-" + id + "-" + span + "-00":                      "-00",
		"00-" + id + "-" + span + "-03":                      "-01",
		"cc-" + id + "-" + span + "-01-more":                 "-01",
		"00-" + id + "-" + span + "-01-more":                 "",
		"ff-" + id + "-" + span + "-01":                      "",
		"00-" + strings.ToUpper(id) + "-" + span + "-01":     "",
		"00-" + strings.Repeat("0", 32) + "-" + span + "-01": "",
		"00-" + id + "-" + strings.Repeat("0", 16) + "-01":   "",
		"00-" + id + "-" + strings.Repeat("g", 16) + "-01":   "",
		"00 " + id + "-" + span + "-01":                      "",
		"":                                                   "",
		"00-" + id:                                           "",
		strings.Repeat("é", 28):                              "",
		"00-" + id + "-" + span + "-1":                       "",
		"0x-" + id + "-" + span + "-01":                      "",
		"00-" + id + "-" + span + "-zz":                      "",
		strings.Repeat("-", 55):                              "",
	} {
		ctx := trace.Within(t.Context(), text)
		got := trace.Send(ctx, "op").Parent()
		if want == "" {
			if trace.Parent(ctx) != "" || got[3:35] == id {
				t.Errorf("%q was taken", text)
			}
			continue
		}
		if got[3:35] != id || got[36:52] == span || !strings.HasSuffix(got, want) {
			t.Errorf("below %q: %s", text, got)
		}
	}
}

func FuzzWithin(f *testing.F) {
	f.Add("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	f.Add("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what the future brings")
	f.Fuzz(func(t *testing.T, text string) {
		ctx := trace.Within(context.Background(), text)
		above, below := trace.Parent(ctx), trace.Send(ctx, "op").Parent()
		if above != "" && (above[3:52] != text[3:52] || below[3:35] != text[3:35]) {
			t.Errorf("%q was read as %q, below it is %q", text, above, below)
		}
	})
}

// TestNothingIsLoaded: without Record there is nothing of OpenTelemetry at
// work, and a span costs next to nothing.
func TestNothingIsLoaded(t *testing.T) { //nolint:paralleltest // it counts allocations
	cost := testing.AllocsPerRun(100, func() {
		_, end := trace.Start(t.Context(), "project", trace.Text("rotator.project", "p"))
		end(nil)
	})
	if cost > 6 {
		t.Errorf("a span takes %v allocations", cost)
	}
	stacks := make([]byte, 1<<20)
	if text := string(stacks[:runtime.Stack(stacks, true)]); strings.Contains(text, "go.opentelemetry.io") {
		t.Errorf("OpenTelemetry is at work:\n%s", text)
	}
}
