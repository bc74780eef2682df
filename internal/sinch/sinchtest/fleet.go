package sinchtest

import (
	"fmt"
	"math"
	"time"
)

// Fleet describes a parent with many subprojects.
type Fleet struct {
	Parent      string        // id of the parent; default "parent"
	Self        string        // name of the parent's one key; default "rotator"
	Subprojects int           // how many
	Keys        int           // keys of each subproject; default 1
	Oldest      time.Duration // ages are spread evenly from 0 up to this; default 90 days
}

// golden spreads any number of consecutive values evenly over 0 to 1.
const golden = math.Phi - 1

// SeedFleet adds the fleet and returns the parent's key, which is new. The
// same fleet on the same seed is the same every time; the keys of every
// subproject bear the same names, service-1 and so on.
func (s *Server) SeedFleet(f Fleet) Issued {
	f.Parent = orDefault(f.Parent, "parent")
	f.Self = orDefault(f.Self, "rotator")
	f.Keys = orDefault(f.Keys, 1)
	f.Oldest = orDefault(f.Oldest, 90*24*time.Hour)

	s.AddParent(f.Parent, "Fleet")
	self := s.AddKey(f.Parent, f.Self, time.Time{})
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]string, f.Keys) // shared, or they would cost more than the keys
	for i := range names {
		names[i] = fmt.Sprintf("service-%d", i+1)
	}
	parent, now := s.projects[f.Parent], s.stamp()
	for i := range f.Subprojects {
		sub := s.addProject(parent, s.newSubprojectID(), fmt.Sprintf("Customer %d", i+1))
		for j, name := range names {
			_, share := math.Modf(float64(i*f.Keys+j) * golden)
			s.addKey(sub, name, now.Add(-time.Duration(share*float64(f.Oldest))))
		}
	}
	return self
}
