package bench_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"rotator/internal/rotation"
)

const day = 24 * time.Hour

// fleet is a parent's subprojects with credentials that rotator has published:
// what an installation looks like once it has run for a while.
type fleet struct {
	projects int
	keys     int // of each subproject
}

// grow makes the first key of so many projects old enough to be replaced.
func (s *stack) grow(first, projects int) {
	s.b.Helper()
	for p := first; p < first+projects; p++ {
		if !s.sim.Age(s.firsts[p], maxAge) {
			s.b.Fatalf("the first key of %s is gone", project(p))
		}
	}
}

// maxAge of every run; keys are a day old at first.
const maxAge = 90 * day

func project(n int) string { return fmt.Sprintf("p%06d", n) }

func name(n int) string { return fmt.Sprintf("service-%d", n+1) }

// seed makes the fleet at Sinch, and in Vault.
func (s *stack) seed(f fleet) {
	s.b.Helper()
	g, ctx := errgroup.WithContext(s.b.Context())
	g.SetLimit(concurrency)
	web := client()
	for p := range f.projects {
		s.sim.AddSubproject(parent, project(p), project(p), nil)
		for k := range f.keys {
			created := time.Now().Add(-day)
			id, err := rotation.NewID(created, rand.Reader)
			if err != nil {
				s.b.Fatal(err)
			}
			key := s.sim.AddKey(project(p), rotation.DisplayName(name(k), id), created)
			if k == 0 {
				s.firsts = append(s.firsts, key.KeyID)
			}
			g.Go(func() error {
				path := s.prefix + "/" + project(p) + "/" + name(k)
				err := s.write(ctx, web, "metadata/"+path, map[string]any{
					"custom_metadata": map[string]string{"managed_by": "rotator", "credential": name(k), "display_name": name(k)},
				})
				if err != nil {
					return err
				}
				return s.write(ctx, web, "data/"+path, map[string]any{"data": map[string]string{
					"project_id": project(p), "key_id": key.KeyID, "key_secret": key.Secret,
					"created_at": created.UTC().Format(time.RFC3339Nano), "rotation_id": id,
				}})
			})
		}
	}
	if err := g.Wait(); err != nil {
		s.b.Fatal(err)
	}
	web.CloseIdleConnections()
}

// write writes to Vault, straight.
func (s *stack) write(ctx context.Context, web *http.Client, path string, data any) error {
	body, err := json.Marshal(data)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.direct+"/v1/secret/"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("X-Vault-Token", s.token)
	return exchange(web, req, nil)
}
