#!/bin/bash
# Says which instances of the object store keep data, and makes the bucket and its key. Repeating it is harmless. By the environment:
#   OBJECTS_NODES   host=zone,host=zone,...  the nodes that keep data from now on; others that did are taken out
#   OBJECTS_CAPACITY_GB, OBJECTS_NAME, OBJECTS_BUCKET, OBJECTS_CA_FILE, OBJECTS_ADMIN_TOKEN_FILE, S3_ACCESS_KEY_FILE, S3_SECRET_KEY_FILE
#   OBJECTS_ACCEPT_LOSS=yes   goes on with the copies that are left when most copies of some objects are lost
set -euo pipefail
if [ "${1:-}" = --help ]; then sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0; fi
fail() { echo "object store: $*" >&2; exit 1; }

name=${OBJECTS_NAME:-objects}
bucket=${OBJECTS_BUCKET:-tango}
capacity=$((${OBJECTS_CAPACITY_GB:-50} * 1000000000))
token=$(cat "${OBJECTS_ADMIN_TOKEN_FILE:?}")
# All questions go to one of the instances that answer to the name: what has been told to one the others hear of later.
instance=
call() { # operation, curl's options...
  curl --silent --show-error --max-time 20 --fail-with-body --cacert "${OBJECTS_CA_FILE:?}" --header "authorization: Bearer $token" \
    --resolve "$name:3904:$instance" "https://$name:3904/v2/$1" "${@:2}"
}
choose_instance() {
  for instance in $(getent ahostsv4 "$name" | cut -d' ' -f1 | sort -u); do
    if call GetClusterStatus >/dev/null 2>&1; then return 0; fi
  done
  instance=
  return 1
}
IFS=, read -r -a wanted <<<"${OBJECTS_NODES:?}"

# Every wanted node has to be there.
status='{"nodes":[]}'
for ((second = 0; ; second += 2)); do
  if [ -n "$instance" ] || choose_instance; then
    status=$(call GetClusterStatus 2>/dev/null) || { status='{"nodes":[]}' instance=; }
  fi
  missing=
  for entry in "${wanted[@]}"; do
    up=$(jq -r --arg host "${entry%%=*}" '[.nodes[] | select(.hostname == $host and .isUp)] | length' <<<"$status")
    [ "$up" -gt 0 ] || missing+="${missing:+, }${entry%%=*}"
  done
  [ -n "$missing" ] || break
  [ "$second" -lt 120 ] || fail "no instance has joined from: $missing (docker service ps minio_server_minio)"
  sleep 2
done

