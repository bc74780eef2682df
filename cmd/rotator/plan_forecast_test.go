package main

import (
	"testing"
	"time"

	"rotator/internal/rotation"
)

// TestForecast: the wave takes as long as its tightest limit, or as the
// servers need; BenchmarkLimits holds it against a real one.
func TestForecast(t *testing.T) {
	t.Parallel()
	wave := &planReport{Projects: 200, Keys: 200, Rotated: 200}
	for range wave.Rotated {
		wave.Actions = append(wave.Actions, planAction{Action: rotation.Rotate})
	}
	sweep := &planReport{
		Projects: 100, Keys: 100, Retired: 2, OrphansDeleted: 1,
		Actions: []planAction{{ProjectID: "a", Action: rotation.Retire}, {ProjectID: "a", Action: rotation.Retire}, {ProjectID: "b", Action: rotation.DeleteOrphan}},
	}
	for name, c := range map[string]struct {
		r      *planReport
		limits sinchSettings
		looked time.Duration
		want   time.Duration
	}{
		"requests":       {wave, sinchSettings{RateLimit: 20, TokenRate: 10, TokenBurst: 30}, time.Second, 39050 * time.Millisecond}, // (1 + 200 + 600 - 20) / 20
		"tokens":         {wave, sinchSettings{RateLimit: 1000, TokenRate: 1, TokenBurst: 30}, 0, 171 * time.Second},
		"unlimited":      {wave, sinchSettings{}, 0, 0},
		"servers":        {wave, sinchSettings{}, 4 * time.Second, 23955 * time.Millisecond}, // 401 calls took 4 s; 2401 are to be made, less what is shared
		"limited plan":   {wave, sinchSettings{RateLimit: 20, TokenRate: 10, TokenBurst: 30}, 9050 * time.Millisecond, 39050 * time.Millisecond},
		"deletions only": {sweep, sinchSettings{RateLimit: 10, TokenRate: 10, TokenBurst: 30}, 9 * time.Second, 10200 * time.Millisecond}, // (1 + 100 + 9 + 2 - 10) / 10
	} {
		got := c.r.forecast().estimate(c.limits, c.looked)
		if d := (got - c.want).Abs(); d > 30*time.Millisecond {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	if line := (&planReport{Projects: 5}).estimateLine(); line != "" {
		t.Errorf("nothing to do, and yet %q", line)
	}
}
