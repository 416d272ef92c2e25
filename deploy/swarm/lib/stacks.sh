# shellcheck shell=bash
# Stacks and jobs of the Swarm. Sourced; $here is the folder of the scripts.
# shellcheck disable=SC2154 # variables come from the other parts

need_network() {
  if docker network inspect tango_net >/dev/null 2>&1; then return 0; fi
  run docker network create --driver overlay --attachable tango_net >/dev/null || fail "the overlay network tango_net could not be made"
}

# deploy_stack STACK FILE: with the override beside it.
deploy_stack() {
  local files=(--compose-file "$here/swarm/$2") override=$here/swarm/${2%.yml}.override.yml
  if [ -e "$override" ]; then
    say "with $(basename "$override")"
    files+=(--compose-file "$override")
  fi
  deploy_files "$1" "${files[@]}" || fail "the stack $1 could not be deployed from $2"
}

deploy_files() { # stack, --compose-file FILE...
  local detach=()
  # A newer client says so when it is not told.
  if docker stack deploy --help 2>/dev/null | grep -q -- '--detach'; then detach=(--detach=true); fi
  run docker stack deploy "${@:2}" --resolve-image never "${detach[@]}" "$1"
}

# only_service NAME FILE: a stack file with this service alone.
only_service() {
  awk -v name="$1" '
    /^[^[:space:]#]/ { in_services = ($0 ~ /^services:/); kept = 1; depth = 0 }
    in_services && /^[[:space:]]+[^[:space:]#]/ {
      match($0, /^[[:space:]]+/)
      if (!depth) depth = RLENGTH
      if (RLENGTH == depth) { header = $0; sub(/:.*/, "", header); gsub(/[[:space:]"]/, "", header); kept = (header == name) }
    }
    kept { print }' "$2"
}

# One member of the database, with its part of the override: a whole stack changes all of its services at once.
deploy_member() { # number
  local file override part
  file=$(mongo_stack_file)
  override=$here/swarm/${file%.yml}.override.yml
  # Beside the stack files, since paths in them begin there.
  part=$(mktemp "$here/swarm/.member-XXXXXX")
  local files=(--compose-file "$part") parts=("$part")
  only_service "mongo$1" "$here/swarm/$file" >"$part"
  if [ -e "$override" ] && grep -qE "^[[:space:]]+\"?mongo$1\"?:" "$override"; then
    say "with $(basename "$override")"
    part=$(mktemp "$here/swarm/.member-XXXXXX")
    only_service "mongo$1" "$override" >"$part"
    files+=(--compose-file "$part")
    parts+=("$part")
  fi
  local status=0
  deploy_files mongo "${files[@]}" || status=1
  rm -f "${parts[@]}"
  [ "$status" = 0 ] || fail "mongo_mongo$1 could not be deployed from $file"
}

# Plain HTTP is what is left when the two lines of the certificate are commented out.
choose_http() {
  export ALLOW_HTTP='' TLS_CERT_FILE=/data/ssl/tango.crt TLS_KEY_FILE=/data/ssl/tango.key
  if ! grep -qsE '^[^#]*target: /data/ssl/tango\.crt' "$here/swarm/tango-swarm.yml" "$here/swarm/tango-swarm.override.yml"; then
    export ALLOW_HTTP=True TLS_CERT_FILE='' TLS_KEY_FILE=''
    warn "tango serves plain HTTP, as the certificate's lines in tango-swarm.yml are commented out: passwords and data can be read on the way. For tests only"
  fi
  scheme=https
  if [ -n "$ALLOW_HTTP" ]; then scheme=http; fi
}

mongo_stack_file() { if [ "$mongo_members" = 3 ]; then echo mongo-swarm.yml; else echo "mongo-swarm$mongo_members.yml"; fi; }

deploy_mongo() { deploy_stack mongo "$(mongo_stack_file)"; }
deploy_objects() { deploy_stack minio_server minio-swarm.yml; }
deploy_tango() { choose_http; deploy_stack tango tango-swarm.yml; }
deploy_workers() { choose_http 2>/dev/null; deploy_stack workers worker-swarm.yml; }

service_exists() { docker service inspect "$1" >/dev/null 2>&1; }
stack_services() { docker service ls --filter "label=com.docker.stack.namespace=$1" --format '{{.Name}}'; }

# Running tasks and wanted ones, such as 3/3.
replicas_of() { docker service ls --filter "name=$1" --format '{{.Name}} {{.Replicas}}' | awk -v name="$1" '$1 == name { print $2 }'; }

is_complete() { # service
  local replicas
  replicas=$(replicas_of "$1")
  [ -n "$replicas" ] && [ "${replicas%%/*}" = "${replicas#*/}" ] && [ "${replicas%%/*}" != 0 ]
}

# What the Swarm says of tasks that do not run.
complaints() { # service
  docker service ps --no-trunc --format '{{.Name}} on {{.Node}}: {{.CurrentState}}: {{.Error}}' "$1" 2>/dev/null \
    | grep -E ': .+: .+' | grep -vE ': (Running|Complete)' | awk '!seen[$0]++' | head -n 4 | sed 's/^/    /' || true
}

wait_for_stack() { # stack, seconds
  local service
  [ "$dry_run" = no ] || return 0
  for service in $(stack_services "$1"); do
    # A change of a service that runs goes node by node.
    until_true 1800 is_settled "$service" || true
    if ! until_true "$2" is_complete "$service"; then
      echo "$service has $(replicas_of "$service") running after $2 s:" >&2
      complaints "$service" >&2
      fail "look further with: docker service ps $service; docker service logs $service"
    fi
    say "$service $(replicas_of "$service")"
  done
}

# The state of a service's last update: completed, rollback_completed, paused, ...; nothing when it has never been updated.
update_state() { docker service inspect --format '{{if .UpdateStatus}}{{.UpdateStatus.State}}{{end}}' "$1" 2>/dev/null; }

is_settled() { case $(update_state "$1") in updating | rollback_started) return 1 ;; *) return 0 ;; esac; }

# Waits until a rolling update is over; false when it was taken back or came to a halt.
wait_for_update() { # service, seconds
  [ "$dry_run" = no ] || return 0
  # Until the Swarm has begun with it.
  sleep 2
  if ! until_true "$2" is_settled "$1"; then
    warn "the update of $1 has not ended within $2 s"
    return 1
  fi
  case $(update_state "$1") in
    '' | completed) until_true 120 is_complete "$1" ;;
    *) return 1 ;;
  esac
}

