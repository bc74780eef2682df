package sinch

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Probe is a cheap GET at a Sinch product that shows whether a new key
// authenticates there too.
type Probe struct {
	Name  string   // as in SINCH_PROBES
	Bases []string // base URLs, each asked once

	version string // first path segment
	rest    string // what follows the project, query included
}

// probes are those of SINCH.md section 5. Conversation lives in three regions
// which may learn of a key at different times.
var probes = []Probe{
	{Name: "conversation", Bases: []string{
		"https://us.conversation.api.sinch.com", "https://eu.conversation.api.sinch.com", "https://br.conversation.api.sinch.com",
	}, version: "v1", rest: "messages?page_size=1"},
	{Name: "elastic-sip-trunking", Bases: []string{"https://elastic-trunking.api.sinch.com"}, version: "v1", rest: "trunks?page=1&size=1"},
	{Name: "fax", Bases: []string{"https://fax.api.sinch.com"}, version: "v3", rest: "services?pageSize=1"},
	{Name: "numbers", Bases: []string{"https://numbers.api.sinch.com"}, version: "v1", rest: "availableRegions"},
	{Name: "provisioning", Bases: []string{"https://provisioning.api.sinch.com"}, version: "v1", rest: "bundles"},
}

// ParseProbes reads SINCH_PROBES: names separated by commas, each with
// "=URL" after it where another base URL is to be asked.
func ParseProbes(text string) ([]Probe, error) {
	var parsed []Probe
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		name, base, overridden := strings.Cut(item, "=")
		p, err := probeNamed(strings.TrimSpace(name))
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(parsed, func(q Probe) bool { return q.Name == p.Name }) {
			return nil, fmt.Errorf("probe %q is named twice", p.Name)
		}
		if overridden {
			base = strings.TrimSpace(base)
			if err := checkURL(base); err != nil {
				return nil, fmt.Errorf("base URL of probe %q: %w", p.Name, err)
			}
			p.Bases = []string{base}
		}
		parsed = append(parsed, p)
	}
	return parsed, nil
}

func probeNamed(name string) (Probe, error) {
	var known []string
	for _, p := range probes {
		if p.Name == name {
			return p, nil
		}
		known = append(known, p.Name)
	}
	return Probe{}, fmt.Errorf("unknown probe %q; known are %s", name, strings.Join(known, ", "))
}

// url is the probe's address for a project, whose id has been checked.
func (p Probe) url(base, project string) string {
	return strings.TrimRight(base, "/") + "/" + p.version + "/projects/" + url.PathEscape(project) + "/" + p.rest
}
