package sinchtest

import (
	"io"
	"net/http"
)

// visit is one request on its way through the server.
type visit struct {
	request    *http.Request
	body       []byte
	route      route
	record     *Request
	behaviours []Behaviour
	caller     *key // who authenticated; nil at the token endpoint
	basic      bool // the caller used Basic authentication
}

// ServeHTTP serves every path of SINCH.md.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.down.Load() {
		panic(http.ErrAbortHandler)
	}
	// The body is read first, so that a request which has arrived can take
	// effect even when its client is gone by then.
	body, err := io.ReadAll(io.LimitReader(r.Body, bodyLimit))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	v := &visit{request: r, body: body, route: find(r)}
	s.arrive(v)
	s.pause(s.cfg.Latency)
	a := s.answer(v)
	s.finish(v, a) //nolint:contextcheck // it records, and must do so after the client has gone
	s.send(w, v, a)
}

func (s *Server) answer(v *visit) answer {
	for _, b := range v.behaviours {
		if b.before == nil {
			continue
		}
		if a := b.before(s, v); a != nil {
			a.faulty = true
			return *a
		}
	}
	s.mu.Lock()
	a := s.apply(v)
	s.mu.Unlock()
	a.applied = a.status < http.StatusMultipleChoices
	for _, b := range v.behaviours {
		if b.after != nil {
			b.after(s, v, &a)
			a.faulty = true
		}
	}
	return a
}

// apply does what the request asks, under the lock.
func (s *Server) apply(v *visit) answer {
	e := v.route.endpoint
	switch {
	case e == nil && v.route.known:
		return s.refusal(v, http.StatusMethodNotAllowed, "UNIMPLEMENTED", "Method not allowed")
	case e == nil:
		return s.refusal(v, http.StatusNotFound, "NOT_FOUND", "Not found")
	case e.style == oauthStyle:
		return e.serve(s, v)
	case s.refuse[e.version] != 0:
		return s.refusal(v, s.refuse[e.version], "PERMISSION_DENIED", "This version is not available")
	case !s.resources.AllowN(s.cfg.Now(), 1):
		return s.rateLimited(v, "1")
	}
	if refused := s.authenticate(v); refused != nil {
		return *refused
	}
	return e.serve(s, v)
}