task_states() { docker service ps --no-trunc --format '{{.CurrentState}}' "$1" 2>/dev/null | cut -d' ' -f1; }
job_is_over() { # service, tasks
  local over
  over=$(task_states "$1" | grep -cE '^(Complete|Failed|Rejected|Shutdown)' || true)
  [ "$over" -ge "$2" ]
}

# run_job NAME SECONDS OPTION... -- ARGUMENT...: one container somewhere in the Swarm, on tango's network; its output; its success. The options
# end with the image. Services whose tasks are not restarted, and not the Swarm's own jobs: on a manager that was the leader, lost that and is it
# again, Docker 20.10 runs each of those twice at a time, and over and over.
run_job() {
  local name=$1 seconds=$2 options=() status=0
  shift 2
  while [ "$1" != -- ]; do options+=("$1"); shift; done
  shift
  local image=${options[-1]}
  unset 'options[-1]'
  if [ "$dry_run" = yes ]; then say "would run the job $name: $*"; return 0; fi
  docker service rm "$name" >/dev/null 2>&1 || true
  docker service create --quiet --detach --name "$name" --mode replicated --replicas 1 --restart-condition none --no-resolve-image \
    --network tango_net --container-label tango.job="$name" "${options[@]}" "$image" "$@" >/dev/null || return 1
  until_true "$seconds" job_is_over "$name" 1 || status=1
  if ! task_states "$name" | grep -q '^Complete'; then status=1; fi
  # The last lines may come a moment after the end.
  sleep 1
  docker service logs --raw "$name" 2>&1 || true
  [ "$status" = 0 ] || complaints "$name" >&2
  docker service rm "$name" >/dev/null 2>&1 || true
  return $status
}

