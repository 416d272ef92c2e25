# shellcheck shell=bash
# The whole: replica set, S3 service, `tango` servers (node-1, ...) and workers (worker-1, ...) with the settings in
# $dir/tango.env, load balancer.
# shellcheck disable=SC2154 # $dir, $server_count and the other options are set by deploy/dev-cluster

cluster_up() {
  need_tango
  echo "dev-cluster: MongoDB ($members) and S3 ..." >&2
  mongo_start >/dev/null
  s3_start >/dev/null
  [ -e "$dir/tango.env" ] || nodes_write_env
  nodes_start
  if [ "$lb" != none ]; then
    balancer_start "$(nodes_addresses)"
  fi
  cluster_say
}

cluster_down() {
  stop_all_named lb
  stop_all_named worker-
  stop_all_named node-
  stop_all_named s3
  stop_all_named mongo-
  echo "All of $dir is down; its data stay: deploy/dev-cluster up goes on with them, rm -r removes them." >&2
}

cluster_status() {
  local name
  if [ -e "$dir/mongo.env" ]; then mongo_status | sed 's/^/mongo-/'; fi
  if [ -e "$dir/s3.env" ]; then s3_status; fi
  for name in $(nodes_names); do
    case $name in
      node-*) echo "$name $(nodes_address "$name") $(state_of "$name") /login $(nodes_login "$name")" ;;
      *) echo "$name $(state_of "$name")" ;;
    esac
  done
  if [ -e "$dir/lb.env" ]; then balancer_status; fi
}

# The settings, for a shell:  eval "$(deploy/dev-cluster env)"
cluster_env() {
  local file name value
  for file in mongo s3 tango lb; do
    [ -e "$dir/$file.env" ] || continue
    while IFS='=' read -r name value; do printf 'export %s=%q\n' "$name" "$value"; done <"$dir/$file.env"
  done
}

cluster_say() {
  local name
  echo
  if [ "$lb" != none ]; then echo "  web application  $(sed -n 's/^LB_URL=//p' "$dir/lb.env")"; fi
  for name in $(nodes_names node-); do echo "  $name           http://$(nodes_address "$name")"; done
  echo "  user             $(sed -n 's/^SUPER_USER=//p' "$dir/tango.env")"
  echo "  password         $(sed -n 's/^SUPER_USER_PASSWORD=//p' "$dir/tango.env")"
  echo "  settings         $dir/tango.env"
  echo
  echo "A browser that is to upload files has to trust $dir/tls/ca.pem."
  echo "Look: deploy/dev-cluster status --dir $dir   End: deploy/dev-cluster down --dir $dir"
}

# The program: $TANGO, or the one that this cluster was started with, or the release build of this folder, which is made when it
# is missing.
need_tango() {
  mkdir -p "$dir/nodes"
  if [ -n "${TANGO:-}" ]; then
    [ -x "$TANGO" ] || fail "there is no program $TANGO"
    tango=$(realpath "$TANGO")
  elif [ -e "$dir/nodes/program" ]; then
    tango=$(<"$dir/nodes/program")
  else
    tango=${CARGO_TARGET_DIR:-$here/../../target}/release/tango
  fi
  [ -x "$tango" ] || build_tango
  tango=$(realpath "$tango")
  echo "$tango" >"$dir/nodes/program"
}

build_tango() {
  echo "dev-cluster: building tango" >&2
  cargo build --release --quiet --manifest-path "$here/../../Cargo.toml" || fail "tango could not be built"
}

nodes_write_env() {
  {
    sed -n '/^MONGODB_URL=/p; /^MONGODB_CA_FILE=/p' "$dir/mongo.env"
    sed '/^S3_HTTP_ENDPOINT=/d' "$dir/s3.env"
    echo "TOKEN_SECRET=$(openssl rand -hex 32)"
    echo "SUPER_USER=super_user@genesys.com"
    echo "SUPER_USER_PASSWORD=$(openssl rand -hex 8)"
    echo "DRAIN_SECONDS=2" # longer than the load balancer takes to notice
  } >"$dir/tango.env.new"
  chmod 600 "$dir/tango.env.new"
  mv "$dir/tango.env.new" "$dir/tango.env"
}

# Starts what does not run, all at once, and waits until every server answers /login with 200.
nodes_start() {
  local number name
  for ((number = 1; number <= server_count; number++)); do
    name=node-$number
    mkdir -p "$dir/nodes/$name"
    [ -e "$dir/nodes/$name/port" ] || free_ports 1 >"$dir/nodes/$name/port"
    case $(state_of "$name") in running | suspended) continue ;; esac
    start_process "$name" "$tango" server --env-file "$dir/tango.env" --data-dir "$dir/nodes/$name/data" \
      --listen "$(nodes_address "$name")"
  done
  for ((number = 1; number <= worker_count; number++)); do
    name=worker-$number
    mkdir -p "$dir/nodes/$name"
    case $(state_of "$name") in running | suspended) continue ;; esac
    start_process "$name" "$tango" worker --env-file "$dir/tango.env" --data-dir "$dir/nodes/$name/data"
  done
  start_watchdog
  for ((number = 1; number <= server_count; number++)); do nodes_wait "node-$number"; done
  for name in $(nodes_names worker-); do
    [ "$(state_of "$name")" != dead ] || fail "$name ended: $(tail -n 3 "$dir/logs/$name.log")"
  done
}

nodes_wait() { # name
  local i
  for ((i = 0; i < 600; i++)); do
    [ "$(nodes_login "$1")" != 200 ] || return 0
    [ "$(state_of "$1")" != dead ] || fail "$1 ended: $(tail -n 3 "$dir/logs/$1.log")"
    sleep 0.1
  done
  fail "$1 does not answer /login with 200: see $dir/logs/$1.log"
}

nodes_names() { # prefix or nothing
  local file
  for file in "$dir/nodes/${1:-}"*; do
    [ -d "$file" ] && basename "$file"
  done
  return 0
}

nodes_address() { echo "127.0.0.1:$(<"$dir/nodes/$1/port")"; }

nodes_addresses() {
  local name list=""
  for name in $(nodes_names node-); do list+=${list:+,}$(nodes_address "$name"); done
  echo "$list"
}

# The status of /login; 000 when nobody answers.
nodes_login() {
  curl --silent --max-time 2 --output /dev/null --write-out '%{http_code}' "http://$(nodes_address "$1")/login" || true
}
