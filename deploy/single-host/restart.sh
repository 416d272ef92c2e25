#!/usr/bin/env bash
# Restarts tango with the settings of conf/: on one host this container, in a Swarm the whole system, node by node.
#
#   bash scripts/restart.sh [--yes] [--dry-run]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=/dev/null
. "$here/lib/host.sh"


given=("$@")
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage "$0"; exit 0 ;;
    --yes) assume_yes=yes ;;
    --dry-run) dry_run=yes ;;
    *) fail "unknown option $1 (try --help)" ;;
  esac
  shift
done
need_docker
if docker service inspect tango_tango >/dev/null 2>&1; then exec bash "$swarm_scripts/restart.sh" "${given[@]}"; fi
prepare
check_tango_env
no_problems "not restarted"
compose up --detach --force-recreate
wait_until_healthy || fail "tango does not become healthy: docker logs tango"
say "restarted"
