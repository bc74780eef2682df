package rotation

import "fmt"

// LabelMode says which labels on a subproject are obeyed.
type LabelMode string

// Label modes, as ROTATOR_LABELS spells them. The zero LabelMode is stricter.
const (
	LabelsStricter LabelMode = "stricter" // only a shorter max age
	LabelsAny      LabelMode = "any"      // also a longer one, overlap and exclude
)

// Labels that override the policy of a subproject.
const (
	MaxAgeLabel  = "rotator.max-age"
	OverlapLabel = "rotator.overlap"
	ExcludeLabel = "rotator.exclude"
)

// ApplyLabels returns the policy of a project with these labels, whether they
// exclude it, and what is wrong with them. A label that cannot be read, that
// mode does not honour, or that breaks the policy's check changes nothing: a
// slip in a label must neither stop a project's rotation nor loosen it.
func ApplyLabels(p Policy, labels map[string]string, mode LabelMode) (Policy, bool, []string) {
	next := p
	excluded, problems := excludedBy(labels, mode)
	problems = append(problems, setMaxAge(&next, labels, mode)...)
	problems = append(problems, setOverlap(&next, labels, mode)...)
	if next == p {
		return p, excluded, problems
	}
	if err := next.Validate(); err != nil {
		return p, excluded, append(problems, fmt.Sprintf("the labels are ignored: %v", err))
	}
	return next, excluded, problems
}

func excludedBy(labels map[string]string, mode LabelMode) (bool, []string) {
	text, ok := labels[ExcludeLabel]
	switch {
	case !ok || text == "false":
		return false, nil
	case text != "true":
		return false, []string{fmt.Sprintf("label %s=%q is ignored: write true or false", ExcludeLabel, text)}
	case mode != LabelsAny:
		return false, []string{notHonoured(ExcludeLabel)}
	}
	return true, nil
}

func setMaxAge(p *Policy, labels map[string]string, mode LabelMode) []string {
	text, ok := labels[MaxAgeLabel]
	if !ok {
		return nil
	}
	d, err := ParseDuration(text)
	switch {
	case err != nil:
		return []string{unreadable(MaxAgeLabel, err)}
	case d > p.MaxAge && mode != LabelsAny:
		return []string{fmt.Sprintf("label %s=%s is ignored: it is longer than the %s of ROTATOR_MAX_AGE, which needs ROTATOR_LABELS=any",
			MaxAgeLabel, FormatDuration(d), FormatDuration(p.MaxAge))}
	}
	p.MaxAge = d
	return nil
}

func setOverlap(p *Policy, labels map[string]string, mode LabelMode) []string {
	text, ok := labels[OverlapLabel]
	if !ok {
		return nil
	}
	d, err := ParseDuration(text)
	switch {
	case err != nil:
		return []string{unreadable(OverlapLabel, err)}
	case d == p.Overlap:
		return nil
	case mode != LabelsAny:
		return []string{notHonoured(OverlapLabel)}
	}
	p.Overlap = d
	return nil
}

func unreadable(label string, err error) string {
	return fmt.Sprintf("label %s is ignored: %v", label, err)
}

func notHonoured(label string) string {
	return fmt.Sprintf("label %s is ignored: it needs ROTATOR_LABELS=any", label)
}
