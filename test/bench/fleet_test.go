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
	cohort   int // projects whose first key is as old as that of no other cohort
}

// young is how old most keys are; each cohort's key is a week older than the
// next's, so that a shorter maximum age makes another cohort due.
const young = day

func (f fleet) age(project, key int) time.Duration {
	if f.cohort == 0 || key > 0 {
		return young
	}
	return max(oldest-time.Duration(project/f.cohort)*7*day, young)
}

const oldest = 80 * day

// due is the maximum age under which the nth cohort is due.
func due(n int) string {
	return "ROTATOR_MAX_AGE=" + (oldest - time.Duration(n)*7*day).String()
}

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
			created := time.Now().Add(-f.age(p, k))
			id, err := rotation.NewID(created, rand.Reader)
			if err != nil {
				s.b.Fatal(err)
			}
			key := s.sim.AddKey(project(p), rotation.DisplayName(name(k), id), created)
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
