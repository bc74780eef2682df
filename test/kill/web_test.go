package kill_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// web puts the gate before a server. A request whose label is empty is no
// step of its own.
func (g *gate) web(t *testing.T, label func(*http.Request) string, latency func() time.Duration, next http.Handler) (address string) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer g.begin()()
		var h *hold
		if name := label(r); name != "" {
			h = g.enter(name)
			time.Sleep(latency())
		}
		if h == nil {
			next.ServeHTTP(w, r)
			return
		}
		if h.after {
			next.ServeHTTP(httptest.NewRecorder(), r)
		}
		h.keep()
		panic(http.ErrAbortHandler) // hangs up
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}

// forward hands requests on to the server at addr.
func forward(t *testing.T, addr string) http.Handler {
	t.Helper()
	target, err := url.Parse(addr)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 8}
	t.Cleanup(transport.CloseIdleConnections)
	return &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: transport, ErrorLog: log.New(io.Discard, "", 0),
	}
}

var keyPath = regexp.MustCompile(`^/v1/projects/([^/]+)/accessKeys(/[^/]+)?$`)

// sinchLabel says what a request to Sinch does. own is the key that rotator
// works with; any other that asks for a token is a new one being verified.
func (g *gate) sinchLabel(own string) func(*http.Request) string {
	return func(r *http.Request) string {
		if user, _, ok := r.BasicAuth(); ok {
			if user == own {
				return ""
			}
			return "sinch: exchange of the new key's token"
		}
		at := keyPath.FindStringSubmatch(r.URL.Path)
		if at == nil {
			return ""
		}
		switch r.Method {
		case http.MethodPost:
			g.name(displayName(r))
			return "sinch: create in " + at[1]
		case http.MethodPatch:
			return "sinch: PATCH in " + at[1]
		case http.MethodDelete:
			return "sinch: DELETE in " + at[1]
		}
		if at[2] != "" {
			return "sinch: get in " + at[1]
		}
		return "sinch: list " + at[1]
	}
}

// displayName reads the body and puts it back.
func displayName(r *http.Request) string {
	var asked struct{ DisplayName string }
	body, _ := io.ReadAll(r.Body)
	_ = json.Unmarshal(body, &asked)
	r.Body = io.NopCloser(bytes.NewReader(body))
	return asked.DisplayName
}

// vaultLabel says what a request to Vault does; prefix is the test's own.
func vaultLabel(prefix string) func(*http.Request) string {
	return func(r *http.Request) string {
		rest, found := strings.CutPrefix(r.URL.Path, "/v1/secret/")
		kind, path, _ := strings.Cut(rest, "/")
		path, ours := strings.CutPrefix(path, prefix+"/")
		if !found || !ours {
			return ""
		}
		if r.Method == http.MethodGet && r.URL.Query().Has("version") {
			return "vault: read an old version of " + path
		}
		if r.Method == http.MethodGet {
			return "vault: read " + kind + " " + path
		}
		if kind == "data" && r.Method != http.MethodDelete {
			return "vault: write " + path
		}
		return "vault: " + kind + " " + path
	}
}
