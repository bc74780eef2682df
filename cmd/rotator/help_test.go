package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestEveryCommandExplainsItself walks the command tree: each command has a
// line in its parent's help and a help of its own, each flag says what it does.
func TestEveryCommandExplainsItself(t *testing.T) {
	t.Parallel()
	walk(newRoot(streams{env: envFile{}}), func(cmd *cobra.Command) {
		path := cmd.CommandPath()
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: want a short line without a full stop, got %q", path, cmd.Short)
		}
		if cmd.RunE == nil || cmd.Args == nil {
			t.Errorf("%s: neither says what to do nor which arguments it takes", path)
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s --%s does not say what it does", path, f.Name)
			}
		})
	})
}

// TestHelpNeedsNothing asks every command for help, on a machine without any
// configuration.
func TestHelpNeedsNothing(t *testing.T) {
	t.Parallel()
	walk(newRoot(streams{env: envFile{}}), func(cmd *cobra.Command) {
		var out, errs bytes.Buffer
		args := append(strings.Fields(cmd.CommandPath())[1:], "-h")
		code := run(t.Context(), args, streams{in: strings.NewReader(""), out: &out, err: &errs, env: envFile{}})
		if code != 0 || !strings.Contains(out.String(), "Usage:") || errs.Len() > 0 {
			t.Errorf("rotator %s: exit code %d, stdout %q, stderr %q", strings.Join(args, " "), code, out.String(), errs.String())
		}
		for line := range strings.Lines(cmd.Long) {
			if len([]rune(line)) > 81 { // with its newline
				t.Errorf("rotator %s: a line is too long for a terminal: %s", strings.Join(args, " "), line)
			}
		}
	})
}

// walk visits our own commands, not those that cobra brings.
func walk(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, child := range cmd.Commands() {
		walk(child, visit)
	}
}
