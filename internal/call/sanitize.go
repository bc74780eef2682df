package call

import (
	"net/url"
	"strings"
	"unicode"

	"rotator/internal/secret"
)

// textLimit is the longest error text that is kept, in bytes.
const textLimit = 500

// Sanitize makes remote text fit to be logged and stored: valid UTF-8,
// without NUL and control characters, scrubbed of secrets, at most 500 bytes.
func Sanitize(text string) string { return Clean(text, textLimit) }

// Clean is Sanitize with another limit, in bytes.
func Clean(text string, limit int) string {
	text = strings.ToValidUTF8(secret.Scrub(text), "\uFFFD")
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t', r == '\r':
			return ' '
		case unicode.IsControl(r):
			return '\uFFFD'
		}
		return r
	}, text)
	if len(text) <= limit {
		return text
	}
	const ellipsis = "…"
	cut := max(limit-len(ellipsis), 0)
	return strings.ToValidUTF8(text[:cut], "") + ellipsis
}

// cleanURL returns u without user info, fragment and query values: a query's
// names say what was asked, its values might say too much.
func cleanURL(u *url.URL) string {
	c := *u
	c.User, c.Fragment, c.RawFragment = nil, "", ""
	if q := c.Query(); len(q) > 0 {
		for name := range q {
			if name != "pageSize" && name != "version" && name != "list" {
				q[name] = []string{"…"}
			}
		}
		c.RawQuery = q.Encode()
	}
	return Clean(c.String(), 2000)
}
