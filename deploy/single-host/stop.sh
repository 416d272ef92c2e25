#!/usr/bin/env bash
# Stops tango on this host; its data stay.
#
#   bash scripts/stop.sh [--dry-run]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=/dev/null
. "$here/lib/host.sh"


while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage "$0"; exit 0 ;;
    --dry-run) dry_run=yes ;;
    *) fail "unknown option $1 (try --help)" ;;
  esac
  shift
done
prepare
compose down
say "stopped; the data are in $DATADIR"
