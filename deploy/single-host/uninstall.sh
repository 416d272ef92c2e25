#!/usr/bin/env bash
# Takes tango off this host. The data stay, unless they are to be erased.
#
#   bash scripts/uninstall.sh [--erase-data] [--yes] [--dry-run]
#
#   --erase-data   erases everything in the folder of data, for good; asks
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=/dev/null
. "$here/lib/host.sh"


erase=no
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage "$0"; exit 0 ;;
    --erase-data) erase=yes ;;
    --yes) assume_yes=yes ;;
    --dry-run) dry_run=yes ;;
    *) fail "unknown option $1 (try --help)" ;;
  esac
  shift
done
prepare
if [ "$erase" = yes ]; then confirm "Remove tango and ERASE everything in $DATADIR?" erase; else confirm "Remove tango from this host? Its data stay." yes; fi
compose down
if [ "$erase" = yes ]; then run find "$DATADIR" -mindepth 1 -delete; fi
run docker image rm "$TANGO_IMAGE" || true
say "tango is off this host"
