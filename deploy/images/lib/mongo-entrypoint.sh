#!/bin/bash
# Entry point of a member's container. Settings by the environment:
#   MONGO_KEY_FILE (mandatory), MONGO_PEM_FILE, MONGO_CA_FILE, MONGO_REPLICA_SET (rs0), MONGO_CACHE_GB, MONGO_OPLOG_MB, MONGO_PORT
# The files may be readable by everybody in the container, as Swarm's secrets are; mongod wants them for itself alone.
set -euo pipefail
if [ "${1:-}" = --help ]; then sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 0; fi
if [ $# -gt 0 ]; then exec "$@"; fi

key=${MONGO_KEY_FILE:?the key file with which the members know each other is missing: MONGO_KEY_FILE}
user=${MONGO_USER_ID:-10002}
if [ "$(id -u)" != 0 ]; then user=$(id -u); fi
private=/run/mongo
mkdir -p "$private"
install -m 0400 -o "$user" -g "$user" "$key" "$private/key"
arguments=(
  --quiet --dbpath /data/db --port "${MONGO_PORT:-27017}" --bind_ip_all --replSet "${MONGO_REPLICA_SET:-rs0}" --auth --keyFile "$private/key"
  --unixSocketPrefix "$private" --pidfilepath "$private/mongod.pid" --setParameter shutdownTimeoutMillisForSignaledShutdown=5000
  --setParameter oplogNetworkTimeoutBufferSeconds=1 --setParameter oplogFetcherSteadyStateMaxFetcherRestarts=0
)
if [ -n "${MONGO_PEM_FILE:-}" ]; then
  install -m 0400 -o "$user" -g "$user" "$MONGO_PEM_FILE" "$private/mongodb.pem"
  install -m 0444 "${MONGO_CA_FILE:?MONGO_CA_FILE belongs to MONGO_PEM_FILE}" "$private/ca.pem"
  arguments+=(--tlsMode requireTLS --tlsCertificateKeyFile "$private/mongodb.pem" --tlsCAFile "$private/ca.pem"
    --tlsAllowConnectionsWithoutCertificates)
fi
if [ -n "${MONGO_CACHE_GB:-}" ]; then arguments+=(--wiredTigerCacheSizeGB "$MONGO_CACHE_GB"); fi
if [ -n "${MONGO_OPLOG_MB:-}" ]; then arguments+=(--oplogSize "$MONGO_OPLOG_MB"); fi
# What lies beside the database (backups, objects) is not ours.
if [ "$(id -u)" != 0 ]; then exec mongod "${arguments[@]}"; fi # Kubernetes has given the folder to us
if [ "$(stat -c %u /data/db)" != "$user" ]; then
  chown "$user:$user" /data/db
  find /data/db -mindepth 1 -maxdepth 1 \( -name 'WiredTiger*' -o -name '*.wt' -o -name mongod.lock -o -name storage.bson -o -name journal \
    -o -name diagnostic.data -o -name sizeStorer.wt \) -exec chown -R "$user:$user" {} +
fi
chown "$user:$user" "$private"
exec setpriv --reuid "$user" --regid "$user" --clear-groups mongod "${arguments[@]}"
