package audit_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"rotator/internal/audit"
)

// notary signs checkpoints of a made-up log, without any database.
type notary struct {
	signer note.Signer
	key    string // verifier key
	tree   audit.Tree
	bodies []string
	leaves []tlog.Hash
}

const notaryOrigin = "rotator-audit/0c0ffee0-0000-4000-8000-000000000000"

func newNotary(t testing.TB, events int) *notary {
	t.Helper()
	private, public, err := note.GenerateKey(rand.Reader, notaryOrigin)
	if err != nil {
		t.Fatal(err)
	}
	n := &notary{key: public}
	if n.signer, err = note.NewSigner(private); err != nil {
		t.Fatal(err)
	}
	for i := range events {
		body := fmt.Sprintf(`{"v":1,"id":"0197a6f0-0000-7000-8000-%012d","t_us":%d,"type":"key.retired","key":"k%d"}`, i, 1_790_000_000_000_000+int64(i), i)
		n.bodies, n.leaves = append(n.bodies, body), append(n.leaves, tlog.RecordHash([]byte(body)))
	}
	return n
}

func (n *notary) sign(t testing.TB, text string) string {
	t.Helper()
	signed, err := note.Sign(&note.Note{Text: text}, n.signer)
	if err != nil {
		t.Fatal(err)
	}
	return string(signed)
}

// at is the log's signed checkpoint of a size.
func (n *notary) at(t testing.TB, size int) audit.Signed {
	t.Helper()
	c := audit.Checkpoint{Origin: notaryOrigin + "/1", Size: int64(size), Root: audit.Tree{}.Append(n.leaves[:size]...).Root()}
	return audit.Signed{Checkpoint: c, Note: n.sign(t, c.Text())}
}

// inclusion proves an event in the checkpoint of a size.
func (n *notary) inclusion(t testing.TB, index, size int) *audit.Proof {
	t.Helper()
	hashes, _ := audit.Fold(n.leaves, audit.Tree{}, int64(index), int64(size), size)
	return &audit.Proof{Body: []byte(n.bodies[index]), Index: int64(index), Newer: n.at(t, size), Hashes: hashes}
}

// consistency proves that one checkpoint goes on from another.
func (n *notary) consistency(t testing.TB, older, newer int) *audit.Proof {
	t.Helper()
	hashes, _ := audit.FoldConsistency(n.leaves, audit.Tree{}, int64(older), int64(newer), newer)
	return &audit.Proof{Older: n.at(t, older), Newer: n.at(t, newer), Hashes: hashes}
}

func ring(t testing.TB, keys ...string) *audit.Keyring {
	t.Helper()
	k, err := audit.NewKeyring(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestVerifyProof: what is right holds, and who signed decides how much that
// is worth.
func TestVerifyProof(t *testing.T) {
	t.Parallel()
	n, other := newNotary(t, 20), newNotary(t, 1)
	for name, p := range map[string]*audit.Proof{
		"inclusion":             n.inclusion(t, 11, 20),
		"the only event":        n.inclusion(t, 0, 1),
		"consistency":           n.consistency(t, 7, 20),
		"the same size":         n.consistency(t, 7, 7),
		"from the empty log":    n.consistency(t, 0, 20),
		"two empty checkpoints": n.consistency(t, 0, 0),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			read, err := audit.VerifyProof(strings.NewReader(p.Text()), ring(t, other.key, n.key))
			if err != nil {
				t.Fatalf("%v\n%s", err, p.Text())
			}
			if err := merkleAccepts(p.Text()); err != nil {
				t.Errorf("another implementation: %v", err)
			}
			if read.Text() != p.Text() || read.Event().ID != p.Event().ID || read.Newer.Checkpoint != p.Newer.Checkpoint || read.Older.Checkpoint != p.Older.Checkpoint {
				t.Errorf("read %+v, want %+v", read, p)
			}
			if diff := cmp.Diff([]string{n.key}, ring(t, other.key, n.key).Signers(read.Newer)); diff != "" {
				t.Errorf("signers (-want +got):\n%s", diff)
			}
			read, err = audit.VerifyProof(strings.NewReader(p.Text()), ring(t))
			if !errors.Is(err, audit.ErrUnknownSigner) || read == nil || !strings.HasPrefix(n.key, read.Newer.Claimed+"+") {
				t.Errorf("without a key: %+v, %v", read, err)
			}
			if read, err := audit.VerifyProof(strings.NewReader(p.Text()), ring(t, other.key)); !errors.Is(err, audit.ErrForged) || read != nil {
				t.Errorf("with another's key: %+v, %v", read, err)
			}
		})
	}
}

