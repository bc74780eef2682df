package audit_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"rotator/internal/audit"
)

// TestDocumentedProofs checks the examples of docs/proofs.md with the key that
// stands there, so that the page cannot rot.
func TestDocumentedProofs(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/proofs.md")
	if err != nil {
		t.Fatal(err)
	}
	key := regexp.MustCompile(`(?m)^    (rotator-audit/\S+\+[0-9a-f]{8}\+\S+)$`).FindStringSubmatch(string(page))
	if key == nil {
		t.Fatal("the page shows no verifier key")
	}
	for title, inclusion := range map[string]bool{"c2sp.org/tlog-proof@v1": true, "rotator-audit/consistency-proof@v1": false} {
		text := example(string(page), title)
		p, err := audit.VerifyProof(strings.NewReader(text), ring(t, key[1]))
		if err != nil || p.Inclusion() != inclusion {
			t.Errorf("%s: %v\n%s", title, err, text)
			continue
		}
		if err := merkleAccepts(text); err != nil {
			t.Errorf("%s: another implementation: %v", title, err)
		}
		if inclusion && example(string(page), p.Newer.Origin) != p.Newer.Note {
			t.Errorf("the checkpoint that the page shows is not the proof's")
		}
	}
}

// example is the indented block of a page that begins with a line.
func example(page, first string) string {
	_, rest, _ := strings.Cut(page, "\n    "+first+"\n")
	text := first + "\n"
	for line := range strings.SplitAfterSeq(rest, "\n") {
		body, indented := strings.CutPrefix(line, "    ")
		if !indented && strings.TrimSpace(line) != "" {
			break
		}
		text += body
	}
	return strings.TrimRight(text, "\n") + "\n"
}
