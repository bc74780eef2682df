package sinchtest

// ProbeCredential stands in the answer of the conversation probe, where real
// answers may hold credentials of channels: it must never be recorded.
const ProbeCredential = "channel-credential-never-to-be-recorded"

// probeAnswers are the bodies of the products' APIs, by operation.
var probeAnswers = map[string]object{
	"probe.elastic-sip-trunking": {"trunks": []any{}, "currentPage": 1, "pageSize": 1, "totalElements": 0},
	"probe.numbers":              {"availableRegions": []any{object{"regionCode": "SE", "regionName": "Sweden", "types": []any{"MOBILE"}}}},
	"probe.conversation":         {"messages": []any{object{"id": "01", "channel_identity": object{"static_token": ProbeCredential}}}, "next_page_token": ""},
	"probe.fax":                  {"services": []any{}, "pageNumber": 1, "pageSize": 1},
	"probe.provisioning":         {"bundles": []any{}, "nextPageToken": ""},
}

// probe answers for a product that every project has enabled. A Fault makes
// one that is not.
func (s *Server) probe(v *visit) answer {
	if _, refused := s.usable(v, v.route.project); refused != nil {
		return *refused
	}
	return success(probeAnswers[v.route.operation()])
}
