package kill_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
	"golang.org/x/mod/sumdb/tlog"

	"rotator/internal/rotation"
)

// sampleEvery is how often the sampler looks.
const sampleEvery = 20 * time.Millisecond

// sampler looks all the time at what must never be broken, not even for a
// moment: what Vault names works, and no project has more than ten keys.
type sampler struct {
	w    *world
	stop func()

	mu     sync.Mutex
	paths  []string
	named  map[string]bool // paths that have named a key: they always must from then on
	taken  int
	broken []string
}

func (w *world) startSampler() *sampler {
	s := &sampler{w: w, named: map[string]bool{}}
	done, ended := make(chan struct{}), make(chan struct{})
	s.stop = sync.OnceFunc(func() { close(done); <-ended })
	w.t.Cleanup(s.stop)
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

func (s *sampler) watch(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paths = append(s.paths, path)
}

func (s *sampler) look() {
	s.mu.Lock()
	paths := s.paths
	s.mu.Unlock()
	var wrong []string
	for _, path := range paths {
		wrong = append(wrong, s.lookAt(path)...)
	}
	for _, project := range append(s.w.sim.Subprojects(parent), parent) {
		if n := len(s.w.sim.Keys(project)); n > rotation.KeyCap {
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
		version, key, secret, err := s.w.named(path)
		if err != nil {
			return []string{fmt.Sprintf("%s cannot be read: %v", path, err)}
		}
		if key == "" && !s.everNamed(path) {
			return nil
		}
		s.nowNamed(path)
		if s.w.sim.Works(key, secret) {
			return nil
		}
		if again, _, _, err := s.w.named(path); err != nil || again == version {
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

// named returns what the newest version of a path names, nothing if there is
// no such version or it has been deleted.
func (w *world) named(path string) (version int, key, secret string, err error) {
	v, err := w.vault.KVv2("secret").Get(w.t.Context(), path)
	if errors.Is(err, api.ErrSecretNotFound) {
		return 0, "", "", nil
	}
	if err != nil {
		return 0, "", "", err
	}
	key, _ = v.Data["key_id"].(string)
	secret, _ = v.Data["key_secret"].(string)
	return v.VersionMetadata.Version, key, secret, nil
}

// check fails the test unless the invariants hold. want says how many keys
// each project should have; nil leaves that to the caller.
func (w *world) check(want map[string]int) {
	w.t.Helper()
	w.checkSamples()
	w.checkKeys(want)
	w.checkIntents()
	w.checkLog()
	if again := w.gate.repeated(); len(again) > 0 {
		w.t.Errorf("display names sent more than once: %q", again)
	}
}

func (w *world) checkSamples() {
	w.t.Helper()
	w.sample.mu.Lock()
	defer w.sample.mu.Unlock()
	if w.sample.taken < 5 {
		w.t.Errorf("only %d samples were taken", w.sample.taken)
	}
	for i, text := range w.sample.broken {
		if i == 3 {
			w.t.Errorf("… and %d samples more", len(w.sample.broken)-i)
			break
		}
		w.t.Error(text)
	}
	w.sample.broken = nil
}

// checkKeys looks for orphans: a key that a rotation made is the one that Vault
// names, or one that it has named.
func (w *world) checkKeys(want map[string]int) {
	w.t.Helper()
	current, once := map[string]bool{}, map[string]bool{}
	for _, c := range w.creds {
		version, key, _, err := w.named(w.path(c.project, c.name))
		if err != nil {
			w.t.Errorf("reading %s/%s: %v", c.project, c.name, err)
			continue
		}
		current[key] = true
		for n := 1; n < version; n++ {
			v, err := w.vault.KVv2("secret").GetVersion(w.t.Context(), w.path(c.project, c.name), n)
			if err == nil && v.Data != nil {
				id, _ := v.Data["key_id"].(string)
				once[id] = true
			}
		}
	}
	for _, project := range append(w.sim.Subprojects(parent), parent) {
		keys, now := w.sim.Keys(project), 0
		for _, k := range keys {
			if current[k.ID] {
				now++
			} else if !once[k.ID] && rotation.ParseName(k.DisplayName).RotationID != "" {
				w.t.Errorf("%s: key %s (%s) is an orphan", project, k.ID, k.DisplayName)
			}
		}
		if project != parent && now != 1 {
			w.t.Errorf("%s: %d of its keys are current", project, now)
		}
		if n, ok := want[project]; ok && n != len(keys) {
			w.t.Errorf("%s has %d keys, want %d: %+v", project, len(keys), n, keys)
		}
	}
}

// checkIntents looks for intents of which the log does not tell the end.
func (w *world) checkIntents() {
	w.t.Helper()
	var open []string
	err := w.db.QueryRow(w.t.Context(), `select coalesce(array_agg(i.operation order by i.seq), '{}') from audit.event i
		where i.phase = 'intent' and not exists
			(select from audit.event o where o.call_id = i.call_id and o.phase in ('outcome', 'resolved'))`).Scan(&open)
	if err != nil {
		w.t.Fatal(err)
	}
	if len(open) > 0 {
		w.t.Errorf("intents left open: %s", strings.Join(open, ", "))
	}
}

// checkLog computes the tree anew from all bodies.
func (w *world) checkLog() {
	w.t.Helper()
	var size int64
	var root []byte
	if err := w.db.QueryRow(w.t.Context(), `select size, root from audit.head`).Scan(&size, &root); err != nil {
		w.t.Fatal(err)
	}
	rows, err := w.db.Query(w.t.Context(), `select seq, body::text, leaf_hash from audit.event order by seq`)
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	var kept []tlog.Hash // the log's interior nodes, as tlog stores them
	reader := tlog.HashReaderFunc(func(at []int64) ([]tlog.Hash, error) {
		found := make([]tlog.Hash, len(at))
		for i, n := range at {
			found[i] = kept[n]
		}
		return found, nil
	})
	var n int64
	for ; rows.Next(); n++ {
		var seq int64
		var body string
		var leaf []byte
		if err := rows.Scan(&seq, &body, &leaf); err != nil {
			w.t.Fatal(err)
		}
		hashes, err := tlog.StoredHashes(n, []byte(body), reader)
		if err != nil {
			w.t.Fatal(err)
		}
		if seq != n || tlog.RecordHash([]byte(body)) != tlog.Hash(leaf) {
			w.t.Fatalf("event %d of the log has seq %d, or not the hash of its body", n, seq)
		}
		kept = append(kept, hashes...)
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
	computed, err := tlog.TreeHash(n, reader)
	if err != nil {
		w.t.Fatal(err)
	}
	if n != size || computed != tlog.Hash(root) {
		w.t.Errorf("the log has %d events and root %x, its head says %d and %x", n, computed, size, root)
	}
}

// checkInventory asks rotator itself: one current key a credential, no orphan.
func (w *world) checkInventory() {
	w.t.Helper()
	p := w.start(nil, nil, "keys", "-o", "json")
	if code := p.wait(); code != 0 {
		w.t.Fatalf("rotator keys: exit code %d\n%s", code, p.err.String())
	}
	var keys []struct {
		Project    string `json:"project_id"`
		Credential string
		KeyID      string `json:"key_id"`
		State      string
	}
	if err := json.Unmarshal(p.out.Bytes(), &keys); err != nil {
		w.t.Fatal(err)
	}
	current := map[credential]int{}
	for _, k := range keys {
		switch k.State {
		case "current":
			current[credential{k.Project, k.Credential}]++
		case "superseded":
		default:
			if k.Project != parent {
				w.t.Errorf("%s/%s: rotator says that key %s is %q", k.Project, k.Credential, k.KeyID, k.State)
			}
		}
	}
	for _, c := range w.creds {
		if current[c] != 1 {
			w.t.Errorf("%s/%s: rotator knows %d current keys", c.project, c.name, current[c])
		}
	}
}
