package audit_test

import (
	"errors"
	"strings"
	"testing"

	"rotator/internal/audit"
)

// FuzzParseProof: what is read is written the same; what we accept, another
// implementation accepts, and the reverse; and nothing holds that the key has
// not signed.
func FuzzParseProof(f *testing.F) {
	n := newNotary(f, 20)
	for _, p := range []*audit.Proof{
		n.inclusion(f, 11, 20), n.inclusion(f, 0, 1), n.inclusion(f, 19, 20),
		n.consistency(f, 7, 20), n.consistency(f, 8, 16), n.consistency(f, 0, 5), n.consistency(f, 5, 5),
	} {
		text := p.Text()
		f.Add(text)
		f.Add(text[:len(text)/2])
		f.Add(strings.ReplaceAll(text, "\n\n", "\n\n\n"))
		f.Add(strings.Replace(text, "index 1", "index 9", 1))
	}
	keys, roots := ring(f, n.key), map[audit.Checkpoint]bool{}
	for size := range 21 {
		roots[n.at(f, size).Checkpoint] = true
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := audit.ParseProof(text)
		if err != nil {
			if !errors.Is(err, audit.ErrProof) || p != nil {
				t.Fatalf("%+v, %v", p, err)
			}
			return
		}
		if p.Text() != text {
			t.Fatalf("read %q, written %q", text, p.Text())
		}
		ours, theirs := p.Check(), merkleAccepts(text)
		empty := !p.Inclusion() && p.Older.Size == 0 // they do not look at the root of an empty log
		otherOrigin := !p.Inclusion() && p.Older.Origin != p.Newer.Origin
		if ours == nil && theirs != nil || ours != nil && theirs == nil && !empty && !otherOrigin {
			t.Fatalf("ours %v, theirs %v: %q", ours, theirs, text)
		}
		if _, err := audit.VerifyProof(strings.NewReader(text), keys); err == nil && !roots[p.Newer.Checkpoint] {
			t.Fatalf("nobody has signed %q", text)
		}
	})
}
