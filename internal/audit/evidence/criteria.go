package evidence

import "slices"

// Framework is a set of criteria that auditors work with.
type Framework string

// Frameworks that a report can be narrowed to; All is every one, NIST too.
const (
	All      Framework = ""
	PCI      Framework = "pci"
	SOC2     Framework = "soc2"
	ISO27001 Framework = "iso27001"
)

// nist is shown with all the others only.
const nist Framework = "nist"

// Criterion is one requirement, and which tables are evidence about it. A
// report is evidence; whether a requirement is met is the auditor's to say.
type Criterion struct {
	Framework string   `json:"framework"`
	ID        string   `json:"id"`
	Evidence  string   `json:"evidence"` // what the tables show of it, and what they do not
	Tables    []string `json:"tables"`   // ids

	of Framework
}

// criteria returns those of a framework, or all.
func criteria(f Framework) []Criterion {
	return slices.DeleteFunc(allCriteria(), func(c Criterion) bool { return f != All && c.of != f })
}

const (
	pciName  = "PCI DSS v4.0.1"
	soc2Name = "SOC 2 (Trust Services Criteria)"
	isoName  = "ISO/IEC 27001:2022, Annex A"
	nistName = "NIST SP 800-53 Rev. 5"
)

func allCriteria() []Criterion {
	return []Criterion{
		{
			of: PCI, Framework: pciName, ID: "8.6.3",
			Evidence: "How old each application credential became against the limit that was set for it, that and when it was changed, and how fast where compromise was suspected; " +
				"the risk analysis that chose the limit, and how secrets are composed, are not in here.",
			Tables: []string{"rotations", "ages", "age_distribution", "overdue_at_end", "overdue", "deletions", "compromise_response", "policy_changes"},
		},
		{
			of: PCI, Framework: pciName, ID: "10.2",
			Evidence: "That making, replacing and deleting access keys is recorded with who asked for it, what was done to which key, when, from which host and how it ended, failed attempts included; " +
				"what other systems record is not in here.",
			Tables: []string{"rotations", "deletions", "failed_rotations", "refusals", "pauses", "policy_changes", "api_status_codes", "configurations"},
		},
		{
			of: PCI, Framework: pciName, ID: "10.3",
			Evidence: "How far signed checkpoints outside the database vouch for the records, and every time the record itself was exported, restored or cut; " +
				"that nothing was altered is for `rotator audit verify` to show, and who may read the database for its administrators.",
			Tables: []string{"log_events", "unanchored"},
		},
		{
			of: PCI, Framework: pciName, ID: "10.5",
			Evidence: "From when on the records are at hand (in the header), and every time old ones were moved out; " +
				"how long they must be kept is a decision that is not in here.",
			Tables: []string{"log_events"},
		},
		{
			of: SOC2, Framework: soc2Name, ID: "CC6.1",
			Evidence: "Which access keys exist, which of them are under management, that each is replaced and withdrawn within its limit, and by whose decision; " +
				"who may use a key, and access other than by access keys, are not in here.",
			Tables: []string{"population", "roll_forward", "differences", "rotations", "deletions", "overdue", "unmanaged"},
		},
		{
			of: SOC2, Framework: soc2Name, ID: "CC7.2",
			Evidence: "What the running control noticed by itself: keys that appeared or vanished, steps that its guards refused, failures, and times in which it did not run; " +
				"how people were told of it and what they did outside of rotator is not in here.",
			Tables: []string{"differences", "drift", "refusals", "failed_rotations", "schedule_gaps", "unfinished_runs", "unlisted", "api_status_codes"},
		},
		{
			of: ISO27001, Framework: isoName, ID: "A.5.17",
			Evidence: "How authentication information of applications is issued, replaced and withdrawn from one place, and what is done when it may have become known; " +
				"passwords of people are not in here.",
			Tables: []string{"rotations", "deletions", "compromise_response", "unmanaged"},
		},
		{
			of: ISO27001, Framework: isoName, ID: "A.8.15",
			Evidence: "Which events are recorded, and what protects the records: checkpoints outside the database, and the list of everything that was done to the log itself; " +
				"reviewing the log is the reader's part.",
			Tables: []string{"log_events", "unanchored", "open_intents", "runs", "api_status_codes"},
		},
		{
			of: ISO27001, Framework: isoName, ID: "A.8.24",
			Evidence: "The life of each access key from its making to its deletion, with the limit on its age; the strength of secrets, and the encryption of Vault and of the network, are not in here.",
			Tables:   []string{"population", "rotations", "ages", "overdue", "deletions"},
		},
		{
			of: nist, Framework: nistName, ID: "AU-9",
			Evidence: "The signed checkpoint (in the header) that binds the records cryptographically, what it does not cover yet, and what was done to the log; " +
				"database privileges are not in here.",
			Tables: []string{"log_events", "unanchored"},
		},
		{
			of: nist, Framework: nistName, ID: "AU-10",
			Evidence: "For each change the actor as claimed, beside the database and Vault login that the servers vouch for, under a signed checkpoint; " +
				"that a claimed actor is that person is for the login's own records to show.",
			Tables: []string{"rotations", "deletions", "pauses", "configurations", "unanchored"},
		},
		{
			of: nist, Framework: nistName, ID: "IA-5",
			Evidence: "Issuing, refreshing and revoking of authenticators: their age against a limit, their replacement by schedule and on compromise, and those not under management; " +
				"first distribution to consumers and the strength of secrets are not in here.",
			Tables: []string{"population", "rotations", "ages", "overdue_at_end", "overdue", "deletions", "compromise_response", "unmanaged"},
		},
	}
}