// TestVerifyProofRefuses: each is refused with the right kind of error, also
// where nobody could say who signed.
func TestVerifyProofRefuses(t *testing.T) {
	t.Parallel()
	n, other := newNotary(t, 20), newNotary(t, 20)
	good, goes := n.inclusion(t, 11, 20), n.consistency(t, 7, 20)
	change := func(p *audit.Proof, do func(*audit.Proof)) string {
		changed := *p
		changed.Hashes = append([]tlog.Hash(nil), p.Hashes...)
		do(&changed)
		return changed.Text()
	}
	otherOrigin := n.at(t, 20)
	otherOrigin.Origin = notaryOrigin + "/2"
	otherOrigin.Note = n.sign(t, otherOrigin.Text())
	forged := n.at(t, 7) // the same log's name and size, another root
	forged.Root = audit.Tree{}.Append(n.leaves[1:8]...).Root()
	forged.Note = n.sign(t, forged.Text())
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"another event":              {change(good, func(p *audit.Proof) { p.Body = []byte(n.bodies[12]) }), audit.ErrDisproved},
		"a changed event":            {change(good, func(p *audit.Proof) { p.Body = []byte(strings.Replace(n.bodies[11], "k11", "k12", 1)) }), audit.ErrDisproved},
		"a reformatted event":        {change(good, func(p *audit.Proof) { p.Body = []byte(n.bodies[11] + " ") }), audit.ErrDisproved},
		"another place":              {change(good, func(p *audit.Proof) { p.Index = 10 }), audit.ErrDisproved},
		"a place beyond":             {change(good, func(p *audit.Proof) { p.Index = 20 }), audit.ErrDisproved},
		"another checkpoint":         {change(good, func(p *audit.Proof) { p.Newer = n.at(t, 19) }), audit.ErrDisproved},
		"a hash too few":             {change(good, func(p *audit.Proof) { p.Hashes = p.Hashes[1:] }), audit.ErrDisproved},
		"a hash too many":            {change(good, func(p *audit.Proof) { p.Hashes = append(p.Hashes, tlog.Hash{}) }), audit.ErrDisproved},
		"an interior node as event":  {change(good, func(p *audit.Proof) { p.Body, p.Index, p.Hashes = []byte(`"x"`), 0, p.Hashes[1:] }), audit.ErrDisproved},
		"backwards":                  {change(goes, func(p *audit.Proof) { p.Older, p.Newer = p.Newer, p.Older }), audit.ErrDisproved},
		"different epochs":           {change(goes, func(p *audit.Proof) { p.Newer = otherOrigin }), audit.ErrDisproved},
		"another history":            {change(goes, func(p *audit.Proof) { p.Older = forged }), audit.ErrDisproved},
		"two of one size":            {change(n.consistency(t, 7, 7), func(p *audit.Proof) { p.Newer = forged }), audit.ErrDisproved},
		"hashes from the empty log":  {change(n.consistency(t, 0, 20), func(p *audit.Proof) { p.Hashes = []tlog.Hash{{}} }), audit.ErrDisproved},
		"the older one by a forger":  {change(goes, func(p *audit.Proof) { p.Older = resigned(t, other, p.Older) }), audit.ErrForged},
		"the newer one by a forger":  {change(goes, func(p *audit.Proof) { p.Newer = resigned(t, other, p.Newer) }), audit.ErrForged},
		"the event's by a forger":    {change(good, func(p *audit.Proof) { p.Newer = resigned(t, other, p.Newer) }), audit.ErrForged},
		"a signature from elsewhere": {change(good, func(p *audit.Proof) { p.Newer.Note = borrowed(p.Newer.Note, n.at(t, 19).Note) }), audit.ErrForged},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if p, err := audit.VerifyProof(strings.NewReader(c.text), ring(t, n.key)); !errors.Is(err, c.want) || p != nil {
				t.Errorf("%+v, %v; want %v", p, err, c.want)
			}
			unsigned := c.want
			if errors.Is(c.want, audit.ErrForged) {
				unsigned = audit.ErrUnknownSigner // nobody can tell
			}
			if _, err := audit.VerifyProof(strings.NewReader(c.text), ring(t)); !errors.Is(err, unsigned) {
				t.Errorf("without a key: %v, want %v", err, unsigned)
			}
		})
	}
}

