package sinchtest

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
)

// answer is what goes back to the client.
type answer struct {
	status  int
	header  http.Header
	body    any // nil: none; []byte: as it is; else JSON
	applied bool
	faulty  bool // made or changed by a fault: exempt from conformance
	hangUp  bool // close the connection instead
	cut     bool // send half of the body, then close
}

// object is a JSON object.
type object = map[string]any

func success(body any) answer { return answer{status: http.StatusOK, body: body} }

// refusal is an error in the style of the endpoint's API. Its code is what
// Sinch's own examples carry, so it does not always fit the status.
func (s *Server) refusal(v *visit, status int, state, message string) answer {
	if s.cfg.EchoSecrets {
		message += s.echo(v.request)
	}
	code := status
	if status == http.StatusServiceUnavailable {
		code = http.StatusNotImplemented
	}
	a := answer{status: status}
	switch v.route.style() {
	case oauthStyle:
		a.body = object{"error": strings.ToLower(state), "error_description": message, "status_code": status}
	case flatStyle:
		a.body = object{"code": code, "status": state, "message": message}
	case problemStyle:
		a.body = object{"type": "about:blank", "title": state, "detail": message}
	case googleStyle:
		a.body = object{"error": object{"code": code, "message": message, "status": state, "details": []any{}}}
	}
	return a
}

func (r route) style() style {
	if r.endpoint == nil {
		return googleStyle
	}
	return r.endpoint.style
}

// echo is what a careless server would put into its error text.
func (s *Server) echo(r *http.Request) string {
	header := r.Header.Get("Authorization")
	text := " [authorization: " + header
	if _, encoded, found := strings.Cut(header, " "); found {
		if pair, err := base64.StdEncoding.DecodeString(encoded); err == nil {
			text += " = " + string(pair)
		}
	}
	return text + "; token: " + load(&s.lastToken) + "; secret: " + load(&s.lastSecret) + "]"
}

func load(p *atomic.Pointer[string]) string {
	if text := p.Load(); text != nil {
		return *text
	}
	return ""
}

// rateLimited is a 429 as the endpoint's API sends it: the token endpoint
// has no body and never says when to come back.
func (s *Server) rateLimited(v *visit, retryAfter string) answer {
	var a answer
	if v.route.style() == oauthStyle {
		a = answer{status: http.StatusTooManyRequests, header: http.Header{"X-Envoy-Ratelimited": {"true"}}}
	} else {
		a = s.refusal(v, http.StatusTooManyRequests, "RESOURCE_EXHAUSTED", "Too many requests")
		a.header = http.Header{}
	}
	if retryAfter != "" {
		a.header.Set("Retry-After", retryAfter)
	}
	return a
}

// states maps a status to the error.status that goes with it.
var states = map[int]string{
	400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
	409: "ALREADY_EXISTS", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 501: "UNIMPLEMENTED", 503: "UNAVAILABLE",
}

// render turns the body into bytes.
func (s *Server) render(a answer) []byte {
	switch body := a.body.(type) {
	case nil:
		return nil
	case []byte:
		return body
	}
	raw, err := json.Marshal(a.body)
	if err != nil {
		panic(err) // every body is made of marshallable parts
	}
	if s.cfg.ExtraFields {
		return addFields(raw)
	}
	return raw
}

// addFields adds members that no description knows to a JSON object.
func addFields(raw []byte) []byte {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil || members == nil {
		return raw
	}
	members["experimental"] = json.RawMessage(`{"nested":[1,null,"x"]}`)
	members["retiredReason"] = json.RawMessage(`null`)
	grown, err := json.Marshal(members)
	if err != nil {
		return raw
	}
	return grown
}

// send writes the answer or closes the connection, as the answer says.
func (s *Server) send(w http.ResponseWriter, v *visit, a answer) {
	if c, isChecked := w.(*checked); isChecked && a.faulty {
		c.exempt = true
	}
	if a.hangUp {
		panic(http.ErrAbortHandler)
	}
	body := s.render(a)
	header := w.Header()
	header.Set("Date", s.stamp().Format(http.TimeFormat))
	header.Set("X-Request-Id", v.record.ID)
	if len(body) > 0 {
		header.Set("Content-Type", "application/json")
	}
	for name, values := range a.header {
		header[http.CanonicalHeaderKey(name)] = values
	}
	if a.status != http.StatusNoContent {
		header.Set("Content-Length", strconv.Itoa(len(body)))
	}
	if a.cut {
		if len(body) == 0 {
			header.Set("Content-Length", "64")
		}
		body = body[:len(body)/2]
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(body) // a client that is gone is its own business
	if a.cut {
		_ = http.NewResponseController(w).Flush() // else the status would not even get out
		panic(http.ErrAbortHandler)
	}
}
