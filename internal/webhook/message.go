// Package webhook tells people of problems, and that they are over: one JSON
// object a message, whose `text` Slack and its likes show (docs/webhook.md).
//
//	run ends → Wake → collect what is new → POST, again after a failure
//
// All of that is the work of one goroutine beside the runs. What becomes known
// while a message cannot be delivered joins it, and what is over before anybody
// was told of it leaves it.
package webhook

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"rotator/internal/call"
)

// Kinds of problems.
const (
	Down    = "down"    // a run could do nothing: a dependency is away, or refuses us
	Failed  = "failed"  // work on a credential or a project failed
	Refused = "refused" // a guard stands against it
	Overdue = "overdue" // keys are past their max age
)

// Listed is how many problems a message lists of each sort; totals count all.
const Listed = 50

// version of the payload; it grows when a field changes its meaning.
const version = 1

// Message is what is told, its JSON is a contract.
type Message struct {
	Text    string    `json:"text"`
	Version int       `json:"version"`
	Event   string    `json:"event"` // problem, reminder or recovery
	At      time.Time `json:"at"`
	Host    string    `json:"host"`
	Project string    `json:"project_id"` // the parent project
	Open    int       `json:"open"`       // problems that stand

	Problems       []Problem `json:"problems"`
	ProblemsTotal  int       `json:"problems_total"`
	Recovered      []Problem `json:"recovered"`
	RecoveredTotal int       `json:"recovered_total"`
}

// Problem is one, of a credential, or of a whole project if that is empty, or
// of the process that tells of it if that is empty, too.
type Problem struct {
	Kind       string    `json:"kind"`
	Project    string    `json:"project_id"`
	Credential string    `json:"credential"`
	Error      string    `json:"error"`
	Since      time.Time `json:"since"`
	Reminder   bool      `json:"reminder"` // it was told of before
}

// News is what has become known.
type News struct {
	Problems, Recovered []Problem
	Total, Over         int // how many there are of both, if not all are listed
	Open                int
}

// empty reports whether there is nothing to tell.
func (n News) empty() bool { return n.Total+n.Over == 0 }

// same reports whether two texts are about the same problem.
func (p Problem) same(o Problem) bool {
	return p.Kind == o.Kind && p.Project == o.Project && p.Credential == o.Credential
}

// merge adds what is newer to what nobody was told of yet.
func (n *News) merge(newer News) {
	n.Open = newer.Open
	n.Total, n.Over = n.Total+newer.Total, n.Over+newer.Over
	for _, p := range newer.Recovered {
		i := slices.IndexFunc(n.Problems, p.same)
		if i < 0 {
			n.Recovered = append(n.Recovered, p)
			continue
		}
		if reminder := n.Problems[i].Reminder; reminder { // they know of it
			n.Recovered = append(n.Recovered, p)
		} else {
			n.Over--
		}
		n.Problems = slices.Delete(n.Problems, i, i+1)
		n.Total--
	}
	for _, p := range newer.Problems {
		if i := slices.IndexFunc(n.Recovered, p.same); i >= 0 { // it is back before they heard that it was over
			n.Recovered = slices.Delete(n.Recovered, i, i+1)
			n.Over--
			p.Reminder = true
		}
		if i := slices.IndexFunc(n.Problems, p.same); i >= 0 {
			p.Reminder = n.Problems[i].Reminder
			n.Problems[i] = p
			n.Total--
			continue
		}
		n.Problems = append(n.Problems, p)
	}
	n.Problems, n.Recovered = n.Problems[:min(len(n.Problems), Listed)], n.Recovered[:min(len(n.Recovered), Listed)]
}

// message is the news as they are sent.
func (n News) message(from From, at time.Time) Message {
	m := Message{
		Version: version, At: at.UTC(), Host: from.Host, Project: from.Project, Open: n.Open,
		Problems: clean(n.Problems), ProblemsTotal: n.Total, Recovered: clean(n.Recovered), RecoveredTotal: n.Over,
	}
	switch {
	case n.Total == 0:
		m.Event = "recovery"
	case slices.ContainsFunc(m.Problems, func(p Problem) bool { return !p.Reminder }):
		m.Event = "problem"
	default:
		m.Event = "reminder"
	}
	m.Text = m.text()
	return m
}

// clean makes remote text harmless, and never gives null.
func clean(problems []Problem) []Problem {
	cleaned := make([]Problem, len(problems))
	for i, p := range problems {
		p.Project, p.Credential, p.Error, p.Since = call.Sanitize(p.Project), call.Sanitize(p.Credential), call.Sanitize(p.Error), p.Since.UTC()
		cleaned[i] = p
	}
	return cleaned
}

// shown is how many problems of each sort the text shows.
const shown = 10

// text is the message as people read it.
func (m Message) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "rotator on %s, project %s: ", escape(m.Host), escape(m.Project))
	var parts []string
	if m.ProblemsTotal > 0 {
		what := "problem"
		if m.Event == "reminder" {
			what += " still open"
		}
		parts = append(parts, plural(m.ProblemsTotal, what))
	}
	if m.RecoveredTotal > 0 {
		parts = append(parts, fmt.Sprintf("%d recovered", m.RecoveredTotal))
	}
	if rest := m.Open - m.ProblemsTotal; rest > 0 {
		parts = append(parts, fmt.Sprintf("%d more open", rest))
	} else if m.Open == 0 {
		parts = append(parts, "nothing is open")
	}
	b.WriteString(strings.Join(parts, ", "))
	lines(&b, m.Problems, m.ProblemsTotal, func(p Problem) string { return p.Kind })
	lines(&b, m.Recovered, m.RecoveredTotal, func(p Problem) string { return "recovered (was " + p.Kind + ")" })
	return b.String()
}

func lines(b *strings.Builder, problems []Problem, total int, title func(Problem) string) {
	for _, p := range problems[:min(len(problems), shown)] {
		fmt.Fprintf(b, "\n• %s", title(p))
		if about := strings.Trim(p.Project+"/"+p.Credential, "/"); about != "" {
			fmt.Fprintf(b, " %s", escape(about))
		}
		fmt.Fprintf(b, ": %s", escape(p.Error))
	}
	if total > shown {
		fmt.Fprintf(b, "\n• and %d more", total-shown)
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %s", n, strings.Replace(what, "problem", "problems", 1))
}

// escape keeps remote text from being a link or a mention in Slack.
var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace
