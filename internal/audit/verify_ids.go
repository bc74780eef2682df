package audit

import (
	"encoding/binary"
	"slices"
)

// ids finds events that stand in the log twice. Ids are time-ordered, so a
// window of the last ones finds a repetition soon after; an id that is older
// than one that has left the window is kept and looked up at the end.
type ids struct {
	known  map[[16]byte]struct{}
	window [][16]byte // a ring
	size   int        // of it
	at     int
	past   uint64 // newest time, in milliseconds, of an id that has left
	late   map[[16]byte]int
	more   bool // late has not taken all
}

const (
	idWindow  = 1 << 16
	lateLimit = 1 << 16
)

func newIDs(size int) ids {
	return ids{known: map[[16]byte]struct{}{}, size: size, late: map[[16]byte]int{}}
}

func (s *ids) see(v *verification, seq int64, c *content) {
	id, ok := parseUUID(c[fieldID])
	if !ok {
		return // no column can hold it
	}
	if _, twice := s.known[id]; twice {
		v.find(v.at(seq, FoundExtra, "%s stands in the log twice: an earlier event has the same id %s", describe(seq, c), c[fieldID]))
		delete(s.late, id) // it has been found
		return
	}
	if idTime(id) <= s.past {
		s.keep(id)
	}
	s.known[id] = struct{}{}
	if len(s.window) < s.size {
		s.window = append(s.window, id)
		return
	}
	oldest := s.window[s.at]
	delete(s.known, oldest)
	s.past = max(s.past, idTime(oldest))
	s.window[s.at] = id
	s.at = (s.at + 1) % s.size
}

// keep remembers an id that came late: what was spilled and replayed, or by a
// clock that is behind.
func (s *ids) keep(id [16]byte) {
	if len(s.late) == lateLimit {
		s.more = true
		return
	}
	s.late[id] = 0
}

// lateIDs are those to look up.
func (s *ids) lateIDs() [][16]byte {
	list := make([][16]byte, 0, len(s.late))
	for id := range s.late {
		list = append(list, id)
	}
	slices.SortFunc(list, func(a, b [16]byte) int { return slices.Compare(a[:], b[:]) })
	return list
}

// idTime is the time in a UUIDv7, in milliseconds.
func idTime(id [16]byte) uint64 { return binary.BigEndian.Uint64(id[:8]) >> 16 }
