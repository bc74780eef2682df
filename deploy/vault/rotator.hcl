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
