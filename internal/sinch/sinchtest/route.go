package sinchtest

import (
	"net/http"
	"net/url"
	"strings"
)

// style is the shape of an API's error bodies (SINCH.md section 4).
type style int

const (
	googleStyle  style = iota // {"error":{"code","message","status","details"}}
	oauthStyle                // {"error","error_description",…}
	flatStyle                 // {"code","status","message"}
	problemStyle              // {"type","title","detail"}
)

// endpoint is one operation of one API.
type endpoint struct {
	method    string
	path      string // {project}, {key} and {sub} stand for any one segment
	operation string // AUDIT.md section 5
	style     style
	version   string // of the subprojects API; else empty
	serve     func(*Server, *visit) answer
}

// probePrefix may stand before any probe's path, for a client whose probes
// share one base URL.
const probePrefix = "/probe-base"

var endpoints = []endpoint{
	{"POST", "/oauth2/token", "token.exchange", oauthStyle, "", (*Server).exchange},

	{"GET", "/v1/projects/{project}/accessKeys", "access_keys.list", googleStyle, "", (*Server).listKeys},
	{"POST", "/v1/projects/{project}/accessKeys", "access_keys.create", googleStyle, "", (*Server).createKey},
	{"GET", "/v1/projects/{project}/accessKeys/{key}", "access_keys.get", googleStyle, "", (*Server).getKey},
	{"PATCH", "/v1/projects/{project}/accessKeys/{key}", "access_keys.update", googleStyle, "", (*Server).updateKey},
	{"DELETE", "/v1/projects/{project}/accessKeys/{key}", "access_keys.delete", googleStyle, "", (*Server).deleteKey},

	{"GET", "/v1/projects/{project}/subprojects", "subprojects.list", googleStyle, "v1", (*Server).listSubprojects},
	{"POST", "/v1/projects/{project}/subprojects", "subprojects.create", googleStyle, "v1", (*Server).createSubproject},
	{"GET", "/v1/subprojects/{sub}", "subprojects.get", googleStyle, "v1", (*Server).getSubproject},
	{"PATCH", "/v1/subprojects/{sub}", "subprojects.update", googleStyle, "v1", (*Server).updateSubproject},
	{"DELETE", "/v1/subprojects/{sub}", "subprojects.delete", googleStyle, "v1", (*Server).deleteSubproject},

	{"GET", "/v1alpha1/projects/{project}/subprojects", "subprojects.list", googleStyle, "v1alpha1", (*Server).listSubprojects},
	{"POST", "/v1alpha1/projects/{project}/subprojects", "subprojects.create", googleStyle, "v1alpha1", (*Server).createSubproject},
	{"GET", "/v1alpha1/subprojects/{sub}", "subprojects.get", googleStyle, "v1alpha1", (*Server).getSubproject},
	{"PATCH", "/v1alpha1/subprojects/{sub}", "subprojects.update", googleStyle, "v1alpha1", (*Server).updateSubproject},
	{"DELETE", "/v1alpha1/subprojects/{sub}", "subprojects.delete", googleStyle, "v1alpha1", (*Server).deleteSubproject},

	{"GET", "/v1/projects/{project}/trunks", "probe.elastic-sip-trunking", flatStyle, "", (*Server).probe},
	{"GET", "/v1/projects/{project}/availableRegions", "probe.numbers", problemStyle, "", (*Server).probe},
	{"GET", "/v1/projects/{project}/messages", "probe.conversation", googleStyle, "", (*Server).probe},
	{"GET", "/v3/projects/{project}/services", "probe.fax", problemStyle, "", (*Server).probe},
	{"GET", "/v1/projects/{project}/bundles", "probe.provisioning", googleStyle, "", (*Server).probe},
}

// route is where a request goes.
type route struct {
	endpoint *endpoint // nil when there is no such operation
	known    bool      // the path exists, if for other methods
	project  string
	key      string
	sub      string
}

func (r route) operation() string {
	if r.endpoint == nil {
		return "unknown"
	}
	return r.endpoint.operation
}

// find matches on the escaped path, so that an id may hold a slash.
func find(r *http.Request) route {
	path := strings.TrimPrefix(r.URL.EscapedPath(), probePrefix)
	segments := strings.Split(path, "/")
	var found route
	for i := range endpoints {
		at, ok := match(&endpoints[i], segments)
		if !ok {
			continue
		}
		if endpoints[i].method == r.Method {
			return at
		}
		found = route{known: true}
	}
	return found
}

func match(e *endpoint, segments []string) (route, bool) {
	at := route{endpoint: e, known: true}
	wanted := strings.Split(e.path, "/")
	if len(wanted) != len(segments) {
		return at, false
	}
	for i, want := range wanted {
		got, err := url.PathUnescape(segments[i])
		if err != nil || got == "" && want != "" {
			return at, false
		}
		switch want {
		case "{project}":
			at.project = got
		case "{key}":
			at.key = got
		case "{sub}":
			at.sub = got
		default:
			if segments[i] != want {
				return at, false
			}
		}
	}
	return at, true
}