changes='[]'
for entry in "${wanted[@]}"; do
  host=${entry%%=*} zone=${entry#*=}
  # Of several with this name (a node that was installed anew), the one that is up.
  id=$(jq -r --arg host "$host" '[.nodes[] | select(.hostname == $host and .isUp)][0].id' <<<"$status")
  changes=$(jq -c --arg id "$id" --arg zone "$zone" --arg host "$host" --argjson capacity "$capacity" \
    '. + [{id: $id, zone: $zone, capacity: $capacity, tags: [$host]}]' <<<"$changes")
done
layout=$(call GetClusterLayout)
health=$(call GetClusterHealth)
lost=$(jq '.partitions - .partitionsQuorum' <<<"$health")
if [ "$(jq -r .version <<<"$layout")" != 0 ] && [ "$lost" -gt 0 ] && [ "${OBJECTS_ACCEPT_LOSS:-no}" != yes ]; then
  fail "most copies of $lost of $(jq .partitions <<<"$health") parts of the data are on nodes that are away. Bring these nodes back. If they are lost for good:" \
    "bash start.sh --accept-lost-objects (Helm: objectStore.acceptLostObjects=true) goes on with the copies that are left; what was stored in the last moments before the loss may be missing there"
fi
wanted_roles=$changes
# How many roles are not as they are wanted; with those that are not wanted at all taken out.
look_at_roles() {
  layout=$(call GetClusterLayout)
  changes=$(jq -c --argjson wanted "$wanted_roles" '[.roles[].id] - [$wanted[].id] | map({id: ., remove: true}) | $wanted + .' <<<"$layout")
  different=$(jq -r --argjson changes "$changes" '
    [.roles[] | {id, zone, capacity, tags}] as $roles
    | [$changes[] | . as $change | select(if .remove then true else ([$roles[] | select(. == $change)] | length) == 0 end)] | length' <<<"$layout")
}
look_at_roles
if [ "$different" = 0 ]; then echo "object store: the layout is as it should be: $OBJECTS_NODES"; fi
# Another one who changes the layout at the same time can win: then once more.
for ((try = 1; different > 0; try++)); do
  version=$(($(jq -r .version <<<"$layout") + 1))
  if call UpdateClusterLayout --json "$(jq -c '{roles: .}' <<<"$changes")" >/dev/null && call ApplyClusterLayout --json "{\"version\": $version}" >/dev/null; then
    echo "object store: layout $version: $OBJECTS_NODES"
  fi
  look_at_roles
  [ "$different" = 0 ] || [ "$try" -lt 5 ] || fail "it does not take the layout $changes"
  [ "$different" = 0 ] || sleep 2
done

# The former layout counts beside the new one until each of its nodes has said that it knows the new one, which a node that is gone never says.
is_in_transition() { [ "$(call GetClusterLayoutHistory | jq '[.versions[] | select(.status != "Historical")] | length')" -gt 1 ]; }
if is_in_transition && [ "$(jq '[.nodes[] | select(.isUp | not)] | length' <<<"$(call GetClusterStatus)")" -gt 0 ]; then
  accept=false
  if [ "${OBJECTS_ACCEPT_LOSS:-no}" = yes ]; then accept=true; fi
  current=$(call GetClusterLayoutHistory | jq .currentVersion)
  call ClusterLayoutSkipDeadNodes --json "{\"version\": $current, \"allowMissingData\": $accept}" >/dev/null || fail "it goes on waiting for nodes that are gone"
  # Otherwise at the next of the looks that each takes every ten minutes.
  call 'LaunchRepairOperation?node=*' --json '{"repairType": "tables"}' >/dev/null || true
  echo "object store: nodes that are gone are not waited for"
fi
# Every new node gets its copies before anybody asks it for them.
copies_are_made() {
  call 'ListWorkers?node=*' --json '{"busyOnly": true}' | jq --exit-status '[.success[][] | select(.name | test("sync|repair|Merkle"; "i"))] | length == 0' >/dev/null
}
if [ "${OBJECTS_ACCEPT_LOSS:-no}" = yes ]; then
  for what in tables blocks; do
    call 'LaunchRepairOperation?node=*' --json "{\"repairType\": \"$what\"}" >/dev/null || fail "the copies that are left are not passed on"
    sleep 3
    for ((second = 0; second < 3600; second += 2)); do
      if copies_are_made; then break; fi
      if [ $((second % 60)) = 58 ]; then echo "object store: copies ($what) are being made"; fi
      sleep 2
    done
    copies_are_made || fail "copies ($what) are still being made after an hour: run this again"
  done
  echo "object store: the copies that were left are on all nodes"
fi

access=$(cat "${S3_ACCESS_KEY_FILE:?}") secret=$(cat "${S3_SECRET_KEY_FILE:?}")
for ((second = 0; ; second += 2)); do
  if call "GetKeyInfo?id=$access" >/dev/null 2>&1; then break; fi
  if call ImportKey --json "$(jq -nc --arg id "$access" --arg secret "$secret" '{accessKeyId: $id, secretAccessKey: $secret, name: "tango"}')" >/dev/null; then break; fi
  [ "$second" -lt 60 ] || fail "the key could not be made"
  sleep 2
done
id=$(call "GetBucketInfo?globalAlias=$bucket" 2>/dev/null | jq -r .id) || id=
if [ -z "$id" ] || [ "$id" = null ]; then
  id=$(call CreateBucket --json "{\"globalAlias\": \"$bucket\"}" | jq -r .id) || fail "the bucket $bucket could not be made"
  echo "object store: the bucket $bucket was made"
fi
call AllowBucketKey --json "{\"bucketId\": \"$id\", \"accessKeyId\": \"$access\", \"permissions\": {\"read\": true, \"write\": true, \"owner\": true}}" >/dev/null \
  || fail "the key could not be allowed to use the bucket $bucket"
echo "object store: the key may use the bucket $bucket"
