package sinchtest

import "sync"

// Held gives control over requests that Hold or AppliedHold keeps.
type Held struct {
	arrived  chan Request
	released chan struct{}
	release  func()
}

// Arrived receives each request that begins to be held.
func (h *Held) Arrived() <-chan Request { return h.arrived }

// Release lets go of all held requests and of those to come. It may be called
// more than once.
func (h *Held) Release() { h.release() }

// Hold keeps a request before the operation until it is released. Released
// after the client has given up or died, it is still applied: a late arrival.
func Hold() (Behaviour, *Held) {
	h := newHeld()
	return Behaviour{before: func(s *Server, v *visit) *answer {
		h.keep(s, v)
		return nil
	}}, h
}

// AppliedHold keeps the answer of an operation that has been applied.
func AppliedHold() (Behaviour, *Held) {
	h := newHeld()
	return changing(func(s *Server, v *visit, _ *answer) { h.keep(s, v) }), h
}

// heldLimit is how many held requests wait to be received; a test that holds
// more without receiving misses the rest of the notices, not the holding.
const heldLimit = 1024

func newHeld() *Held {
	h := &Held{arrived: make(chan Request, heldLimit), released: make(chan struct{})}
	h.release = sync.OnceFunc(func() { close(h.released) })
	return h
}

func (h *Held) keep(s *Server, v *visit) {
	s.mu.Lock()
	arrived := *v.record
	s.mu.Unlock()
	select {
	case h.arrived <- arrived:
	default:
	}
	select {
	case <-h.released:
	case <-s.stopped:
	}
}