// resigned is a checkpoint that somebody else has signed.
func resigned(t *testing.T, by *notary, s audit.Signed) audit.Signed {
	t.Helper()
	s.Note = by.sign(t, s.Text())
	return s
}

// borrowed is a note's text with the signatures of another one.
func borrowed(text, signatures string) string {
	text, _, _ = strings.Cut(text, "\n\n")
	_, signatures, _ = strings.Cut(signatures, "\n\n")
	return text + "\n\n" + signatures
}

// TestVerifyProofUnreadable: what is no proof is not called a forgery.
func TestVerifyProofUnreadable(t *testing.T) {
	t.Parallel()
	n := newNotary(t, 20)
	good, goes := n.inclusion(t, 11, 20).Text(), n.consistency(t, 7, 20).Text()
	replaced := func(text, old, new string) string {
		if !strings.Contains(text, old) {
			t.Fatalf("%q is not in %s", old, text)
		}
		return strings.Replace(text, old, new, 1)
	}
	lines := strings.SplitAfter(good, "\n")
	for name, text := range map[string]string{
		"empty":              "",
		"a checkpoint alone": n.at(t, 20).Note,
		"another version":    replaced(good, "tlog-proof@v1", "tlog-proof@v2"),
		"no extra":           replaced(good, lines[1], ""),
		"extra of nothing":   replaced(good, lines[1], "extra \n"),
		"extra no base64":    replaced(good, "extra ", "extra !"),
		"extra no JSON":      replaced(good, lines[1], "extra AAAA\n"),
		"no index":           replaced(good, lines[2], ""),
		"a negative index":   replaced(good, "index 11", "index -11"),
		"a padded index":     replaced(good, "index 11", "index 011"),
		"a signed index":     replaced(good, "index 11", "index +11"),
		"an index too large": replaced(good, "index 11", "index 9223372036854775808"),
		"half a hash":        replaced(good, lines[3], lines[3][:20]+"\n"),
		"carriage returns":   strings.ReplaceAll(good, "\n", "\r\n"),
		"a return in a hash": replaced(good, lines[3], lines[3][:4]+"\r"+lines[3][4:]),
		"65 hashes":          replaced(good, lines[3], strings.Repeat(lines[3], 62)),
		"torn":               good[:len(good)-1],
		"torn in the middle": good[:len(good)/2],
		"something behind":   good + "x\n",
		"two checkpoints":    good + "\n" + n.at(t, 20).Note,
		"one checkpoint":     goes[:strings.LastIndex(goes, "\n\n"+notaryOrigin)+1],
		"a size padded":      replaced(goes, "/1\n7\n", "/1\n07\n"),
		"no signature":       good[:strings.LastIndex(good, "—")],
		"too long":           replaced(good, "extra ", "extra "+strings.Repeat("A", 1<<18)),
	} {
		p, err := audit.VerifyProof(strings.NewReader(text), ring(t, n.key))
		if !errors.Is(err, audit.ErrProof) || p != nil {
			t.Errorf("%s: %+v, %v; want ErrProof", name, p, err)
		}
	}
	if _, err := audit.VerifyProof(iotest.ErrReader(io.ErrUnexpectedEOF), ring(t)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a reader that fails: %v", err)
	}
}

// TestEveryByteOfAProof changes each byte of a proof: none is without meaning.
// (A signature's base64 has bits that say nothing; the statement stays then.)
func TestEveryByteOfAProof(t *testing.T) {
	t.Parallel()
	n := newNotary(t, 20)
	for _, p := range []*audit.Proof{n.inclusion(t, 11, 20), n.consistency(t, 7, 20)} {
		text, same := p.Text(), 0
		for i := range text {
			for _, flip := range []byte{1, 2, 4, 0x20, 0x80} {
				changed := []byte(text)
				changed[i] ^= flip
				read, err := audit.VerifyProof(strings.NewReader(string(changed)), ring(t, n.key))
				if err != nil {
					continue
				}
				same++
				if string(read.Body) != string(p.Body) || read.Index != p.Index || read.Newer.Checkpoint != p.Newer.Checkpoint || read.Older.Checkpoint != p.Older.Checkpoint {
					t.Errorf("byte %d changed by %#x proves something else:\n%s", i, flip, changed)
				}
			}
		}
		if same > 2*len(p.Newer.Note) {
			t.Errorf("%d changes went unnoticed", same)
		}
		t.Logf("%d of %d changes left the statement as it was", same, 5*len(text))
	}
}
