package main

import (
	"time"

	"rotator/internal/secret"
)

// The settings, one struct per section. Tags:
//
//	env    the variable, go-envconfig's options, its default
//	doc    what it means, for README and config.example.env
//	check  how its text is checked (config_checks.go), with arguments
//	shown  the default as people read it, where it is not a plain value
//
// Durations are Go's plus `d`. A variable that is set but empty counts as not
// set, because templates like to render `NAME=`.

type sinchSettings struct {
	ProjectID      string        `env:"SINCH_PROJECT_ID,required" doc:"the parent project"`
	KeyID          string        `env:"SINCH_KEY_ID" doc:"bootstrap credential; optional once Vault holds rotator's own"`
	KeySecret      secret.Value  `env:"SINCH_KEY_SECRET" doc:"secret of the bootstrap credential"`
	AuthURL        string        `env:"SINCH_AUTH_URL,default=https://auth.sinch.com/oauth2/token" check:"url" doc:"token endpoint"`
	AccessKeysURL  string        `env:"SINCH_ACCESS_KEYS_URL,default=https://account.api.sinch.com" check:"url" doc:"base URL of the access keys API"`
	SubprojectsURL string        `env:"SINCH_SUBPROJECTS_URL,default=https://subproject.api.sinch.com" check:"url" doc:"base URL of the subprojects API"`
	Subprojects    string        `env:"SINCH_SUBPROJECTS,default=auto" check:"one of auto v1 v1alpha1 off" doc:"version of the subprojects API: auto, v1, v1alpha1, off"`
	AuthMethod     string        `env:"SINCH_AUTH_METHOD,default=oauth2" check:"one of oauth2 basic" doc:"oauth2 or basic; basic is for tests and warns at every start"`
	RateLimit      float64       `env:"SINCH_RATE_LIMIT,default=20" check:"rate" doc:"requests per second to resource APIs, of all replicas together"`
	TokenRate      float64       `env:"SINCH_TOKEN_RATE_LIMIT,default=10" check:"rate" doc:"token exchanges per second, of all replicas together"`
	TokenBurst     int           `env:"SINCH_TOKEN_BURST,default=30" check:"count 1" doc:"token exchanges at once"`
	Timeout        time.Duration `env:"SINCH_TIMEOUT,default=15s" check:"duration 1ms" doc:"one call"`
	VerifyTimeout  time.Duration `env:"SINCH_VERIFY_TIMEOUT,default=2m" check:"duration 1ms" doc:"waiting for a new key to work"`
	Probes         string        `env:"SINCH_PROBES" check:"probes" shown:"none" doc:"probes that a new key must pass, comma-separated; NAME=URL overrides a probe's base URL"`
}

type databaseSettings struct {
	URL        secret.Value `env:"DATABASE_URL" check:"postgres" shown:"required" doc:"Postgres 15 or newer, not through a transaction-pooling PgBouncer"`
	MigrateURL secret.Value `env:"DATABASE_MIGRATE_URL" check:"postgres" doc:"the owner's, for migrate; DATABASE_URL where not set"`
}

type vaultSettings struct {
	Address       string       `env:"VAULT_ADDR,default=https://127.0.0.1:8200" check:"url" doc:"the Vault server"`
	Namespace     string       `env:"VAULT_NAMESPACE" doc:"namespace, on servers that have them"`
	CACert        string       `env:"VAULT_CACERT" check:"file" doc:"PEM file of the CA that signed the server's certificate"`
	CAPath        string       `env:"VAULT_CAPATH" check:"file" doc:"directory of such PEM files"`
	ClientCert    string       `env:"VAULT_CLIENT_CERT" check:"file" doc:"PEM file of the client certificate, read for every connection; the method cert needs it"`
	ClientKey     string       `env:"VAULT_CLIENT_KEY" check:"file" doc:"PEM file of the client certificate's key"`
	TLSServerName string       `env:"VAULT_TLS_SERVER_NAME" doc:"name to expect in the server's certificate"`
	SkipVerify    bool         `env:"VAULT_SKIP_VERIFY,default=false" check:"bool" doc:"true: do not check the server's certificate; warns at every start"`
	AuthMethod    string       `env:"VAULT_AUTH_METHOD,default=token" check:"one of token approle kubernetes jwt cert" doc:"token, approle, kubernetes, jwt or cert"`
	Token         secret.Value `env:"VAULT_TOKEN" doc:"for the method token; from VAULT_TOKEN_FILE it is read again before it ends"`
	RoleID        string       `env:"VAULT_ROLE_ID" doc:"for the method approle"`
	SecretID      secret.Value `env:"VAULT_SECRET_ID" doc:"for the method approle; from VAULT_SECRET_ID_FILE it is read again at every login"`
	Wrapped       bool         `env:"VAULT_SECRET_ID_WRAPPED,default=false" check:"bool" doc:"true: VAULT_SECRET_ID is a wrapping token that holds the secret id, for one start of one process"`
	AuthRole      string       `env:"VAULT_AUTH_ROLE" doc:"role, for the methods kubernetes and jwt; for cert, where it is optional"`
	AuthMount     string       `env:"VAULT_AUTH_MOUNT" check:"vaultpath" shown:"the method's name" doc:"where the method is mounted"`
	JWTFile       string       `env:"VAULT_JWT_FILE" check:"file" doc:"file with the token for jwt or kubernetes, read at every login; for kubernetes, the pod's own where not set"`
	KVMount       string       `env:"VAULT_KV_MOUNT,default=secret" check:"vaultpath" doc:"mount of a KV version 2 engine"`
	KVPrefix      string       `env:"VAULT_KV_PREFIX,default=sinch" check:"vaultpath" doc:"a credential lives at <mount>/data/<prefix>/<project id>/<credential>"`
}

