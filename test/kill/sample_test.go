package kill_test

import (
	"fmt"
	"sync"
	"time"

	"rotator/internal/rotation"
	"rotator/test/rig"
)

// sampleEvery is how often the sampler looks.
const sampleEvery = 20 * time.Millisecond

// sampler looks all the time at what must never be broken, not even for a
// moment: what Vault names works, and no project has more than ten keys.
type sampler struct {
	w    *rig.World
	stop func()

	mu     sync.Mutex
	paths  []string
	named  map[string]bool // paths that have named a key: they always must from then on
	taken  int
	broken []string
}

func startSampler(w *rig.World) *sampler {
	s := &sampler{w: w, named: map[string]bool{}}
	done, ended := make(chan struct{}), make(chan struct{})
	s.stop = sync.OnceFunc(func() { close(done); <-ended })
	w.T.Cleanup(s.stop)
	go func() {
		defer close(ended)
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				s.look()
			}
		}
	}()
	return s
}

// watch adds the credential, of which Vault may know nothing yet.
func (w *world) watch(project, name string) {
	w.sample.mu.Lock()
	defer w.sample.mu.Unlock()
	w.sample.paths = append(w.sample.paths, w.Path(project, name))
}

func (s *sampler) look() {
	s.mu.Lock()
	paths := s.paths
	s.mu.Unlock()
	var wrong []string
	for _, path := range paths {
		wrong = append(wrong, s.lookAt(path)...)
	}
	for _, project := range append(s.w.Sim.Subprojects(parent), parent) {
		if n := len(s.w.Sim.Keys(project)); n > rotation.KeyCap {
			wrong = append(wrong, fmt.Sprintf("project %s has %d keys", project, n))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken++
	s.broken = append(s.broken, wrong...)
}

// lookAt checks one path. A key that fails is only held against rotator if
// the path still names it afterwards: between two looks the path may move on.
func (s *sampler) lookAt(path string) []string {
	for {
		version, key, secret, err := s.w.Named(path)
		if err != nil {
			return []string{fmt.Sprintf("%s cannot be read: %v", path, err)}
		}
		if key == "" && !s.everNamed(path) {
			return nil
		}
		s.nowNamed(path)
		if s.w.Sim.Works(key, secret) {
			return nil
		}
		if again, _, _, err := s.w.Named(path); err != nil || again == version {
			return []string{fmt.Sprintf("version %d of %s names key %q, which does not work (%v)", version, path, key, err)}
		}
	}
}

func (s *sampler) everNamed(path string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.named[path]
}

func (s *sampler) nowNamed(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.named[path] = true
}

// check fails the test unless the invariants hold, now and at every look so
// far. want says how many keys each project should have, where that is known.
func (w *world) check(want map[string]int) {
	w.T.Helper()
	w.checkSamples()
	w.Check(want)
}

func (w *world) checkSamples() {
	w.T.Helper()
	w.sample.mu.Lock()
	defer w.sample.mu.Unlock()
	if w.sample.taken < 5 {
		w.T.Errorf("only %d samples were taken", w.sample.taken)
	}
	for i, text := range w.sample.broken {
		if i == 3 {
			w.T.Errorf("… and %d samples more", len(w.sample.broken)-i)
			break
		}
		w.T.Error(text)
	}
	w.sample.broken = nil
}
