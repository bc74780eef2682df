package sinchtest

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"
)

// Subproject is a subproject as the API shows it.
type Subproject struct {
	ID          string            `json:"subprojectId"`
	DisplayName string            `json:"displayName"`
	ParentID    string            `json:"parentProjectId"`
	Labels      map[string]string `json:"labels"`
	CreateTime  time.Time         `json:"createTime"`
	UpdateTime  time.Time         `json:"updateTime"`
	Deleted     bool              `json:"deleted"`
}

func (p *project) view() Subproject {
	labels := p.labels
	if labels == nil {
		labels = map[string]string{}
	}
	return Subproject{
		ID: p.id, DisplayName: p.name, ParentID: p.parent.id, Labels: labels, Deleted: p.deleted,
		CreateTime: time.Unix(0, p.created).UTC(), UpdateTime: time.Unix(0, p.updated).UTC(),
	}
}

// listSubprojects pages by place in the order of creation, so that a page
// costs what it holds, whatever the fleet's size.
func (s *Server) listSubprojects(v *visit) answer {
	p, refused := s.permitted(v, v.route.project)
	if refused != nil {
		return *refused
	}
	showDeleted, err := strconv.ParseBool(orDefault(v.request.URL.Query().Get("showDeleted"), "false"))
	if err != nil {
		return s.refusal(v, http.StatusBadRequest, "INVALID_ARGUMENT", "showDeleted must be true or false")
	}
	pg, refused := s.page(v, "subprojects "+p.id)
	if refused != nil {
		return *refused
	}
	l := s.listing(pg, "subprojects")
	for i := pg.cursor; i < uint64(len(p.subs)); i++ {
		if p.subs[i].deleted && !showDeleted {
			continue
		}
		if len(l.items) == pg.size {
			l.next = s.pageToken(pg.scope, i)
			break
		}
		l.items = append(l.items, p.subs[i].view())
	}
	return success(l)
}

// subprojectBody is what a create or update sets; absent members are nil.
type subprojectBody struct {
	DisplayName *string            `json:"displayName"`
	Labels      *map[string]string `json:"labels"`
}

func (s *Server) createSubproject(v *visit) answer {
	p, refused := s.permitted(v, v.route.project)
	if refused != nil {
		return *refused
	}
	body, refused := s.subprojectBody(v)
	if refused != nil {
		return *refused
	}
	if body.DisplayName == nil {
		return s.refusal(v, http.StatusBadRequest, "INVALID_ARGUMENT", "displayName is required")
	}
	if p.parent != nil {
		return s.refusal(v, http.StatusBadRequest, "FAILED_PRECONDITION", "Subprojects cannot have subprojects")
	}
	sub := s.addProject(p, s.newSubprojectID(), *body.DisplayName)
	sub.ready = s.cfg.Now().Add(s.cfg.ReadyDelay).UnixNano()
	if body.Labels != nil {
		sub.labels = *body.Labels
	}
	return success(sub.view())
}

func (s *Server) getSubproject(v *visit) answer {
	sub, refused := s.subproject(v)
	if refused != nil {
		return *refused
	}
	return success(sub.view())
}

func (s *Server) updateSubproject(v *visit) answer {
	sub, refused := s.subproject(v)
	if refused != nil {
		return *refused
	}
	body, refused := s.subprojectBody(v)
	if refused != nil {
		return *refused
	}
	if body.DisplayName != nil {
		sub.name = *body.DisplayName
	}
	if body.Labels != nil {
		sub.labels = *body.Labels
	}
	sub.updated = s.stamp().UnixNano()
	return success(sub.view())
}

func (s *Server) deleteSubproject(v *visit) answer {
	sub, refused := s.subproject(v)
	if refused != nil {
		return *refused
	}
	sub.deleted, sub.updated = true, s.stamp().UnixNano()
	return success(sub.view())
}

// subproject finds the subproject of the path; a parent is none.
func (s *Server) subproject(v *visit) (*project, *answer) {
	p, refused := s.permitted(v, v.route.sub)
	if refused != nil {
		return nil, refused
	}
	if p.parent == nil {
		a := s.refusal(v, http.StatusNotFound, "NOT_FOUND", "Subproject not found")
		return nil, &a
	}
	return p, nil
}

func (s *Server) subprojectBody(v *visit) (subprojectBody, *answer) {
	var body subprojectBody
	if err := json.Unmarshal(v.body, &body); err != nil || !body.valid() {
		a := s.refusal(v, http.StatusBadRequest, "INVALID_ARGUMENT", "The body is not a valid subproject")
		return body, &a
	}
	return body, nil
}

func (b subprojectBody) valid() bool {
	fits := func(text string) bool { return text != "" && utf8.RuneCountInString(text) <= maxNameLength }
	if b.DisplayName != nil && !fits(*b.DisplayName) {
		return false
	}
	if b.Labels == nil {
		return true
	}
	for name, value := range *b.Labels {
		if !fits(name) || !fits(value) {
			return false
		}
	}
	return len(*b.Labels) <= maxLabels
}
