// Package secret holds values that cannot be printed.
//
// A Value shows "[redacted]" to fmt, slog and encoding/json; the only way to
// its text is Reveal, which is easy to search for. Every live Value is also
// known to Scrub, so that text from outside (an error body that echoes a
// request) can be cleaned before it is logged or stored.
package secret

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// Redacted is what a Value prints instead of its text.
const Redacted = "[redacted]"

// Value is a secret text. The zero Value is an absent secret. Copies share
// the text; it is forgotten when the last copy is garbage.
type Value struct{ text *string }

// New returns text as a secret. An empty text gives the zero Value.
func New(text string) Value {
	if text == "" {
		return Value{}
	}
	p := new(string)
	*p = strings.Clone(text)
	remember(p)
	return Value{text: p}
}

// Reveal returns the text itself. Call it only where the text leaves for its
// purpose: a request's Authorization header or Vault's request body.
func (v Value) Reveal() string {
	if v.text == nil {
		return ""
	}
	return *v.text
}

// IsZero reports whether there is no secret.
func (v Value) IsZero() bool { return v.text == nil }

// Equal compares in constant time.
func (v Value) Equal(o Value) bool {
	return subtle.ConstantTimeCompare([]byte(v.Reveal()), []byte(o.Reveal())) == 1
}

// Fingerprint returns the first 12 hexadecimal digits of the SHA-256 of the
// text: enough to tell two secrets apart, useless for finding one.
func (v Value) Fingerprint() string {
	if v.text == nil {
		return ""
	}
	sum := sha256.Sum256([]byte(*v.text))
	return hex.EncodeToString(sum[:6])
}

// String returns "[redacted]", or nothing for the zero Value.
func (v Value) String() string {
	if v.text == nil {
		return ""
	}
	return Redacted
}

// Format writes String's result whatever the verb.
func (v Value) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, v.String()) }

// LogValue gives slog String's result.
func (v Value) LogValue() slog.Value { return slog.StringValue(v.String()) }

// MarshalText gives encoders String's result.
func (v Value) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// EnvDecode takes the text from an environment variable (go-envconfig's
// Decoder).
func (v *Value) EnvDecode(text string) error {
	*v = New(text)
	return nil
}
