package image_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// stage is the Dockerfile's last stage, as far as this test understands it.
// What it does not understand fails the test.
type stage struct {
	base       string
	copies     []copied
	env        []string
	user       string
	workdir    string
	entrypoint []string
}

// copied is a COPY instruction.
type copied struct {
	owner    string // of --chown, empty for root
	from, to string
}

// readStage reads the last stage of the Dockerfile.
func readStage(t *testing.T, path string) stage {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var s stage
	joined := strings.ReplaceAll(string(text), "\\\n", " ")
	for line := range strings.Lines(joined) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "", "#", "RUN", "ARG", "LABEL", "VOLUME", "EXPOSE", "CMD":
		case "FROM":
			s = stage{base: rest}
		case "COPY":
			s.copies = append(s.copies, readCopy(rest))
		case "ENV":
			s.env = append(s.env, strings.Fields(rest)...)
		case "USER":
			s.user = rest
		case "WORKDIR":
			s.workdir = rest
		case "ENTRYPOINT":
			if err := json.Unmarshal([]byte(rest), &s.entrypoint); err != nil {
				t.Fatalf("ENTRYPOINT %s: the form that needs no shell is a JSON array: %v", rest, err)
			}
		default:
			t.Fatalf("this test does not know the instruction %s", word)
		}
	}
	return s
}

func readCopy(args string) copied {
	var c copied
	var paths []string
	for arg := range strings.FieldsSeq(args) {
		if owner, ok := strings.CutPrefix(arg, "--chown="); ok {
			c.owner = owner
		} else if !strings.HasPrefix(arg, "--") {
			paths = append(paths, arg)
		}
	}
	c.from, c.to = strings.Join(paths[:len(paths)-1], " "), paths[len(paths)-1]
	return c
}
