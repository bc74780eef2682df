package sinchtest_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"rotator/internal/sinch/sinchtest"
)

// FuzzRequest sends anything at all as the parent's key and as nobody: the
// server answers, without a 5xx, and nobody gets nothing.
func FuzzRequest(f *testing.F) {
	f.Add("POST", "/oauth2/token", "", "grant_type=client_credentials", true)
	f.Add("GET", "/v1/projects/parent/accessKeys", "pageSize=2&pageToken=MC4xLgAAAAAAAAAA", "", true)
	f.Add("POST", "/v1/projects/sub%2F1/accessKeys", "", `{"displayName":"\u0000\ud800"}`, true)
	f.Add("PATCH", "/v1alpha1/subprojects/x", "", `{"labels":{"a":null}}`, true)
	f.Add("GET", "/probe-base//v1/projects/../trunks", "%zz", "", false)
	f.Fuzz(func(t *testing.T, method, path, query, body string, basic bool) {
		s := sinchtest.New(sinchtest.Config{EchoSecrets: true, ExtraFields: true})
		own := s.SeedFleet(sinchtest.Fleet{Subprojects: 3})
		r, err := http.NewRequestWithContext(t.Context(), method, "http://sinch/", strings.NewReader(body))
		u, urlErr := url.Parse(path)
		if err != nil || urlErr != nil {
			return // no client could send it
		}
		r.URL.Path, r.URL.RawPath, r.URL.RawQuery = u.Path, u.RawPath, query
		if basic {
			r.SetBasicAuth(own.KeyID, own.Secret)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code >= 500 || !basic && w.Code < 400 {
			t.Errorf("%s %s answered %d: %s", method, r.URL, w.Code, w.Body)
		}
	})
}
