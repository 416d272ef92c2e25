#!/bin/bash
# Entry point of an object store's container: Garage on the container's loopback address, HAProxy for TLS in front of it on 9000 (clients) and
# 3904 (administration, by a token). Instances find each other by the name OBJECTS_NAME. Settings by the environment:
#   OBJECTS_REPLICATION (3, 2 or 1), OBJECTS_NAME (objects), OBJECTS_REGION (us-east-1),
#   OBJECTS_PEM_FILE, OBJECTS_CA_FILE, OBJECTS_RPC_SECRET_FILE, OBJECTS_ADMIN_TOKEN_FILE
# Ends when one of the two ends: whoever supervises it starts it again.
set -euo pipefail
if [ "${1:-}" = --help ]; then sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0; fi
if [ $# -gt 0 ]; then exec "$@"; fi

name=${OBJECTS_NAME:-objects}
user=${OBJECTS_USER_ID:-10003}
home=/var/lib/garage
private=/run/objects
mkdir -p "$private" "$home/meta" "$home/data"
for folder in "$home" "$home/meta" "$home/data"; do
  [ "$(id -u)" != 0 ] || chown "$user:$user" "$folder"
done
own_address=$(hostname -i | tr ' ' '\n' | sort -u | while read -r address; do
  # The network on which the others are, not the one to the outside.
  if getent ahostsv4 "tasks.${OBJECTS_SERVICE:-$name}" 2>/dev/null | grep -q "^$address "; then echo "$address"; break; fi
done)
[ -n "$own_address" ] || own_address=$(hostname -i | cut -d' ' -f1)

umask 077
cat >"$private/garage.toml" <<CONF
metadata_dir = "$home/meta"
data_dir = "$home/data"
db_engine = "sqlite"
replication_factor = ${OBJECTS_REPLICATION:-3}
consistency_mode = "consistent"
metadata_auto_snapshot_interval = "12h"
rpc_bind_addr = "0.0.0.0:3901"
rpc_public_addr = "$own_address:3901"
# By default an instance that has gone silent is waited for for five minutes, by look-ups as by the copying of buckets and keys to a new one. tango
# gives a look-up 3 s, and another instance has the answer.
rpc_timeout_msec = 2000
rpc_secret = "$(cat "${OBJECTS_RPC_SECRET_FILE:?}")"

[s3_api]
s3_region = "${OBJECTS_REGION:-us-east-1}"
api_bind_addr = "127.0.0.1:3900"

[admin]
api_bind_addr = "127.0.0.1:3903"
admin_token = "$(cat "${OBJECTS_ADMIN_TOKEN_FILE:?}")"
CONF
install -m 0400 "${OBJECTS_PEM_FILE:?}" "$private/objects.pem"
install -m 0444 "${OBJECTS_CA_FILE:?}" "$private/ca.pem"
cat >"$private/haproxy.cfg" <<CONF
global
  maxconn 4000
  stats socket ipv4@127.0.0.1:3905 level admin
  ssl-default-bind-options ssl-min-ver TLSv1.2

defaults
  mode http
  timeout connect 3s
  timeout client 600s
  timeout server 600s

frontend clients
  bind :9000 ssl crt $private/objects.pem alpn http/1.1
  http-request return status 200 content-type text/plain string ok if { path /.well-known/alive } { srv_is_up(objects/garage) }
  default_backend objects

frontend administration
  bind :3904 ssl crt $private/objects.pem alpn http/1.1
  default_backend administration

backend objects
  server garage 127.0.0.1:3900 check inter 1s fall 2 rise 1 disabled

backend administration
  server garage 127.0.0.1:3903
CONF
[ "$(id -u)" != 0 ] || chown -R "$user:$user" "$private"
as_user() { if [ "$(id -u)" = 0 ]; then setpriv --reuid "$user" --regid "$user" --clear-groups "$@"; else "$@"; fi; }

pids=()
RUST_LOG=${RUST_LOG:-garage=info} as_user garage --config "$private/garage.toml" server &
pids+=($!)
as_user haproxy -db -f "$private/haproxy.cfg" &
pids+=($!)
trap 'kill "${pids[@]}" 2>/dev/null' TERM INT

# A node that is new has no buckets and keys until others have passed them on, and would say that there are none: until then it serves nobody.
serve_when_it_knows() {
  local token
  token=$(cat "$OBJECTS_ADMIN_TOKEN_FILE")
  ask() { curl --silent --fail --max-time 3 --header "authorization: Bearer $token" "http://127.0.0.1:3903/v2/$1"; }
  # In its own tables: the other questions are answered by what another node knows.
  until ask 'GetNodeStatistics?node=self' \
    | jq -e '[.success[].tableStats[] | select(.items > 0).tableName] | contains(["bucket_v2", "bucket_alias", "key"])' >/dev/null; do sleep 0.5; done
  until (exec 3<>/dev/tcp/127.0.0.1/3905 && echo "enable server objects/garage" >&3 && { read -r -t 2 <&3 || true; }); do sleep 0.5; done
}
serve_when_it_knows 2>/dev/null &
pids+=($!)

# Every ten seconds: whoever answers to the name and is not known here is told of. Garage keeps and passes on what it is told.
find_others() {
  local token address id known
  token=$(cat "$OBJECTS_ADMIN_TOKEN_FILE")
  admin() { curl --silent --fail --max-time 3 --header "authorization: Bearer $token" "$@"; }
  while sleep 2; do
    known=$(admin http://127.0.0.1:3903/v2/GetClusterStatus | jq -r '.nodes[] | select(.isUp) | .addr // empty' 2>/dev/null) || continue
    for address in $(getent ahostsv4 "$name" | cut -d' ' -f1 | sort -u); do
      case $'\n'"$known"$'\n' in *$'\n'"$address:3901"$'\n'*) continue ;; esac
      [ "$address" != "$own_address" ] || continue
      id=$(admin --cacert "$private/ca.pem" --resolve "$name:3904:$address" "https://$name:3904/v2/GetNodeInfo?node=self" \
        | jq -r '.success | keys[0] // empty') || continue
      [ -z "$id" ] || admin --request POST --json "[\"$id@$address:3901\"]" http://127.0.0.1:3903/v2/ConnectClusterNodes >/dev/null || true
    done
    sleep 8
  done
}
find_others &
pids+=($!)

wait -n "${pids[0]}" "${pids[1]}" && status=0 || status=$?
kill "${pids[@]}" 2>/dev/null || true
wait "${pids[0]}" "${pids[1]}" 2>/dev/null || true
exit "$status"
