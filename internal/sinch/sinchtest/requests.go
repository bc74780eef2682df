package sinchtest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"time"
)

// Request is a request that arrived.
type Request struct {
	ID          string    // sent back as X-Request-Id
	Operation   string    // AUDIT.md section 5, or "unknown"
	Method      string    // HTTP method
	Path        string    // escaped path, without the query
	Project     string    // project of the path, or of the key that asks for a token
	Key         string    // key of the path, or the one that asks for a token
	DisplayName string    // name that a create or update sets
	Status      int       // as sent; 0 while unanswered and when the answer was withheld
	Applied     bool      // the operation succeeded, whatever was answered
	Done        bool      // it has been dealt with
	At          time.Time // arrival, by Config.Now
}

// Requests returns every request that arrived, in order.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Request, len(s.requests))
	for i, r := range s.requests {
		all[i] = *r
	}
	return all
}

// Counts returns how many requests ended how, by "operation status", such as
// "access_keys.list 200"; status 0 counts those left without an answer.
func (s *Server) Counts() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.counts)
}

// arrive records the request and finds the faults that hit it.
func (s *Server) arrive(v *visit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrivals++
	v.record = &Request{
		ID: fmt.Sprintf("req-%08d", s.arrivals), Operation: v.route.operation(), Method: v.request.Method,
		Path: v.request.URL.EscapedPath(), Project: v.route.project, Key: v.route.key, At: s.cfg.Now(),
	}
	s.describe(v)
	s.requests = append(s.requests, v.record)
	if keep := s.cfg.KeepRequests; keep > 0 && len(s.requests) >= 2*keep {
		s.requests = append([]*Request(nil), s.requests[len(s.requests)-keep:]...)
	}
	v.behaviours = s.struck(v.record)
}

// describe fills in what the path alone does not tell.
func (s *Server) describe(v *visit) {
	if v.route.sub != "" {
		v.record.Project = v.route.sub
	}
	if v.route.style() == oauthStyle {
		v.record.Key, _, _ = v.request.BasicAuth()
		if k := s.keys[v.record.Key]; k != nil {
			v.record.Project = k.project.id
		}
		return
	}
	if v.request.Method == http.MethodPost || v.request.Method == http.MethodPatch {
		var body struct{ DisplayName string }
		if json.Unmarshal(v.body, &body) == nil {
			v.record.DisplayName = body.DisplayName
		}
	}
}

// finish records the outcome before the answer leaves, so that a client that
// has its answer finds it here.
func (s *Server) finish(v *visit, a answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !a.hangUp {
		v.record.Status = a.status
	}
	v.record.Applied, v.record.Done = a.applied, true
	s.counts[fmt.Sprintf("%s %d", v.record.Operation, v.record.Status)]++
	s.cfg.Logger.DebugContext(v.request.Context(), "request served",
		"operation", v.record.Operation, "project", v.record.Project, "key", v.record.Key,
		"status", v.record.Status, "applied", v.record.Applied)
}
