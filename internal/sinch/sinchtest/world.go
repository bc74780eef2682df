package sinchtest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// project is a parent or a subproject. Times are Unix nanoseconds: there may
// be 100,000 of these.
type project struct {
	id, name         string
	parent           *project // nil for a parent
	labels           map[string]string
	created, updated int64
	ready            int64 // usable from then on, by Config.Now
	deleted          bool
	keys             []*key     // those that exist
	subs             []*project // in order of creation, deleted ones too
}

// key is an access key. Its secret is derived from its id and not kept.
type key struct {
	id, name         string
	project          *project
	created, updated int64
	usable           int64 // exchanges work from then on, by Config.Now
	gone             int64 // when it was deleted, by Config.Now; 0 while it exists
}

// Issued is what a person gets once when a key is made.
type Issued struct {
	KeyID  string
	Secret string
}

// Key is an access key as the API shows it.
type Key struct {
	ID          string    `json:"accessKeyId"`
	DisplayName string    `json:"displayName"`
	ProjectID   string    `json:"projectId"`
	CreateTime  time.Time `json:"createTime"`
	UpdateTime  time.Time `json:"updateTime"`
}

func (k *key) view() Key {
	return Key{
		ID: k.id, DisplayName: k.name, ProjectID: k.project.id,
		CreateTime: time.Unix(0, k.created).UTC(), UpdateTime: time.Unix(0, k.updated).UTC(),
	}
}

// AddParent adds a parent project.
func (s *Server) AddParent(id, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addProject(nil, id, name)
}

// AddSubproject adds a subproject that is ready at once. It panics when there
// is no such parent: that is a mistake in the test itself.
func (s *Server) AddSubproject(parent, id, name string, labels map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addProject(s.mustProject(parent), id, name).labels = maps.Clone(labels)
}

// NewSubproject adds a subproject as if somebody had just made it through the
// API: it is ready after Config.ReadyDelay. It panics as AddSubproject does.
func (s *Server) NewSubproject(parent, id, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addProject(s.mustProject(parent), id, name).ready = s.cfg.Now().Add(s.cfg.ReadyDelay).UnixNano()
}

// AddKey adds a key as if a person had made it at the given time (now if
// zero), past every limit and with any name. It panics when there is no such
// project.
func (s *Server) AddKey(project, displayName string, created time.Time) Issued {
	s.mu.Lock()
	defer s.mu.Unlock()
	if created.IsZero() {
		created = s.stamp()
	}
	k := s.addKey(s.mustProject(project), displayName, created)
	secret := s.secretOf(k.id)
	s.lastSecret.Store(&secret)
	return Issued{KeyID: k.id, Secret: secret}
}

// Age makes a key older, and reports whether it exists.
func (s *Server) Age(keyID string, by time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.keys[keyID]
	if k == nil || k.gone != 0 {
		return false
	}
	k.created -= int64(by)
	return true
}

// RemoveKey deletes a key as if a person had done it in the dashboard, and
// reports whether it existed.
func (s *Server) RemoveKey(keyID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.keys[keyID]
	if k == nil || k.gone != 0 {
		return false
	}
	s.dropKey(k)
	return true
}

// Keys returns the project's keys, sorted by id.
func (s *Server) Keys(project string) []Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.projects[project]
	if p == nil {
		return nil
	}
	keys := make([]Key, len(p.keys))
	for i, k := range p.keys {
		keys[i] = k.view()
	}
	slices.SortFunc(keys, func(a, b Key) int { return cmp.Compare(a.ID, b.ID) })
	return keys
}

// Subprojects returns the ids of the parent's subprojects that are not
// deleted, in order of creation.
func (s *Server) Subprojects(parent string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	if p := s.projects[parent]; p != nil {
		for _, sub := range p.subs {
			if !sub.deleted {
				ids = append(ids, sub.id)
			}
		}
	}
	return ids
}

// Secret returns a key's secret, and whether such a key was ever issued.
// Deleted keys count.
func (s *Server) Secret(keyID string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys[keyID] == nil {
		return "", false
	}
	return s.secretOf(keyID), true
}

// Works reports whether a token exchange with this pair would succeed now
// (rate limits and faults aside).
func (s *Server) Works(keyID, secret string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.genuine(keyID, secret) != nil
}

func (s *Server) mustProject(id string) *project {
	p := s.projects[id]
	if p == nil {
		panic(fmt.Sprintf("sinchtest: no project %q", id))
	}
	return p
}

func (s *Server) addProject(parent *project, id, name string) *project {
	if s.projects[id] != nil {
		panic(fmt.Sprintf("sinchtest: project %q exists", id))
	}
	at := s.stamp().UnixNano()
	p := &project{id: id, name: name, parent: parent, created: at, updated: at}
	s.projects[id] = p
	if parent != nil {
		parent.subs = append(parent.subs, p)
	}
	return p
}

func (s *Server) addKey(p *project, name string, created time.Time) *key {
	k := &key{id: s.newKeyID(), name: name, project: p, created: created.UnixNano(), updated: created.UnixNano()}
	s.keys[k.id] = k
	p.keys = append(p.keys, k)
	return k
}

func (s *Server) dropKey(k *key) {
	k.gone = s.cfg.Now().UnixNano()
	k.project.keys = slices.DeleteFunc(k.project.keys, func(o *key) bool { return o == k })
}
