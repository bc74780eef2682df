package sinchtest

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
)

func (s *Server) listKeys(v *visit) answer {
	p, refused := s.usable(v, v.route.project)
	if refused != nil {
		return *refused
	}
	pg, refused := s.page(v, "keys "+p.id)
	if refused != nil {
		return *refused
	}
	l := s.listing(pg, "accessKeys")
	past := s.ranked(p.keys, pg.cursor)
	if len(past) > pg.size {
		past = past[:pg.size]
		l.next = s.pageToken(pg.scope, s.rank(past[pg.size-1].id))
	}
	for _, k := range past {
		l.items = append(l.items, k.view())
	}
	return success(l)
}

// ranked returns the keys past the cursor. A rank as cursor loses no key and
// shows none twice when others come and go between two pages.
func (s *Server) ranked(keys []*key, cursor uint64) []*key {
	past := make([]*key, 0, len(keys))
	for _, k := range keys {
		if s.rank(k.id) > cursor || cursor == 0 {
			past = append(past, k)
		}
	}
	slices.SortFunc(past, func(a, b *key) int { return cmp.Compare(s.rank(a.id), s.rank(b.id)) })
	return past
}

func (s *Server) createKey(v *visit) answer {
	p, refused := s.usable(v, v.route.project)
	if refused != nil {
		return *refused
	}
	name, refused := s.keyName(v, p, nil)
	if refused != nil {
		return *refused
	}
	if len(p.keys) >= maxKeys {
		return s.refusal(v, http.StatusBadRequest, "FAILED_PRECONDITION", "Limit of 10 Access Keys reached")
	}
	k := s.addKey(p, name, s.stamp())
	k.usable = s.cfg.Now().Add(s.cfg.KeyDelay).UnixNano()
	secret := s.secretOf(k.id)
	s.lastSecret.Store(&secret)
	return success(object{"accessKey": k.view(), "secret": secret})
}

func (s *Server) getKey(v *visit) answer {
	k, refused := s.keyOf(v)
	if refused != nil {
		return *refused
	}
	return success(k.view())
}

func (s *Server) updateKey(v *visit) answer {
	k, refused := s.keyOf(v)
	if refused != nil {
		return *refused
	}
	name, refused := s.keyName(v, k.project, k)
	if refused != nil {
		return *refused
	}
	k.name, k.updated = name, s.stamp().UnixNano()
	return success(k.view())
}

// deleteKey answers 200 without a documented body, so the bodies take turns.
func (s *Server) deleteKey(v *visit) answer {
	k, refused := s.keyOf(v)
	if refused != nil {
		return *refused
	}
	if v.basic && s.cfg.BasicDeleteDenied {
		return s.refusal(v, http.StatusForbidden, "PERMISSION_DENIED", "Permission denied")
	}
	s.dropKey(k)
	body := []any{nil, object{}, []byte("OK\n")}[s.deletions%3]
	s.deletions++
	return success(body)
}

// keyOf finds the key of the path.
func (s *Server) keyOf(v *visit) (*key, *answer) {
	p, refused := s.usable(v, v.route.project)
	if refused != nil {
		return nil, refused
	}
	k := s.keys[v.route.key]
	if k == nil || k.gone != 0 || k.project != p {
		a := s.refusal(v, http.StatusNotFound, "NOT_FOUND", "Access key not found")
		return nil, &a
	}
	return k, nil
}

// keyName reads the display name that the request sets and checks that no
// other key than self bears it.
func (s *Server) keyName(v *visit, p *project, self *key) (string, *answer) {
	var body struct {
		DisplayName string `json:"displayName"`
	}
	if err := json.Unmarshal(v.body, &body); err != nil || body.DisplayName == "" {
		a := s.refusal(v, http.StatusBadRequest, "INVALID_ARGUMENT", "displayName is required")
		return "", &a
	}
	for _, k := range p.keys {
		if k != self && k.name == body.DisplayName {
			a := s.refusal(v, http.StatusConflict, "ALREADY_EXISTS", "Not found") // Sinch's own wording
			return "", &a
		}
	}
	return body.DisplayName, nil
}
