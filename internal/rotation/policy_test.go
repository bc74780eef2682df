package rotation_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"rotator/internal/rotation"
)

func TestParseDuration(t *testing.T) {
	t.Parallel()
	good := map[string]time.Duration{
		"90d": 90 * day, "1d12h": 36 * time.Hour, "1.5d": 36 * time.Hour, "0d": 0, "0": 0, "45m": 45 * time.Minute,
		"1d1ns": day + 1, "106751d": 106751 * day, "500ms": 500 * time.Millisecond,
	}
	for text, want := range good {
		if got, err := rotation.ParseDuration(text); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "d", "90", "-1d", "+1d", "1d-1h", "1h2d", "1d2d", "106752d", "106751d24h", "next week", "1 d", "0x1d", "1e3d", "infd"} {
		if got, err := rotation.ParseDuration(text); err == nil || !strings.Contains(err.Error(), "such as 90d") {
			t.Errorf("ParseDuration(%q) = %v, %v", text, got, err)
		}
	}
}

func TestFormatDuration(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]time.Duration{
		"90d": 90 * day, "1d12h": 36 * time.Hour, "1h": time.Hour, "10m": 10 * time.Minute, "0s": 0, "1d20s": day + 20*time.Second, "2h0m5s": 2*time.Hour + 5*time.Second,
	} {
		if got := rotation.FormatDuration(d); got != want {
			t.Errorf("FormatDuration(%d) = %q, want %q", d, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, math.MaxInt64).Draw(t, "d"))
		if got, err := rotation.ParseDuration(rotation.FormatDuration(d)); err != nil || got != d {
			t.Fatalf("%d came back as %d, %v", d, got, err)
		}
	})
}

func FuzzParseDuration(f *testing.F) {
	for _, text := range []string{"90d", "1d12h", "1.5d", "-1d", "106752d", "d", "µs", "1d9223372036854775807ns"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := rotation.ParseDuration(text)
		if err != nil {
			return
		}
		if d < 0 {
			t.Fatalf("%q is %d", text, d)
		}
		if again, err := rotation.ParseDuration(rotation.FormatDuration(d)); err != nil || again != d {
			t.Fatalf("%q came back as %d, %v", text, again, err)
		}
	})
}

func TestPolicyValidate(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		policy rotation.Policy
		want   []string // in the message; nil when valid
	}{
		"default":        {rotation.Policy{MaxAge: 90 * day, Overlap: 7 * day, Margin: 2 * day}, nil},
		"just":           {rotation.Policy{MaxAge: 16 * day, Overlap: 7 * day, Margin: 2 * day}, nil},
		"just not":       {rotation.Policy{MaxAge: 16*day - 1, Overlap: 7 * day, Margin: 2 * day}, []string{"margin of 2d", "above 16d"}},
		"always due":     {rotation.Policy{MaxAge: 2 * day, Margin: 2 * day}, []string{"leaves no room"}},
		"no overlap":     {rotation.Policy{MaxAge: 3 * day, Margin: 2 * day}, nil},
		"zero":           {rotation.Policy{}, []string{"must be positive"}},
		"negative":       {rotation.Policy{MaxAge: day, Overlap: -1}, []string{"at least 0"}},
		"overflow":       {rotation.Policy{MaxAge: day, Overlap: math.MaxInt64, Margin: math.MaxInt64}, []string{"292 years"}},
		"unknown adopt":  {rotation.Policy{MaxAge: day, Adopt: "maybe"}, []string{`"maybe"`}},
		"overlap beyond": {rotation.Policy{MaxAge: day, Overlap: 2 * day}, []string{"max age 1d leaves no room"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := test.policy.Validate()
			if (err == nil) != (test.want == nil) {
				t.Fatalf("Validate: %v", err)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q lacks %q", err, want)
				}
			}
		})
	}
}

func TestMargin(t *testing.T) {
	t.Parallel()
	if got, want := rotation.Margin(72*time.Hour, 5*time.Minute, 2*time.Minute), 168*time.Hour+12*time.Minute; got != want {
		t.Errorf("Margin = %v, want %v", got, want)
	}
}

