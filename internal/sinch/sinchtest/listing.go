package sinchtest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// listing is one page of a collection, still open to faults.
type listing struct {
	field string // "accessKeys" or "subprojects"
	items []any
	next  string // token of the next page; empty on the last
	given string // token that asked for this page; empty on the first
	again string // another token for this page
	bare  bool   // an empty collection is {}
}

// MarshalJSON writes the page as the API does.
func (l *listing) MarshalJSON() ([]byte, error) {
	if len(l.items) == 0 && l.next == "" && l.bare {
		return []byte("{}"), nil
	}
	items := l.items
	if items == nil {
		items = []any{}
	}
	raw, err := json.Marshal(object{l.field: items, "nextPageToken": l.next})
	if err != nil {
		return nil, fmt.Errorf("marshalling a page: %w", err)
	}
	return raw, nil
}

// placeholder is the page token in Sinch's own example, which asks for the
// first page.
const placeholder = "string"

// pageToken hides a cursor. It is good for its scope only, and no two are
// alike.
func (s *Server) pageToken(scope string, cursor uint64) string {
	s.salts++
	plain := fmt.Sprintf("%d.%d", cursor, s.salts)
	return base64.RawURLEncoding.EncodeToString(append([]byte(plain+"."), s.derive("page", scope+plain)[:8]...))
}

func (s *Server) cursor(scope, token string) (uint64, bool) {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	parts := strings.SplitN(string(raw), ".", 3)
	if err != nil || len(parts) != 3 || parts[2] != string(s.derive("page", scope+parts[0]+"."+parts[1])[:8]) {
		return 0, false
	}
	cursor, err := strconv.ParseUint(parts[0], 10, 64)
	return cursor, err == nil
}

// page is what a list request asks for.
type page struct {
	scope  string
	size   int
	cursor uint64
	given  string
}

func (s *Server) page(v *visit, scope string) (page, *answer) {
	query := v.request.URL.Query()
	pg := page{scope: scope, size: defaultPageSize}
	if text := query.Get("pageSize"); text != "" {
		size, err := strconv.Atoi(text)
		if err != nil || size < 0 || size > maxPageSize {
			a := s.refusal(v, http.StatusBadRequest, "INVALID_ARGUMENT", "pageSize must be from 1 to 1000")
			return pg, &a
		}
		pg.size = orDefault(size, defaultPageSize)
	}
	if limit := s.cfg.PageSizeMax; limit > 0 {
		pg.size = min(pg.size, limit)
	}
	pg.given = query.Get("pageToken")
	if pg.given == "" || pg.given == placeholder {
		pg.given = ""
		return pg, nil
	}
	cursor, valid := s.cursor(scope, pg.given)
	if !valid {
		a := s.refusal(v, http.StatusBadRequest, "INVALID_ARGUMENT", "pageToken is not valid")
		return pg, &a
	}
	pg.cursor = cursor
	return pg, nil
}

// listing starts the answer to a page request.
func (s *Server) listing(pg page, field string) *listing {
	return &listing{
		field: field, given: pg.given, again: s.pageToken(pg.scope, pg.cursor),
		bare: !s.cfg.EmptyArrays,
	}
}
