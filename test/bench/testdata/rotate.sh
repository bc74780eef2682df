#!/bin/sh
# What one writes in an afternoon: for each subproject, replace the keys that
# are older than MAX_AGE_DAYS, store the new secret in Vault, delete the old
# key, note it in a table. No overlap, no lock, no log before the act, and no
# idea of what happened if it dies in between.
set -eu
token=$(curl -fsS -u "$SINCH_KEY_ID:$SINCH_KEY_SECRET" -d grant_type=client_credentials "$SINCH_AUTH_URL" | jq -r .access_token)
limit=$(date -u -d "$MAX_AGE_DAYS days ago" +%Y-%m-%dT%H:%M:%S)
sinch() { curl -fsS -H "Authorization: Bearer $token" "$@"; }

sinch "$SINCH_SUBPROJECTS_URL/v1/projects/$SINCH_PROJECT_ID/subprojects?pageSize=1000" | jq -r '.subprojects[].subprojectId' | while read -r project; do
  keys="$SINCH_ACCESS_KEYS_URL/v1/projects/$project/accessKeys"
  sinch "$keys?pageSize=1000" |
    jq -r --arg limit "$limit" '.accessKeys[] | select(.createTime < $limit) | .accessKeyId + " " + .displayName' |
    while read -r old name; do
      made=$(sinch -d "{\"displayName\":\"$name-$(date +%s%N)\"}" "$keys")
      id=$(echo "$made" | jq -r .accessKey.accessKeyId)
      echo "$made" | jq '{data: {key_id: .accessKey.accessKeyId, key_secret: .secret}}' |
        curl -fsS -o /dev/null -H "X-Vault-Token: $VAULT_TOKEN" -d @- "$VAULT_ADDR/v1/secret/data/$VAULT_KV_PREFIX/$project/script-$old"
      sinch -o /dev/null -X DELETE "$keys/$old"
      psql -qX "$DATABASE_URL" -c "insert into public.naive values (now(), '$project', '$old', '$id')"
    done
done
