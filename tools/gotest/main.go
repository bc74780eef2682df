// Command gotest runs `go test` with the given arguments in the directory
// above the tools module and prints what a person wants to see: one line per
// package, the whole output of what failed, and at the end every test that was
// skipped. A skipped test is a failure, because a test that does not run
// proves nothing.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

func main() {
	cmd := exec.Command("go", append([]string{"test", "-json"}, os.Args[1:]...)...)
	cmd.Dir, cmd.Stderr = "..", os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gotest: starting go test:", err)
		os.Exit(1)
	}
	r := report{out: os.Stdout, lines: map[test][]string{}}
	readErr := r.read(out)
	waitErr := cmd.Wait()
	if err := cmp.Or(readErr, waitErr); err != nil {
		fmt.Fprintln(os.Stderr, "gotest: go test:", err)
	}
	if good := r.finish(); !good || readErr != nil || waitErr != nil {
		os.Exit(1)
	}
}

// event is a line of `go test -json` (see `go doc test2json`).
type event struct {
	Action, Package, ImportPath, Test, Output string
}

// test is a test of a package; an empty name is the package itself.
type test struct{ pkg, name string }

// report collects what go test says.
type report struct {
	out     io.Writer
	lines   map[test][]string // output of what has not ended yet
	skipped []string
	passed  int
	failed  bool
}

// read takes in every event.
func (r *report) read(in io.Reader) error {
	for lines := bufio.NewReader(in); ; {
		line, err := lines.ReadBytes('\n')
		var e event
		switch {
		case len(line) == 0 && err == io.EOF:
			return nil
		case err != nil && err != io.EOF:
			return fmt.Errorf("reading its output: %w", err)
		case json.Unmarshal(line, &e) != nil:
			fmt.Fprintf(r.out, "%s", line) // not JSON, so go itself speaks
		default:
			r.add(e)
		}
	}
}

// add takes in one event.
func (r *report) add(e event) {
	t := test{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "output":
		r.output(t, e.Output)
	case "skip":
		if t.name != "" { // a package without tests is "skipped" too
			r.skipped = append(r.skipped, fmt.Sprintf("%s %s: %s", t.pkg, t.name, reason(r.lines[t])))
		}
		delete(r.lines, t)
	case "fail":
		r.failed = true
		fmt.Fprint(r.out, strings.Join(r.lines[t], ""))
		delete(r.lines, t)
	case "pass":
		if t.name != "" {
			r.passed++
		}
		if text := strings.Join(r.lines[t], ""); strings.Contains(text, race) {
			fmt.Fprint(r.out, text)
		}
		delete(r.lines, t)
	}
}

// race begins a report of the race detector. It counts as output of whichever
// test spoke last, often not the one that fails for it.
const race = "WARNING: DATA RACE"

// output shows a package's closing line at once and keeps everything else
// until it is known whether it matters.
func (r *report) output(t test, text string) {
	if t.name == "" && (strings.HasPrefix(text, "ok  \t") || strings.HasPrefix(text, "FAIL\t")) {
		fmt.Fprint(r.out, text)
		return
	}
	r.lines[t] = append(r.lines[t], text)
}

// reason is what a skipped test said last, without go test's own framing.
func reason(lines []string) string {
	for _, line := range slices.Backward(lines) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "---") && !strings.HasPrefix(line, "===") {
			return line
		}
	}
	return "no reason given"
}

// finish prints what was left open and the closing lines; it reports whether
// anything ran, nothing failed and nothing was skipped.
func (r *report) finish() bool {
	for t, lines := range r.lines { // a crash ends no test
		if t.name != "" {
			fmt.Fprintf(r.out, "did not end: %s %s\n%s", t.pkg, t.name, strings.Join(lines, ""))
		}
	}
	fmt.Fprintf(r.out, "tests passed: %d\n", r.passed)
	if len(r.skipped) == 0 {
		fmt.Fprintln(r.out, "tests skipped: none")
		return r.passed > 0 && !r.failed
	}
	fmt.Fprintf(r.out, "tests skipped: %d, and none may be\n", len(r.skipped))
	for _, s := range r.skipped {
		fmt.Fprintln(r.out, "  "+s)
	}
	return false
}
