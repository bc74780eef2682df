package sinchtest

import "slices"

// Fault makes matching requests go wrong. All faults that hit a request take
// effect, in the order in which they were added; the first that answers or
// hangs up before the operation is the last.
type Fault struct {
	Operation string // AUDIT.md section 5; "" any
	Project   string // "" any
	Key       string // key of the path, or the one that asks for a token; "" any
	After     int    // matches to let pass first
	Times     int    // matches to hit then; 0 means all
	Do        Behaviour
}

type fault struct {
	Fault
	matches int
}

// Fault adds a fault. Call remove to end it early.
func (s *Server) Fault(f Fault) (remove func()) {
	added := &fault{Fault: f}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, added)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.faults = slices.DeleteFunc(s.faults, func(o *fault) bool { return o == added })
	}
}

// struck counts the request against every fault and returns what hits it.
func (s *Server) struck(r *Request) []Behaviour {
	var hits []Behaviour
	for _, f := range s.faults {
		if f.Operation != "" && f.Operation != r.Operation ||
			f.Project != "" && f.Project != r.Project ||
			f.Key != "" && f.Key != r.Key {
			continue
		}
		f.matches++
		if f.matches > f.After && (f.Times == 0 || f.matches <= f.After+f.Times) {
			hits = append(hits, f.Do)
		}
	}
	return hits
}