# job_on_every_node NAME IMAGE OPTION... -- ARGUMENT...: the output of all, a line a node.
job_on_every_node() {
  local name=$1 image=$2 options=() total answers reader
  shift 2
  while [ "$1" != -- ]; do options+=("$1"); shift; done
  shift
  docker service rm "$name" >/dev/null 2>&1 || true
  docker service create --quiet --detach --name "$name" --mode global --restart-condition none --no-resolve-image "${options[@]}" "$image" "$@" \
    >/dev/null || return 1
  total=$(awk '$3 == "ready" && $4 == "active"' <<<"$nodes" | count_lines)
  until_true 60 job_is_over "$name" "$total" || true
  # The daemon may keep the connection open long after the last line.
  answers=$(mktemp)
  docker service logs --raw "$name" >"$answers" 2>&1 &
  reader=$!
  # shellcheck disable=SC2317 # called by until_true
  all_have_answered() { [ "$(count_lines <"$answers")" -ge "$total" ] || ! kill -0 "$reader" 2>/dev/null; }
  until_true 20 all_have_answered || true
  kill "$reader" 2>/dev/null || true
  wait "$reader" 2>/dev/null || true
  cat "$answers"
  rm -f "$answers"
  docker service ps --no-trunc --format '{{.Node}}: {{.CurrentState}}: {{.Error}}' "$name" | grep -v ': Complete' || true
  docker service rm "$name" >/dev/null 2>&1 || true
}

# Secrets of the database and tango for a job.
tango_job_options=()
set_tango_job_options() {
  tango_job_options=(
    --secret "source=$SECRET_MONGODB_URL,target=mongodb_url,uid=10001,mode=0400" --secret "source=$SECRET_CA,target=ca,mode=0444"
    --secret "source=$SECRET_TOKEN_SECRET,target=token_secret,uid=10001,mode=0400"
    --secret "source=$SECRET_S3_ACCESS_KEY,target=s3_access_key,uid=10001,mode=0400"
    --secret "source=$SECRET_S3_SECRET_KEY,target=s3_secret_key,uid=10001,mode=0400"
    --config "source=$TANGO_ENV_CONFIG,target=/etc/tango/tango.env"
    --env MONGODB_URL_FILE=/run/secrets/mongodb_url --env MONGODB_CA_FILE=/run/secrets/ca --env TOKEN_SECRET_FILE=/run/secrets/token_secret
    --env S3_ACCESS_KEY_FILE=/run/secrets/s3_access_key --env S3_SECRET_KEY_FILE=/run/secrets/s3_secret_key
    --env S3_CA_FILE=/run/secrets/ca --env S3_INTERNAL_ENDPOINT="${S3_INTERNAL_ENDPOINT-https://objects:9000}"
    --env DATA_DIR=/tmp/tango
    # Where a health check belongs to a server, a job is none.
    --no-healthcheck
  )
}

initiate_mongo() {
  set_tango_job_options
  run_job tango_mongo_initiate 240 "${tango_job_options[@]}" --secret "source=$SECRET_MONGO_KEY,target=mongo_key,uid=10001,mode=0400" "$TANGO_IMAGE" -- \
    cluster initiate --key-file /run/secrets/mongo_key --election-timeout-ms "${MONGO_ELECTION_TIMEOUT_MS:-2000}" \
    || fail "the replica set could not be made; see above, and: docker service ps mongo_mongo1"
}

