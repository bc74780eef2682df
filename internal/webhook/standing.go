package webhook

import "time"

// Remind is how long a problem stands before people are told again.
const Remind = 24 * time.Hour

// Standing are the problems of a process itself: what it cannot keep in the
// database, because that may be what is away. It tells what of them is new,
// by kind; another text of the same kind is not. The zero value has none.
type Standing struct {
	problems map[string]*standing
}

type standing struct {
	Problem
	told time.Time
}

// Now takes what stands at present, and returns what is to be told of it.
func (s *Standing) Now(at time.Time, present []Problem) (n News) {
	if s.problems == nil {
		s.problems = map[string]*standing{}
	}
	stands := map[string]bool{}
	for _, p := range present {
		stands[p.Kind] = true
		known, ok := s.problems[p.Kind]
		if !ok {
			known = &standing{Problem: p}
			known.Since = at
			s.problems[p.Kind] = known
		}
		known.Error = p.Error
		if due := !ok || at.Sub(known.told) >= Remind; due {
			tell := known.Problem
			tell.Reminder = ok
			n.Problems, known.told = append(n.Problems, tell), at
		}
	}
	for kind, known := range s.problems {
		if !stands[kind] {
			n.Recovered = append(n.Recovered, known.Problem)
			delete(s.problems, kind)
		}
	}
	n.Total, n.Over, n.Open = len(n.Problems), len(n.Recovered), len(s.problems)
	return n
}