func TestApplyLabels(t *testing.T) {
	t.Parallel()
	base := rotation.Policy{MaxAge: 90 * day, Overlap: 7 * day, Margin: 2 * day}
	tests := map[string]struct {
		labels   map[string]string
		mode     rotation.LabelMode
		want     rotation.Policy
		excluded bool
		problem  string
	}{
		"none":            {nil, "", base, false, ""},
		"others":          {map[string]string{"team": "x"}, "", base, false, ""},
		"shorter":         {map[string]string{"rotator.max-age": "30d"}, "", rotation.Policy{MaxAge: 30 * day, Overlap: 7 * day, Margin: 2 * day}, false, ""},
		"longer":          {map[string]string{"rotator.max-age": "120d"}, rotation.LabelsStricter, base, false, "ROTATOR_LABELS=any"},
		"longer, any":     {map[string]string{"rotator.max-age": "120d"}, rotation.LabelsAny, rotation.Policy{MaxAge: 120 * day, Overlap: 7 * day, Margin: 2 * day}, false, ""},
		"overlap":         {map[string]string{"rotator.overlap": "1d"}, "", base, false, "ROTATOR_LABELS=any"},
		"overlap, any":    {map[string]string{"rotator.overlap": "1d"}, rotation.LabelsAny, rotation.Policy{MaxAge: 90 * day, Overlap: day, Margin: 2 * day}, false, ""},
		"exclude":         {map[string]string{"rotator.exclude": "true"}, "", base, false, "ROTATOR_LABELS=any"},
		"exclude, any":    {map[string]string{"rotator.exclude": "true"}, rotation.LabelsAny, base, true, ""},
		"exclude false":   {map[string]string{"rotator.exclude": "false"}, rotation.LabelsAny, base, false, ""},
		"exclude maybe":   {map[string]string{"rotator.exclude": "yes"}, rotation.LabelsAny, base, false, "true or false"},
		"unreadable":      {map[string]string{"rotator.max-age": "next week"}, "", base, false, `"next week"`},
		"breaks":          {map[string]string{"rotator.max-age": "15d"}, "", base, false, "leaves no room"},
		"breaks together": {map[string]string{"rotator.max-age": "60d", "rotator.overlap": "40d"}, rotation.LabelsAny, base, false, "leaves no room"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := rotation.ApplyLabels(base, test.labels, test.mode)
			if diff := cmp.Diff(test.want, got.Policy); diff != "" || got.Excluded != test.excluded {
				t.Errorf("excluded %v, policy (-want +got):\n%s", got.Excluded, diff)
			}
			if said := strings.Join(got.Problems, "\n"); (said == "") != (test.problem == "") || !strings.Contains(said, test.problem) {
				t.Errorf("problems %q, want %q", said, test.problem)
			}
		})
	}
}

// TestSources: each part of what is in force names where it comes from; a label
// that changes nothing is no source.
func TestSources(t *testing.T) {
	t.Parallel()
	base := rotation.Policy{MaxAge: 90 * day, Overlap: 7 * day, Margin: 2 * day}
	chosen := base
	chosen.MarginSet = true
	age, overlap := "label rotator.max-age", "label rotator.overlap"
	tests := map[string]struct {
		policy  rotation.Policy
		labels  map[string]string
		mode    rotation.LabelMode
		want    rotation.Source
		byLabel bool
		said    string
	}{
		"none": {
			base, nil, "",
			rotation.Source{MaxAge: "ROTATOR_MAX_AGE", Overlap: "ROTATOR_OVERLAP", Margin: "derived"},
			false,
			"max age 90d (ROTATOR_MAX_AGE), overlap 7d (ROTATOR_OVERLAP), margin 2d (derived)",
		},
		"margin": {chosen, nil, "", rotation.Source{MaxAge: "ROTATOR_MAX_AGE", Overlap: "ROTATOR_OVERLAP", Margin: "ROTATOR_MARGIN"}, false, "margin 2d (ROTATOR_MARGIN)"},
		"stricter": {
			base,
			map[string]string{"rotator.max-age": "30d", "rotator.overlap": "1d", "rotator.exclude": "true"},
			rotation.LabelsStricter,
			rotation.Source{MaxAge: age, Overlap: "ROTATOR_OVERLAP", Margin: "derived"},
			true, "max age 30d (label rotator.max-age), overlap 7d (ROTATOR_OVERLAP)",
		},
		"longer": {
			base,
			map[string]string{"rotator.max-age": "120d"},
			rotation.LabelsStricter,
			rotation.Source{MaxAge: "ROTATOR_MAX_AGE", Overlap: "ROTATOR_OVERLAP", Margin: "derived"},
			false, "max age 90d (ROTATOR_MAX_AGE)",
		},
		"any": {
			base,
			map[string]string{"rotator.max-age": "120d", "rotator.overlap": "1d", "rotator.exclude": "true"},
			rotation.LabelsAny,
			rotation.Source{MaxAge: age, Overlap: overlap, Margin: "derived", Exclude: "label rotator.exclude"},
			true,
			"excluded (label rotator.exclude); max age 120d (label rotator.max-age), overlap 1d (label rotator.overlap)",
		},
		"same as set": {
			base,
			map[string]string{"rotator.overlap": "7d"},
			rotation.LabelsAny,
			rotation.Source{MaxAge: "ROTATOR_MAX_AGE", Overlap: overlap, Margin: "derived"},
			true, "overlap 7d (label rotator.overlap)",
		},
		"breaks": {
			base,
			map[string]string{"rotator.max-age": "15d"},
			"",
			rotation.Source{MaxAge: "ROTATOR_MAX_AGE", Overlap: "ROTATOR_OVERLAP", Margin: "derived"},
			false, "max age 90d (ROTATOR_MAX_AGE)",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := rotation.ApplyLabels(test.policy, test.labels, test.mode)
			if diff := cmp.Diff(test.want, got.Source); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got.ByLabel() != test.byLabel || !strings.Contains(got.String(), test.said) {
				t.Errorf("by label %t: %q lacks %q", got.ByLabel(), got.String(), test.said)
			}
		})
	}
}