lay_objects_out() {
  local host list='' zone
  for host in $(labelled minio true); do
    zone=$(label_of "$host" datacenter)
    list+=${list:+,}$host=${zone:-$host}
  done
  run_job minio_server_layout "$(if [ "${accept_lost_objects:-no}" = yes ]; then echo 7500; else echo 240; fi)" --secret "source=$SECRET_CA,target=ca,mode=0444" \
    --secret "source=$SECRET_OBJECTS_ADMIN_TOKEN,target=objects_admin_token,mode=0400" \
    --secret "source=$SECRET_S3_ACCESS_KEY,target=s3_access_key,mode=0400" --secret "source=$SECRET_S3_SECRET_KEY,target=s3_secret_key,mode=0400" \
    --env OBJECTS_NODES="$list" --env OBJECTS_NAME=objects --env OBJECTS_BUCKET="${S3_BUCKET:-tango}" \
    --env OBJECTS_CAPACITY_GB="${OBJECTS_CAPACITY_GB:-50}" --env OBJECTS_ACCEPT_LOSS="${accept_lost_objects:-no}" --env OBJECTS_CA_FILE=/run/secrets/ca \
    --env OBJECTS_ADMIN_TOKEN_FILE=/run/secrets/objects_admin_token --env S3_ACCESS_KEY_FILE=/run/secrets/s3_access_key \
    --env S3_SECRET_KEY_FILE=/run/secrets/s3_secret_key --entrypoint /usr/bin/objects-layout.sh "$OBJECTS_IMAGE" -- \
    || fail "the object store could not be set up; see above, and: docker service ps minio_server_minio"
}

# tango COMMAND... in the container of this node.
in_tango() {
  local container
  container=$(docker ps --quiet --filter label=com.docker.swarm.service.name=tango_tango --filter health=healthy | head -n 1)
  [ -n "$container" ] || container=$(docker ps --quiet --filter label=com.docker.swarm.service.name=tango_tango | head -n 1)
  [ -n "$container" ] || fail "no container of tango runs on this node: run this on another one, or look with docker service ps tango_tango"
  docker exec "$container" /usr/bin/tango "$@"
}

# Hosts of `tango cluster members --json` that have a vote.
with_votes() { awk -F '"' '/"host":/ { host = $4 } /"votes":/ && $0 !~ /: 0,/ { print host }'; }

ask_members() { run_job tango_mongo_members 60 "${tango_job_options[@]}" "$TANGO_IMAGE" -- cluster members --json; }

# While it has not copied everything and has no vote yet, that fails and is done again, which is harmless.
give_vote() { # host:port
  local answer
  if answer=$(run_job tango_mongo_add 300 "${tango_job_options[@]}" "$TANGO_IMAGE" -- cluster add "$1" 2>&1) || grep -q 'is a member already' <<<"$answer"; then
    say "$answer"
    return 0
  fi
  warn "$(grep -m 1 '^error' <<<"$answer" || head -n 1 <<<"$answer")"
  return 1
}

# Members beyond those that the replica set knows, after more nodes were labelled, and those that have come without a vote.
add_members() {
  local known number
  [ "$dry_run" = no ] || return 0
  set_tango_job_options
  known=$(ask_members) || fail "the members could not be asked for: $known"
  for ((number = 1; number <= mongo_members; number++)); do
    if ! with_votes <<<"$known" | grep -qxF "mongo_mongo$number:27017"; then
      until_true 600 give_vote "mongo_mongo$number:27017" || fail "the member mongo_mongo$number has no vote yet: look with bash status.sh, and run start.sh again"
    fi
  done
}

mongo_is_healthy() { in_tango cluster status >/dev/null 2>&1; }

# A restart is no upgrade: the images that run stay, whatever package this is.
use_running_images() {
  local running pair name
  for pair in TANGO_IMAGE=tango_tango MONGO_IMAGE=mongo_mongo1 OBJECTS_IMAGE=minio_server_minio; do
    name=${pair%%=*}
    # What is elsewhere has no service here.
    running=$(image_of "${pair#*=}") || running=
    if [ -n "$running" ] && [ "$running" != "${!name}" ]; then
      warn "$running runs, and this package has ${!name}: restarted is what runs (upgrade_gpr_services.sh changes tango's version, start.sh the others')"
      export "$name=$running"
    fi
  done
}

image_of() { docker service inspect --format '{{.Spec.TaskTemplate.ContainerSpec.Image}}' "$1" 2>/dev/null; }
