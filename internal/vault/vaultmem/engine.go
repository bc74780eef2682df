package vaultmem

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// engine serves the KV v2 mount.
func (s *Server) engine(r request, l login) response {
	rest, ok := strings.CutPrefix(r.path, s.cfg.Mount+"/")
	endpoint, key, found := strings.Cut(rest, "/")
	if !ok || !found || !slices.Contains([]string{"data", "metadata", "delete", "undelete", "destroy"}, endpoint) {
		return refuse(http.StatusNotFound, `no handler for route "`+r.path+`". route entry not found.`)
	}
	capability := s.capability(r.method, endpoint, key)
	path := r.path
	if capability == "list" {
		path = strings.TrimSuffix(path, "/") + "/"
	}
	if !l.allows(path, capability) {
		return refuse(http.StatusForbidden, "1 error occurred:\n\t* permission denied\n\n")
	}
	switch endpoint + " " + capability {
	case "data read":
		return s.readData(key, number(r.query))
	case "data create", "data update":
		return s.writeData(key, r.body)
	case "data delete":
		if e := s.entries[key]; e != nil {
			e.delete([]int{e.current}, s.cfg.Now())
		}
		return response{}
	case "metadata read":
		return s.readMetadata(key)
	case "metadata create", "metadata update":
		return s.writeMetadata(key, r.body, false)
	case "metadata patch":
		return s.writeMetadata(key, r.body, true)
	case "metadata delete":
		delete(s.entries, key)
		return response{}
	case "metadata list":
		return s.list(key)
	case "delete update", "undelete update", "destroy update":
		return s.drop(endpoint, key, r.body)
	}
	return refuse(http.StatusMethodNotAllowed, "unsupported operation")
}

// capability is what a request needs, as Vault's policies name it.
func (s *Server) capability(method, endpoint, key string) string {
	switch method {
	case http.MethodGet:
		return "read"
	case "LIST":
		return "list"
	case http.MethodDelete:
		return "delete"
	case http.MethodPatch:
		return "patch"
	}
	if s.entries[key] == nil && (endpoint == "data" || endpoint == "metadata") {
		return "create"
	}
	return "update"
}

func (s *Server) readData(key string, n int) response {
	e := s.entries[key]
	if e == nil {
		return refuse(http.StatusNotFound)
	}
	if n == 0 {
		n = e.current
	}
	v := e.versions[n]
	if v == nil {
		return refuse(http.StatusNotFound)
	}
	meta := v.describe()
	meta["version"], meta["custom_metadata"] = n, e.customOrNil()
	p := response{data: map[string]any{"data": nil, "metadata": meta}}
	if v.destroyed || !v.deletion.IsZero() {
		p.status = http.StatusNotFound
		return p
	}
	p.data["data"] = v.data
	return p
}

func (s *Server) writeData(key string, body map[string]any) response {
	data, ok := body["data"].(map[string]any)
	if raw, present := body["data"]; !ok && (!present || raw != nil) {
		return refuse(http.StatusBadRequest, "no data provided")
	}
	e := s.entries[key]
	if e == nil {
		e = newEntry(s.cfg.Now())
	}
	options, _ := body["options"].(map[string]any)
	if cas, given := options["cas"]; given {
		want, ok := integer(cas)
		if !ok {
			return refuse(http.StatusBadRequest, "error parsing check-and-set parameter")
		}
		if want != e.current {
			return refuse(http.StatusBadRequest, "check-and-set parameter did not match the current version")
		}
	}
	s.entries[key] = e
	answer := e.add(data, s.cfg.Now()).describe()
	answer["version"], answer["custom_metadata"] = e.current, e.customOrNil()
	return response{data: answer}
}

func (s *Server) drop(endpoint, key string, body map[string]any) response {
	list, _ := body["versions"].([]any)
	var versions []int
	for _, item := range list {
		n, ok := integer(item)
		if !ok {
			return refuse(http.StatusBadRequest, "Field validation failed: error converting input for field \"versions\"")
		}
		versions = append(versions, n)
	}
	if len(versions) == 0 {
		return refuse(http.StatusBadRequest, "no version number provided")
	}
	e := s.entries[key]
	if e == nil {
		return response{}
	}
	switch endpoint {
	case "delete":
		e.delete(versions, s.cfg.Now())
	case "undelete":
		e.undelete(versions)
	default:
		e.destroy(versions)
	}
	return response{}
}

func number(query map[string][]string) int {
	values := query["version"]
	if len(values) == 0 {
		return 0
	}
	n, err := strconv.Atoi(values[0])
	if err != nil || n < 0 {
		return 0
	}
	return n
}