type policySettings struct {
	Include  string         `env:"ROTATOR_INCLUDE,required" check:"patterns" doc:"what is rotated: patterns project/credential or credential, comma-separated; * is everything"`
	Exclude  string         `env:"ROTATOR_EXCLUDE" check:"patterns" shown:"none" doc:"patterns of what is not"`
	MaxAge   time.Duration  `env:"ROTATOR_MAX_AGE,default=90d" check:"duration 1s" doc:"no key in scope lives longer"`
	Overlap  time.Duration  `env:"ROTATOR_OVERLAP,default=7d" check:"duration 0s" doc:"how long the old and the new key both work"`
	Margin   *time.Duration `env:"ROTATOR_MARGIN,noinit" check:"duration 0s" shown:"derived" doc:"how much earlier than the policy demands a rotation starts; derived from schedule, jitter and verify timeout, plus a day"`
	Schedule string         `env:"ROTATOR_SCHEDULE,default=@hourly" doc:"when a run starts: cron as robfig/cron reads it"`
	Timezone string         `env:"ROTATOR_TIMEZONE,default=UTC" doc:"zone of the schedule's times"`
	Jitter   time.Duration  `env:"ROTATOR_JITTER,default=5m" check:"duration 0s" doc:"a run starts up to this much later, at random"`
	Recheck  time.Duration  `env:"ROTATOR_RECHECK,default=24h" check:"duration 1s" doc:"every project is looked at at least this often, due or not"`
	Self     string         `env:"ROTATOR_SELF" shown:"found" doc:"the credential that rotator itself uses"`
	Adopt    string         `env:"ROTATOR_ADOPT,default=delete" check:"one of delete keep" doc:"keep: never delete a key made by someone else"`
	Labels   string         `env:"ROTATOR_LABELS,default=stricter" check:"one of stricter any" doc:"which labels on a subproject may override the policy: stricter honours a shorter max age only, any honours all"`
	Onboard  string         `env:"ROTATOR_ONBOARD" shown:"none" doc:"name of a first credential for projects that have none"`
}

type runSettings struct {
	Concurrency     int           `env:"ROTATOR_CONCURRENCY,default=8" check:"count 1" doc:"projects at once"`
	Lease           time.Duration `env:"ROTATOR_LEASE,default=60s" check:"duration 3s" doc:"how long a silent worker keeps a project; renewed at a third"`
	MaxRotations    int           `env:"ROTATOR_MAX_ROTATIONS,default=unlimited" check:"limit" doc:"rotations per run; 0 means none"`
	MaxDeletions    int           `env:"ROTATOR_MAX_DELETIONS,default=unlimited" check:"limit" doc:"deletions per run; 0 means none"`
	MaxFailures     int           `env:"ROTATOR_MAX_FAILURES,default=10" check:"count 1" doc:"so many consecutive different projects failing at the same step end the run"`
	MaxClockSkew    time.Duration `env:"ROTATOR_MAX_CLOCK_SKEW,default=30s" check:"duration 1s" doc:"between this host, Postgres and Sinch; beyond it nothing is deleted"`
	ShutdownTimeout time.Duration `env:"ROTATOR_SHUTDOWN_TIMEOUT,default=20s" check:"duration 0s" doc:"for the key in hand after SIGTERM"`
	WebhookURL      secret.Value  `env:"ROTATOR_WEBHOOK_URL" check:"url" doc:"gets JSON on failure, refusal, overdue and recovery; Slack-compatible text"`
}

type serveSettings struct {
	Listen string `env:"ROTATOR_LISTEN,default=127.0.0.1:9464" check:"hostport" doc:"address of /healthz, /readyz and /metrics"`
}

type auditSettings struct {
	VaultPrefix        string        `env:"AUDIT_VAULT_PREFIX,default=rotator-audit" check:"vaultpath" doc:"where checkpoints and the signing key live, in VAULT_KV_MOUNT"`
	SpillDir           string        `env:"AUDIT_SPILL_DIR" shown:"ROTATOR_STATE_DIR" doc:"outcomes go there while Postgres is away"`
	CheckpointInterval time.Duration `env:"AUDIT_CHECKPOINT_INTERVAL,default=60s" check:"duration 2s" doc:"how often a checkpoint is anchored while something changes"`
	CheckpointMaxAge   time.Duration `env:"AUDIT_CHECKPOINT_MAX_AGE,default=1h" check:"duration 1s" doc:"without an anchor for longer, rotations and deletions stop"`
	CheckpointDir      string        `env:"AUDIT_CHECKPOINT_DIR" shown:"none" doc:"a directory that gets each checkpoint as a file too"`
	Signer             string        `env:"AUDIT_SIGNER,default=kv" check:"signer" doc:"kv, or transit:<mount>/<key>"`
	VerifierKeys       string        `env:"AUDIT_VERIFIER_KEYS" check:"verifierkeys" shown:"none" doc:"public keys that checkpoints must be signed with, comma-separated, as audit pubkey prints them"`
}

type processSettings struct {
	StateDir  string `env:"ROTATOR_STATE_DIR" shown:"$STATE_DIRECTORY, else $XDG_STATE_HOME/rotator, else /var/lib/rotator" doc:"spill files"`
	Actor     string `env:"ROTATOR_ACTOR" shown:"user@host" doc:"who asks; a claim, stored beside what Postgres and Vault say about the login"`
	LogLevel  string `env:"LOG_LEVEL,default=info" check:"one of debug info warn error" doc:"debug, info, warn or error"`
	LogFormat string `env:"LOG_FORMAT" check:"one of json text" shown:"json (text on a terminal)" doc:"json or text"`
}
