# What rotator needs in Vault, with the default VAULT_KV_MOUNT=secret and
# VAULT_KV_PREFIX=sinch. `rotator run-now` asks Vault for these capabilities
# before it creates a key, and names the line that is missing.
path "secret/data/sinch/*" {
  capabilities = ["create", "read", "update"]
}
# Custom metadata, and which versions there are.
path "secret/metadata/sinch/*" {
  capabilities = ["create", "read", "update"]
}
# Older versions that name a key which is about to be deleted.
path "secret/destroy/sinch/*" {
  capabilities = ["update"]
}
# The placeholder that moves an empty path on.
path "secret/delete/sinch/*" {
  capabilities = ["update"]
}

# The audit log's checkpoints, with the default AUDIT_VAULT_PREFIX=rotator-audit.
# They are written once: nothing here lets rotator change or remove one, not
# even with a stolen login. Do not add "update", "patch" or "delete" to these
# paths, nor any path below secret/delete/, secret/undelete/, secret/destroy/ or
# secret/metadata/ that would.
path "secret/data/rotator-audit/checkpoints/*" {
  capabilities = ["create", "read"]
}
path "secret/metadata/rotator-audit/checkpoints/*" {
  capabilities = ["list"]
}
# The public keys that have signed them.
path "secret/data/rotator-audit/keys/*" {
  capabilities = ["create", "read"]
}
path "secret/metadata/rotator-audit/keys/*" {
  capabilities = ["list"]
}
# The key that signs, made at first use. A new one is a new version of this
# path, which only a person can write.
path "secret/data/rotator-audit/signing-key" {
  capabilities = ["create", "read"]
}

# With AUDIT_SIGNER=transit:transit/rotator-audit the private key never leaves
# Vault. Make it with `vault write -f transit/keys/rotator-audit type=ed25519`,
# take the "#" from these lines, and leave secret/data/rotator-audit/signing-key
# out above, unless checkpoints have been signed with it before.
#path "transit/keys/rotator-audit" {
#  capabilities = ["read"]
#}
#path "transit/sign/rotator-audit" {
#  capabilities = ["update"]
#}
