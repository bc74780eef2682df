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

// Effective is what is in force in a project.
type Effective struct {
	Policy
	Source   Source
	Excluded bool     // nothing of the project is in scope
	Problems []string // labels that change nothing, and why
}

// Source says where each part of a project's policy comes from: a setting by
// its name, or `label NAME`.
type Source struct {
	MaxAge, Overlap, Margin string
	Exclude                 string // empty where nothing is excluded
}

// Sources that are no labels.
const (
	fromMaxAge  = "ROTATOR_MAX_AGE"
	fromOverlap = "ROTATOR_OVERLAP"
	fromMargin  = "ROTATOR_MARGIN"
	fromDerived = "derived" // from the schedule; see Margin
)

// ByLabel reports whether a label has a say in what is in force.
func (e Effective) ByLabel() bool {
	return e.Excluded || e.Source.MaxAge != fromMaxAge || e.Source.Overlap != fromOverlap
}

// String says what is in force, and why.
func (e Effective) String() string {
	said := fmt.Sprintf("max age %s (%s), overlap %s (%s), margin %s (%s)", FormatDuration(e.MaxAge), e.Source.MaxAge,
		FormatDuration(e.Overlap), e.Source.Overlap, FormatDuration(e.Margin), e.Source.Margin)
	if e.Excluded {
		return "excluded (" + e.Source.Exclude + "); " + said
	}
	return said
}

// ApplyLabels returns what is in force in a project with these labels. A label
// that cannot be read, that mode does not honour, or that breaks the policy's
// check changes nothing: a slip in a label must neither stop a project's
// rotation nor loosen it.
func ApplyLabels(p Policy, labels map[string]string, mode LabelMode) Effective {
	base := Effective{Policy: p, Source: Source{MaxAge: fromMaxAge, Overlap: fromOverlap, Margin: fromDerived}}
	if p.MarginSet {
		base.Source.Margin = fromMargin
	}
	base.Excluded, base.Problems = excludedBy(labels, mode)
	if base.Excluded {
		base.Source.Exclude = byLabel(ExcludeLabel)
	}
	next := base
	next.Problems = append(next.Problems, next.setMaxAge(labels, mode)...)
	next.Problems = append(next.Problems, next.setOverlap(labels, mode)...)
	if next.Policy == p {
		return next
	}
	if err := next.Validate(); err != nil {
		base.Problems = append(next.Problems, fmt.Sprintf("the labels are ignored: %v", err))
		return base
	}
	return next
}

func byLabel(name string) string { return "label " + name }

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

func (e *Effective) setMaxAge(labels map[string]string, mode LabelMode) []string {
	text, ok := labels[MaxAgeLabel]
	if !ok {
		return nil
	}
	d, err := ParseDuration(text)
	switch {
	case err != nil:
		return []string{unreadable(MaxAgeLabel, err)}
	case d > e.MaxAge && mode != LabelsAny:
		return []string{fmt.Sprintf("label %s=%s is ignored: it is longer than the %s of ROTATOR_MAX_AGE, which needs ROTATOR_LABELS=any",
			MaxAgeLabel, FormatDuration(d), FormatDuration(e.MaxAge))}
	}
	e.MaxAge, e.Source.MaxAge = d, byLabel(MaxAgeLabel)
	return nil
}

func (e *Effective) setOverlap(labels map[string]string, mode LabelMode) []string {
	text, ok := labels[OverlapLabel]
	if !ok {
		return nil
	}
	d, err := ParseDuration(text)
	switch {
	case err != nil:
		return []string{unreadable(OverlapLabel, err)}
	case d == e.Overlap && mode != LabelsAny:
		return nil // it is what holds anyway
	case mode != LabelsAny:
		return []string{notHonoured(OverlapLabel)}
	}
	e.Overlap, e.Source.Overlap = d, byLabel(OverlapLabel)
	return nil
}

func unreadable(label string, err error) string {
	return fmt.Sprintf("label %s is ignored: %v", label, err)
}

func notHonoured(label string) string {
	return fmt.Sprintf("label %s is ignored: it needs ROTATOR_LABELS=any", label)
}
