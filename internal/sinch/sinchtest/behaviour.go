package sinchtest

import (
	"math/rand/v2"
	"net/http"
	"time"
)

// Behaviour is what a Fault does: see the functions that return one. Those
// named Applied… let the operation take effect first.
type Behaviour struct {
	before func(*Server, *visit) *answer // nil answer: go on
	after  func(*Server, *visit, *answer)
}

func changing(change func(*Server, *visit, *answer)) Behaviour { return Behaviour{after: change} }

// Answer answers with status, body and headers; nothing is applied.
func Answer(status int, body string, header http.Header) Behaviour {
	return Behaviour{before: func(*Server, *visit) *answer {
		return &answer{status: status, header: header, body: bodyOf(body)}
	}}
}

// AppliedAnswer applies the operation and answers with status, body and
// headers of its own.
func AppliedAnswer(status int, body string, header http.Header) Behaviour {
	return changing(func(_ *Server, _ *visit, a *answer) {
		a.status, a.header, a.body = status, header, bodyOf(body)
	})
}

func bodyOf(text string) any {
	if text == "" {
		return nil
	}
	return []byte(text)
}

// Status answers with an error as the API writes it; nothing is applied.
func Status(status int) Behaviour {
	return Behaviour{before: func(s *Server, v *visit) *answer {
		a := s.failure(v, status)
		return &a
	}}
}

// AppliedStatus applies the operation and answers with an error all the same.
func AppliedStatus(status int) Behaviour {
	return changing(func(s *Server, v *visit, a *answer) {
		failed := s.failure(v, status)
		a.status, a.header, a.body = failed.status, failed.header, failed.body
	})
}

func (s *Server) failure(v *visit, status int) answer {
	state := orDefault(states[status], "UNKNOWN")
	if v.route.style() == oauthStyle && (status == http.StatusUnauthorized || status == http.StatusBadRequest) {
		state = "INVALID_CLIENT"
	}
	return s.refusal(v, status, state, http.StatusText(status))
}

// RateLimited answers 429 as the API does, with a Retry-After header unless
// retryAfter is empty; nothing is applied.
func RateLimited(retryAfter string) Behaviour {
	return Behaviour{before: func(s *Server, v *visit) *answer {
		a := s.rateLimited(v, retryAfter)
		return &a
	}}
}

// Lost closes the connection without an answer; nothing is applied.
func Lost() Behaviour {
	return Behaviour{before: func(*Server, *visit) *answer { return &answer{hangUp: true} }}
}

// AppliedLost applies the operation and closes the connection without an
// answer.
func AppliedLost() Behaviour {
	return changing(func(_ *Server, _ *visit, a *answer) { a.hangUp = true })
}

// Delay waits before the operation. A client that gives up meanwhile does not
// stop it.
func Delay(d time.Duration) Behaviour {
	return Behaviour{before: func(s *Server, _ *visit) *answer {
		s.pause(d)
		return nil
	}}
}

// AppliedDelay waits between the operation and its answer.
func AppliedDelay(d time.Duration) Behaviour {
	return changing(func(s *Server, _ *visit, _ *answer) { s.pause(d) })
}

// CutBody applies the operation and closes the connection in the middle of
// the answer's body.
func CutBody() Behaviour {
	return changing(func(_ *Server, _ *visit, a *answer) { a.cut = true })
}

// NotJSON applies the operation and answers with its status and a web page.
func NotJSON() Behaviour {
	return changing(func(_ *Server, _ *visit, a *answer) {
		a.header = http.Header{"Content-Type": {"text/html"}}
		a.body = []byte("<html><body>\x00 upstream \xff says \x1b[31mhello</body></html>")
	})
}

// EmptyObject applies the operation and answers {} with its status.
func EmptyObject() Behaviour {
	return changing(func(_ *Server, _ *visit, a *answer) { a.body = object{} })
}

// UnknownFields adds members that nobody has documented to a JSON answer.
func UnknownFields() Behaviour {
	return changing(func(s *Server, _ *visit, a *answer) {
		if raw := s.render(*a); len(raw) > 0 {
			a.body = addFields(raw)
		}
	})
}

// ExpireTokens expires every token issued so far, the request's own included.
func ExpireTokens() Behaviour {
	return Behaviour{before: func(s *Server, _ *visit) *answer {
		s.ExpireTokens()
		return nil
	}}
}

// listed applies change to an answer that is a page.
func listed(change func(l *listing)) Behaviour {
	return changing(func(_ *Server, _ *visit, a *answer) {
		if l, isPage := a.body.(*listing); isPage {
			change(l)
		}
	})
}

// DropItems loses the last n items of a page: a listing that looks complete
// and is not.
func DropItems(n int) Behaviour {
	return listed(func(l *listing) { l.items = l.items[:max(len(l.items)-n, 0)] })
}

// EmptyPage answers a page without items, whose token leads to the items.
func EmptyPage() Behaviour {
	return listed(func(l *listing) { l.items, l.next = nil, l.again })
}

// RepeatToken answers with the page token that the request brought, so that a
// client without a guard goes round for ever.
func RepeatToken() Behaviour {
	return listed(func(l *listing) { l.next = orDefault(l.given, l.again) })
}

// Shuffle puts the items of a page into another order.
func Shuffle(seed uint64) Behaviour {
	return listed(func(l *listing) {
		random := rand.New(rand.NewPCG(seed, seed)) //nolint:gosec // an order that can be repeated is the point
		random.Shuffle(len(l.items), func(i, j int) { l.items[i], l.items[j] = l.items[j], l.items[i] })
	})
}
