#!/usr/bin/env bash
# Restarts tango node by node, and then the workers, with the settings of this node's conf/: no request is lost behind a load balancer
# that asks for /login. Run it on any one node.
#
#   bash restart.sh [--yes] [--dry-run] [tango | workers | mongo | minio]
#
#   With a name only that: mongo and minio are restarted node by node, too (a new certificate, a changed mongo-swarm.override.yml).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=/dev/null
. "$here/lib/all.sh"

what=
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage "$0"; exit 0 ;;
    --yes) assume_yes=yes ;;
    --dry-run) dry_run=yes ;;
    tango | workers | mongo | minio) what=$1 ;;
    *) fail "unknown option $1 (try --help)" ;;
  esac
  shift
done
need_manager
read_deploy_env
service_exists tango_tango || fail "tango does not run on this Swarm: start.sh starts it"
check_tango_env
check_nodes
check_certificate "$conf/tango.crt"
check_key_pair "$conf/tango.crt" "$conf/tango.key"
no_problems "not restarted"
use_running_images
put_files
put_settings
export_names
[ "$external_objects" = no ] || export S3_INTERNAL_ENDPOINT=''

# A deployment that changes nothing restarts nothing: then it is forced.
begin_restart() { # service, tasks before the deployment
  if [ "$dry_run" = no ] && [ "$(tasks_of "$1")" = "$2" ]; then
    docker service update --force --detach --quiet "$1" >/dev/null || fail "$1 could not be restarted"
  fi
}
end_restart() { # service
  local service=$1
  if wait_for_update "$service" 1800; then
    [ "$dry_run" = yes ] || say "$service $(replicas_of "$service"): restarted"
  else
    complaints "$service" >&2
    fail "$service: $(update_state "$service"). What ran before goes on where the new one failed. Look: docker service ps $service; docker service logs $service"
  fi
}

restart_service() { begin_restart "$@"; end_restart "$1"; }

# What tells two specifications apart.
tasks_of() { docker service inspect --format '{{json .Spec.TaskTemplate}}' "$1" | sha256sum; }

if [ -z "$what" ] || [ "$what" = tango ]; then
  before=$(tasks_of tango_tango)
  deploy_tango
  restart_service tango_tango "$before"
fi
if [ -z "$what" ] || [ "$what" = workers ]; then
  declare -A before_of=()
  for service in $(stack_services workers); do before_of[$service]=$(tasks_of "$service"); done
  deploy_workers
  for service in $(stack_services workers); do begin_restart "$service" "${before_of[$service]:-}"; done
  for service in $(stack_services workers); do end_restart "$service"; done
fi
if [ "$what" = minio ]; then
  before=$(tasks_of minio_server_minio)
  deploy_objects
  restart_service minio_server_minio "$before"
fi
if [ "$what" = mongo ]; then
  for ((number = 1; number <= mongo_members; number++)); do
    [ "$dry_run" = yes ] || until_true 300 mongo_is_healthy || fail "the replica set is not healthy: not one more member is restarted (bash status.sh)"
    before=$(tasks_of "mongo_mongo$number")
    deploy_member "$number"
    restart_service "mongo_mongo$number" "$before"
  done
  [ "$dry_run" = yes ] || until_true 300 mongo_is_healthy || fail "the replica set is not healthy (bash status.sh)"
fi
