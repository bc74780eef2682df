package sinch

import (
	"encoding/json"
	"regexp"
	"strings"
	"unicode"

	"rotator/internal/call"
)

// codeShape is what error.status and OAuth's error look like. Anything else
// in their place is not recorded.
var codeShape = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,63}$`)

// parseError finds code and message in an error body, in any of the shapes
// that Sinch's services answer: {"error":{…}}, flat {"status","message"},
// RFC 9457 problems, and OAuth's {"error","error_description"}. Whatever it
// does not understand gives empty texts.
func parseError(body []byte) (code, message string) {
	var b struct {
		Error       any `json:"error"`
		Description any `json:"error_description"`
		Status      any `json:"status"`
		Message     any `json:"message"`
		Title       any `json:"title"`
		Detail      any `json:"detail"`
	}
	if json.Unmarshal(body, &b) != nil {
		return "", ""
	}
	if nested, ok := b.Error.(map[string]any); ok {
		return codeOf(nested["status"]), clean(nested["message"])
	}
	return firstOf(codeOf(b.Error), codeOf(b.Status)),
		firstOf(clean(b.Description), clean(b.Message), clean(b.Detail), clean(b.Title))
}

// errorText is what may be kept of an answer that is not 2xx. Of a create
// that was perhaps applied only the code is kept: the text might name a
// secret that nobody here has seen, so nothing could scrub it.
func (r request) errorText(status int, body []byte) (code, message string) {
	code, message = parseError(body)
	if r.once && (status < 400 || status >= 500) {
		message = ""
	}
	return code, message
}

// inspectError puts an error's code and message into the record of a call.
func (r request) inspectError(status int, body []byte, into *call.Result) {
	if status >= 200 && status <= 299 {
		return
	}
	code, message := r.errorText(status, body)
	into.Error = strings.TrimPrefix(code+": "+message, ": ")
	into.Error = strings.TrimSuffix(into.Error, ": ")
}

func codeOf(v any) string {
	s, ok := v.(string)
	if !ok || !codeShape.MatchString(s) || mask(s) != s {
		return ""
	}
	return s
}

func clean(v any) string {
	s, _ := v.(string)
	return mask(call.Sanitize(s))
}

// longWord is a run of the characters that tokens and secrets are made of.
var longWord = regexp.MustCompile(`[A-Za-z0-9_~.+/=-]{20,}`)

// mask hides words that look like a secret or a token: long, with upper and
// lower case mixed. Scrub knows the secrets of this process only, and a server
// may echo one whose answer was lost. Sinch's ids, UUIDs and ULIDs, are of one
// case and pass.
func mask(text string) string {
	return longWord.ReplaceAllStringFunc(text, func(word string) string {
		if strings.ContainsFunc(word, unicode.IsUpper) && strings.ContainsFunc(word, unicode.IsLower) {
			return "[masked]"
		}
		return word
	})
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
