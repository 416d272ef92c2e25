# shellcheck shell=bash
# A MongoDB replica set of real members: processes mongo-1, mongo-2, ..., folders $dir/mongo/N, settings in $dir/mongo.env.
# shellcheck disable=SC2154 # $dir, $tls and the other options are set by deploy/dev-cluster

mongo_start() {
  case $members in 1 | 3 | 5) ;; *) fail "--members is 1, 3 or 5" ;; esac
  need_command openssl openssl
  need_mongod
  need_pymongo
  if [ -e "$dir/mongo.env" ]; then
    mongo_start_again
  else
    mongo_create
  fi
  cat "$dir/mongo.env"
}

mongo_create() {
  local address_of=() namespace_of=() ports i
  stop_all_named mongo- # of a start that was given up half-way
  rm -rf "$dir/mongo"
  mkdir -p "$dir/mongo"
  if [ -n "$addresses" ]; then
    IFS=, read -r -a address_of <<<"$addresses"
    IFS=, read -r -a namespace_of <<<"$namespaces"
    [ ${#address_of[@]} = "$members" ] || fail "--addresses needs one address a member"
  else
    for ((i = 0; i < members; i++)); do address_of+=("$bind"); done
  fi
  if [ "$tls" = yes ]; then make_certificates "${address_of[@]}"; fi
  openssl rand -base64 512 >"$dir/mongo/keyfile"
  openssl rand -hex 16 >"$dir/mongo/password"
  chmod 600 "$dir/mongo/keyfile" "$dir/mongo/password"
  read -r -a ports <<<"$(free_ports "$members")"

  local hosts=""
  for ((i = 0; i < members; i++)); do
    mongo_configure $((i + 1)) "${address_of[i]}" "${ports[i]}"
    hosts+=${hosts:+,}${address_of[i]}:${ports[i]}
    mongo_start_member $((i + 1)) "${namespace_of[i]:-}"
  done
  echo "$hosts" >"$dir/mongo/hosts"
  start_watchdog
  in_namespace "${namespace_of[0]:-}" python3 "$here/replica_set.py" "$dir" create "$election_timeout_ms" "$client_certificate_name"
  mongo_write_env "$hosts"
}

in_namespace() { # name or nothing, command...
  local namespace=$1
  shift
  if [ -n "$namespace" ]; then ip netns exec "$namespace" "$@"; else "$@"; fi
}

mongo_configure() { # member, address, port
  local member_dir=$dir/mongo/$1 addresses=127.0.0.1
  [ "$2" = 127.0.0.1 ] || addresses+=,$2
  mkdir -p "$member_dir/data"
  cat >"$member_dir/mongod.conf" <<CONF
net:
  bindIp: $addresses
  port: $3
  unixDomainSocket: { enabled: false }
$(if [ "$tls" = yes ]; then cat <<TLS
  tls:
    mode: requireTLS
    certificateKeyFile: $dir/tls/server.pem
    CAFile: $dir/tls/ca.pem
    allowConnectionsWithoutCertificates: true
TLS
fi)
security:
  authorization: enabled
  keyFile: $dir/mongo/keyfile
storage:
  dbPath: $member_dir/data
  wiredTiger: { engineConfig: { cacheSizeGB: 0.25 } }
replication:
  replSetName: rs0
  oplogSizeMB: 512
systemLog:
  destination: file
  path: $dir/logs/mongo-$1.mongod.log
  logAppend: true
setParameter:
  diagnosticDataCollectionEnabled: false
  # A member that copies from one that has gone silent (suspended, or behind a cut) is missing from the majority until it looks for
  # another: by default after some 12 s, 5 s of silence and a second try. So it takes 2 s.
  oplogNetworkTimeoutBufferSeconds: 1
  oplogFetcherSteadyStateMaxFetcherRestarts: 0
  shutdownTimeoutMillisForSignaledShutdown: 200
CONF
}

mongo_start_member() { # member, namespace or nothing
  if [ -n "$2" ]; then
    start_process "mongo-$1" ip netns exec "$2" "$mongod" --config "$dir/mongo/$1/mongod.conf"
  else
    start_process "mongo-$1" "$mongod" --config "$dir/mongo/$1/mongod.conf"
  fi
}

# Members that are down are started; a set that runs is left alone.
mongo_start_again() {
  local name
  for name in $(mongo_members); do
    case $(state_of "$name") in down | dead) start_process_again "$name" ;; esac
  done
  start_watchdog
  mongo_in_first_namespace python3 "$here/replica_set.py" "$dir" wait
}

mongo_members() {
  local file
  for file in "$dir"/run/mongo-*.command; do
    [ -e "$file" ] && basename "$file" .command
  done
  return 0
}

# Runs a command where the members can be reached: in the network namespace of the first, if it has one.
mongo_in_first_namespace() {
  local command
  eval "command=($(<"$dir/run/mongo-1.command"))"
  if [ "${command[0]} ${command[1]}" = "ip netns" ]; then in_namespace "${command[3]}" "$@"; else "$@"; fi
}

# NAME=value lines as tango.env has them: no quotes.
mongo_write_env() { # host:port,host:port,...
  local password options="replicaSet=rs0" i host
  password=$(<"$dir/mongo/password")
  if [ "$tls" = yes ]; then options+="&tls=true"; fi
  {
    echo "MONGODB_URL=mongodb://tango:$password@$1/tango?authSource=admin&$options"
    if [ "$tls" = yes ]; then
      echo "MONGODB_CA_FILE=$dir/tls/ca.pem"
      echo "MONGODB_X509_URL=mongodb://$1/tango?authSource=%24external&authMechanism=MONGODB-X509&$options"
      echo "MONGODB_CLIENT_CERTIFICATE_FILE=$dir/tls/client.pem"
    fi
    i=0
    for host in ${1//,/ }; do
      i=$((i + 1))
      echo "MONGO_${i}_HOST=$host"
      echo "MONGO_${i}_PID_FILE=$dir/run/mongo-$i.pid"
      echo "MONGO_${i}_DATA=$dir/mongo/$i/data"
    done
  } >"$dir/mongo.env.new"
  chmod 600 "$dir/mongo.env.new"
  mv "$dir/mongo.env.new" "$dir/mongo.env"
}

need_replica_set() { [ -e "$dir/mongo.env" ] || fail "there is no replica set in $dir: deploy/dev-cluster mongo start --dir $dir"; }

# One line a member: number, host and port, the state that it is in or that its process is in, process id.
mongo_status() {
  need_replica_set
  need_pymongo
  local name states=()
  for name in $(mongo_members); do states+=("$(state_of "$name")"); done
  mongo_in_first_namespace python3 "$here/replica_set.py" "$dir" status "${states[@]}"
}

mongo_primary() {
  need_replica_set
  mongo_status | awk '$3 == "PRIMARY" { print $1; found = 1; exit } END { exit !found }' || fail "there is no primary"
}
