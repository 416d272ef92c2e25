#!/usr/bin/env bash
# Removes what Docker does not need any more on this node: ended containers, unused networks, and images of earlier versions of tango.
# Volumes and data are not touched. Each node in turn; from cron on Saturdays at 1:00:
#   echo "0 1 * * Sat /path/ha-scripts/cleanup.sh --yes" | crontab -
#
#   bash cleanup.sh [--yes] [--dry-run]
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
need_docker
confirm "Remove ended containers, unused networks and images of earlier versions from $(hostname)?" yes
run docker container prune --force
run docker network prune --force
# The version before stays: it is the way back.
running=$(docker service inspect --format '{{.Spec.TaskTemplate.ContainerSpec.Image}} {{if .PreviousSpec}}{{.PreviousSpec.TaskTemplate.ContainerSpec.Image}}{{end}}' tango_tango 2>/dev/null || true)
for image in $(docker image ls --format '{{.Repository}}:{{.Tag}}' | grep '^jop_tango:' || true); do
  case " $running " in *" $image "*) continue ;; esac
  if [ "$image" != "$(packaged_image jop_tango)" ]; then run docker image rm "$image" || true; fi
done
run docker image prune --force
