#!/usr/bin/env bash
# Stops everything on the Swarm: workers, tango, object store, database, in this order. Data, settings and secrets stay; start.sh goes on
# with them.
#
#   bash stop.sh [--yes] [--dry-run]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=/dev/null
. "$here/lib/all.sh"

while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage "$0"; exit 0 ;;
    --yes) assume_yes=yes ;;
    --dry-run) dry_run=yes ;;
    *) fail "unknown option $1 (try --help)" ;;
  esac
  shift
done
need_manager
confirm "Nobody can sign in, and nothing is scored, until start.sh. Stop tango on all nodes?" yes

# Containers of a stack on this node; those of others end within the same time.
has_ended() { [ -z "$(stack_services "$1")" ] && [ -z "$(docker ps --quiet --filter "label=com.docker.stack.namespace=$1")" ]; }
for stack in workers tango minio_server mongo; do
  [ -n "$(stack_services "$stack")" ] || continue
  run docker stack rm "$stack" || fail "the stack $stack could not be removed"
  [ "$dry_run" = yes ] || until_true 120 has_ended "$stack" || warn "containers of $stack still end"
done
say_done "stopped; the data are on the nodes, and start.sh goes on with them"
