package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"rotator/internal/secret"
)

func TestNothingPrintsASecret(t *testing.T) {
	t.Parallel()
	const text = "s3cr3t-t3xt-of-a-key"
	v := secret.New(text)
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("login", "secret", v, "inside", struct{ S secret.Value }{v})
	encoded, err := json.Marshal(map[string]any{"v": v, "p": &v})
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{
		fmt.Sprint(v), fmt.Sprintf("%s %v %+v %#v %q %x %d", v, v, v, v, v, v, v), fmt.Sprintf("%v", struct{ S secret.Value }{v}),
		log.String(), string(encoded), fmt.Errorf("failed: %v", v).Error(),
	} {
		if strings.Contains(shown, text) || strings.Contains(shown, fmt.Sprintf("%x", text)) {
			t.Errorf("a secret was printed: %s", shown)
		}
	}
	if v.Reveal() != text {
		t.Error("Reveal does not reveal")
	}
}

func TestScrubLeavesNoLiveSecret(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[a-c]{6,12}`)
		values := make([]secret.Value, 0, 8)
		text := rapid.String().Draw(t, "before")
		for _, w := range rapid.SliceOfN(word, 1, 8).Draw(t, "secrets") {
			values = append(values, secret.New(w))
			text += " " + w + rapid.SampledFrom([]string{"", " ", "/", w}).Draw(t, "after")
		}
		clean := secret.Scrub(text)
		for _, v := range values {
			if strings.Contains(clean, v.Reveal()) {
				t.Fatalf("%q still holds %q", clean, v.Reveal())
			}
		}
		runtime.KeepAlive(values)
	})
}

func TestScrubKeepsWhatIsNoSecret(t *testing.T) {
	t.Parallel()
	v := secret.New("0123456789")
	for text, want := range map[string]string{
		"":                                 "",
		"01234":                            "01234",
		"012345678":                        "012345678",
		"key 0123456789, again 0123456789": "key [redacted], again [redacted]",
		"00123456789":                      "0[redacted]",
	} {
		if got := secret.Scrub(text); got != want {
			t.Errorf("Scrub(%q) = %q, want %q", text, got, want)
		}
	}
	runtime.KeepAlive(v)
}

func TestEqualAndFingerprint(t *testing.T) {
	t.Parallel()
	a, b, c := secret.New("one secret"), secret.New("one secret"), secret.New("another")
	if !a.Equal(b) || a.Equal(c) || a.Equal(secret.Value{}) || !(secret.Value{}).Equal(secret.New("")) {
		t.Error("Equal is wrong")
	}
	if a.Fingerprint() != b.Fingerprint() || a.Fingerprint() == c.Fingerprint() || len(a.Fingerprint()) != 12 {
		t.Errorf("fingerprints %q, %q, %q", a.Fingerprint(), b.Fingerprint(), c.Fingerprint())
	}
}

func BenchmarkScrub(b *testing.B) {
	for _, n := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("secrets=%d", n), func(b *testing.B) {
			keep := make([]secret.Value, n)
			for i := range keep {
				keep[i] = secret.New(fmt.Sprintf("%08d-secret", i*7919))
			}
			text := strings.Repeat("access_keys.create: 503 Service Unavailable ", 14)
			for b.Loop() {
				secret.Scrub(text)
			}
			runtime.KeepAlive(keep)
		})
	}
}
