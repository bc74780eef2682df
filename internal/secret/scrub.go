package secret

import (
	"runtime"
	"slices"
	"strings"
	"sync"
	"weak"
)

// prefix begins a secret. Shorter texts would maul ordinary words and are no
// secrets worth the name: Scrub leaves them alone.
type prefix [6]byte

// bucket is a hash of the first four bytes of a text, which has as many: most
// places are told by it alone to begin no secret.
func bucket(text string) uint16 {
	const fibonacci = 2654435761 // 2^32 divided by the golden ratio
	word := uint32(text[0]) | uint32(text[1])<<8 | uint32(text[2])<<16 | uint32(text[3])<<24
	return uint16(word * fibonacci >> 16)
}

// live holds every Value's text weakly, by its prefix, so that scrubbing takes
// about one look-up a byte however many secrets there are.
var live = struct {
	sync.RWMutex
	buckets  [1 << 16]uint32 // how many secrets fall into each
	used     [1 << 10]uint64 // a bit for each bucket that is not empty: what every byte asks stays near
	byPrefix map[prefix][]weak.Pointer[string]
}{byPrefix: map[prefix][]weak.Pointer[string]{}}

// remember makes a secret known to Scrub until it is garbage.
func remember(p *string) {
	if len(*p) < len(prefix{}) {
		return
	}
	at, w, b := prefix([]byte((*p)[:len(prefix{})])), weak.Make(p), bucket(*p)
	live.Lock()
	live.buckets[b]++
	live.used[b/64] |= 1 << (b % 64)
	live.byPrefix[at] = append(live.byPrefix[at], w)
	live.Unlock()
	runtime.AddCleanup(p, func(w weak.Pointer[string]) { forget(at, w) }, w)
}

func forget(at prefix, w weak.Pointer[string]) {
	live.Lock()
	defer live.Unlock()
	b := bucket(string(at[:]))
	if live.buckets[b]--; live.buckets[b] == 0 {
		live.used[b/64] &^= 1 << (b % 64)
	}
	rest := slices.DeleteFunc(live.byPrefix[at], func(o weak.Pointer[string]) bool { return o == w })
	if len(rest) == 0 {
		delete(live.byPrefix, at)
	} else {
		live.byPrefix[at] = rest
	}
}

// Scrub returns text with every live secret in it replaced by "[redacted]".
// Of several that begin at the same place the longest is taken, so that a
// secret that contains another leaves no rest.
func Scrub(text string) string {
	live.RLock()
	defer live.RUnlock()
	var out strings.Builder
	last := 0
	for i := 0; i+len(prefix{}) <= len(text); i++ {
		b := bucket(text[i:])
		if live.used[b/64]&(1<<(b%64)) == 0 {
			continue
		}
		n := longestAt(text[i:])
		if n == 0 {
			continue
		}
		out.WriteString(text[last:i])
		out.WriteString(Redacted)
		last = i + n
		i = last - 1
	}
	if last == 0 {
		return text
	}
	out.WriteString(text[last:])
	return out.String()
}

// longestAt is the length of the longest live secret that text begins with.
func longestAt(text string) int {
	var at prefix
	copy(at[:], text)
	longest := 0
	for _, w := range live.byPrefix[at] {
		if p := w.Value(); p != nil && len(*p) > longest && strings.HasPrefix(text, *p) {
			longest = len(*p)
		}
	}
	return longest
}
