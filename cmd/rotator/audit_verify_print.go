package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"rotator/internal/audit"
)

// tell prints a verdict and ends with its exit code.
func (c *cli) tell(v *audit.Verdict, output string) error {
	var err error
	if output == "json" {
		err = printJSON(c.out, v)
	} else {
		err = verdictText(c.out, v)
	}
	if err != nil {
		return fmt.Errorf("writing the verdict: %w", err)
	}
	return exitWith(v.ExitCode)
}

// verdictText prints a verdict for people: the verdict, what was looked at,
// what was found.
func verdictText(w io.Writer, v *audit.Verdict) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "VERDICT\t%s\n", strings.ToUpper(v.Word))
	fmt.Fprintf(t, "LOG\t%s\n", plain(v.Origin))
	fmt.Fprintf(t, "EVENTS\t%s\n", eventsRead(v))
	if v.Root != "" {
		fmt.Fprintf(t, "ROOT\t%s\n", v.Root)
	}
	fmt.Fprintf(t, "CHECKPOINTS\t%s\n", checkpointsHeld(v))
	fmt.Fprintf(t, "WITHOUT ONE\t%s\n", uncovered(v.Tail))
	for _, e := range v.Epochs[:max(len(v.Epochs)-1, 0)] {
		fmt.Fprintf(t, "EPOCH %d\t%s\n", e.Epoch, ended(e))
	}
	for _, k := range v.Keys {
		fmt.Fprintf(t, "SIGNED BY\t%s (%s)\n", plain(k.Key), pinning(k))
	}
	if err := t.Flush(); err != nil {
		return err //nolint:wrapcheck // wrapped by the caller
	}
	findings(w, v)
	for _, list := range []struct {
		title string
		texts []string
	}{
		{"NOT PROVEN", v.Unproven}, {"NOT CHECKED", v.Unchecked}, {"WARNING", v.Warnings}, {"NOTE", v.Notes},
	} {
		for _, text := range list.texts {
			fmt.Fprintf(w, "\n%s  %s\n", list.title, text)
		}
	}
	return openCalls(w, v.Open)
}

func eventsRead(v *audit.Verdict) string {
	if v.Events == 0 {
		return "none"
	}
	return fmt.Sprintf("%d, from %d to %d, in %s (%.0f/s)", v.Events, v.First, v.Size-1,
		time.Duration(v.Seconds*float64(time.Second)).Round(time.Millisecond), v.Rate)
}

func checkpointsHeld(v *audit.Verdict) string {
	switch {
	case v.Checkpoints == 0:
		return "none"
	case v.Last == nil:
		return fmt.Sprintf("%d, none of them fits", v.Checkpoints)
	}
	text := fmt.Sprintf("%d, the last that fits: %d events", v.Checkpoints, v.Last.Size)
	if !v.Last.At.IsZero() {
		text += ", made at " + v.Last.At.UTC().Format(time.RFC3339)
	}
	if v.Last.Epoch > 1 {
		text += fmt.Sprintf(", epoch %d", v.Last.Epoch)
	}
	return text
}

// uncovered is the end of the log that no checkpoint covers.
func uncovered(t audit.Tail) string {
	if t.Events == 0 {
		return "no event"
	}
	text := fmt.Sprintf("%d events, %s to %s", t.Events, t.From.UTC().Format(time.RFC3339), t.To.UTC().Format(time.RFC3339))
	if t.Oldest.IsZero() {
		text += ", none of which needs one"
	}
	return text
}

// ended is what became of an epoch that another one follows.
func ended(e audit.EpochVerdict) string {
	return fmt.Sprintf("%d checkpoints fit; from event %d on (%s) it is lost, up to %d (%s): %s, by %s",
		e.Checkpoints, e.Common, momentOr(e.CommonAt), e.Anchored-1, momentOr(e.AnchoredAt), plain(e.Reason), plain(e.Actor))
}

func momentOr(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

func pinning(k audit.VerifierKey) string {
	if k.Pinned {
		return "pinned, or vouched for by a pinned key"
	}
	return "NOT INDEPENDENTLY PINNED: it was found beside the checkpoints; see --verifier-key"
}

func findings(w io.Writer, v *audit.Verdict) {
	shown := map[string]int{}
	for _, f := range v.Findings {
		shown[f.Kind]++
		fmt.Fprintf(w, "\nFOUND  %s\n", f.Text)
	}
	for kind, n := range v.Found {
		if n > shown[kind] {
			fmt.Fprintf(w, "\nFOUND  %d more of the kind %q\n", n-shown[kind], kind)
		}
	}
}

// openCalls lists the changes of which the log does not say how they ended.
func openCalls(w io.Writer, calls []audit.OpenCall) error {
	if len(calls) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "OPEN CALL\tSEQ\tINTENDED\tOPERATION\tPROJECT\tCREDENTIAL\tWHY IT MAY BE OPEN")
	for _, o := range calls {
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\t%s\n", o.Call, o.Seq, o.At.Format(time.RFC3339), plain(o.Operation), plain(o.Project), plain(o.Credential), o.State)
	}
	return t.Flush() //nolint:wrapcheck // wrapped by the caller
}
