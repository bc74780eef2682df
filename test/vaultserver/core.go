package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	jwt "github.com/hashicorp/vault-plugin-auth-jwt"
	kubernetes "github.com/hashicorp/vault-plugin-auth-kubernetes"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/credential/cert"
	"github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/helper/namespace"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical"
	"github.com/hashicorp/vault/sdk/physical/file"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

// keys is what the parent process needs, and what -keys keeps.
type keys struct {
	Addr      string `json:"addr,omitempty"`
	RootToken string `json:"root_token"`
	UnsealKey string `json:"unseal_key"` // hexadecimal, as PUT sys/unseal takes it
	TLSAddr   string `json:"tls_addr,omitempty"`
	TLSCA     string `json:"tls_ca,omitempty"` // PEM
}

var (
	secretsEngines = map[string]logical.Factory{"kv": kv.Factory, "transit": transit.Factory}
	logins         = map[string]logical.Factory{
		"approle": approle.Factory, "cert": cert.Factory, "jwt": jwt.Factory, "kubernetes": kubernetes.Factory,
	}
)

func newCore(storage string) (*vault.Core, error) {
	logger := hclog.New(&hclog.LoggerOptions{Name: "vault", Level: hclog.Error, Output: os.Stderr})
	backend, err := newStorage(storage, logger)
	if err != nil {
		return nil, fmt.Errorf("opening the storage: %w", err)
	}
	core, err := vault.NewCore(&vault.CoreConfig{
		Physical:           backend,
		LogicalBackends:    secretsEngines,
		CredentialBackends: logins,
		BuiltinRegistry:    registry{},
		Logger:             logger,
		DisableMlock:       true,
		DefaultLeaseTTL:    time.Hour,
		MaxLeaseTTL:        24 * time.Hour,
	})
	if err != nil {
		return nil, fmt.Errorf("making the server's core: %w", err)
	}
	return core, nil
}

func newStorage(storage string, logger hclog.Logger) (physical.Backend, error) {
	if dir, ok := strings.CutPrefix(storage, "file:"); ok {
		return file.NewFileBackend(map[string]string{"path": dir}, logger)
	}
	if storage != "inmem" {
		return nil, fmt.Errorf("unknown storage %q: want inmem or file:DIR", storage)
	}
	return inmem.NewInmem(nil, logger)
}

// open brings the server up: initialised at the first start, unsealed with
// the kept key at a later one.
func open(core *vault.Core, keysFile string) (keys, error) {
	ctx := namespace.RootContext(context.Background())
	initialised, err := core.Initialized(ctx)
	if err != nil {
		return keys{}, fmt.Errorf("asking whether the storage is initialised: %w", err)
	}
	if initialised {
		k, err := loadKeys(keysFile)
		if err != nil {
			return keys{}, err
		}
		return k, unseal(core, k)
	}
	made, err := core.Initialize(ctx, &vault.InitParams{
		BarrierConfig:  &vault.SealConfig{SecretShares: 1, SecretThreshold: 1},
		RecoveryConfig: &vault.SealConfig{},
	})
	if err != nil {
		return keys{}, fmt.Errorf("initialising: %w", err)
	}
	k := keys{RootToken: made.RootToken, UnsealKey: hex.EncodeToString(made.SecretShares[0])}
	if err := saveKeys(keysFile, k); err != nil {
		return keys{}, err
	}
	if err := unseal(core, k); err != nil {
		return keys{}, err
	}
	return k, mount(ctx, core, k.RootToken)
}

func unseal(core *vault.Core, k keys) error {
	key, err := hex.DecodeString(k.UnsealKey)
	if err != nil {
		return fmt.Errorf("reading the unseal key: %w", err)
	}
	if ok, err := core.Unseal(key); err != nil || !ok {
		return fmt.Errorf("unsealing (done: %t): %w", ok, err)
	}
	return nil
}

// mount adds what tests use and waits until KV has made itself versioned.
func mount(ctx context.Context, core *vault.Core, token string) error {
	for path, data := range map[string]map[string]any{
		"sys/mounts/secret":  {"type": "kv", "options": map[string]any{"version": "2"}},
		"sys/mounts/transit": {"type": "transit"},
		"sys/auth/approle":   {"type": "approle"},
	} {
		if err := request(ctx, core, token, logical.UpdateOperation, path, data); err != nil {
			return fmt.Errorf("mounting %s: %w", path, err)
		}
	}
	var err error
	for range 500 {
		if err = request(ctx, core, token, logical.ReadOperation, "secret/config", nil); err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("waiting for secret/: %w", err)
}

func request(ctx context.Context, core *vault.Core, token string, op logical.Operation, path string, data map[string]any) error {
	resp, err := core.HandleRequest(ctx, &logical.Request{Operation: op, ClientToken: token, Path: path, Data: data})
	if err == nil && resp.IsError() {
		err = resp.Error()
	}
	return err
}

func loadKeys(name string) (keys, error) {
	if name == "" {
		return keys{}, errors.New("the storage is initialised already: -keys must name the file of its keys")
	}
	text, err := os.ReadFile(name) //nolint:gosec // the operator's own file
	if err != nil {
		return keys{}, fmt.Errorf("reading the keys: %w", err)
	}
	var k keys
	if err := json.Unmarshal(text, &k); err != nil {
		return keys{}, fmt.Errorf("reading the keys: %w", err)
	}
	return k, nil
}

func saveKeys(name string, k keys) error {
	if name == "" {
		return nil
	}
	text, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("writing the keys: %w", err)
	}
	if err := os.WriteFile(name, text, fs.FileMode(0o600)); err != nil {
		return fmt.Errorf("writing the keys: %w", err)
	}
	return nil
}

// registry tells Vault's plugin catalog which plugins are compiled in.
type registry struct{}

func (registry) factory(name string, kind consts.PluginType) (logical.Factory, bool) {
	table := secretsEngines
	if kind == consts.PluginTypeCredential {
		table = logins
	}
	f, ok := table[name]
	return f, ok
}

func (r registry) Contains(name string, kind consts.PluginType) bool {
	_, ok := r.factory(name, kind)
	return ok
}

func (r registry) Get(name string, kind consts.PluginType) (func() (any, error), bool) {
	f, ok := r.factory(name, kind)
	return func() (any, error) { return f, nil }, ok
}

func (r registry) Keys(kind consts.PluginType) []string {
	var names []string
	for _, table := range []map[string]logical.Factory{secretsEngines, logins} {
		for name := range table {
			if r.Contains(name, kind) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

func (r registry) DeprecationStatus(name string, kind consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, r.Contains(name, kind)
}

func (registry) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }
