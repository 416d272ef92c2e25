#!/usr/bin/env bash
# Makes this host ready for tango alone: checks it and loads the image. It needs no internet.
#
#   bash scripts/install.sh [--force] [--dry-run]
#
#   --force   too little disk and the like are warnings: for laboratories
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=/dev/null
. "$here/lib/host.sh"


while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage "$0"; exit 0 ;;
    --force) force=yes ;;
    --dry-run) dry_run=yes ;;
    *) fail "unknown option $1 (try --help)" ;;
  esac
  shift
done
prepare
[ -d "$DATADIR" ] || problem "there is no $DATADIR: make a partition of at least ${MIN_DATADIR_GB:-50} GB and mount it there"
if [ -d "$DATADIR" ]; then
  mountpoint -q "$DATADIR" || lab_problem "$DATADIR is no mount of its own: the data would share the root partition"
  size=$(df -P -k "$DATADIR" | awk "NR == 2 { print int(\$2 / 1048576) }")
  [ "$size" -ge "${MIN_DATADIR_GB:-50}" ] || lab_problem "$DATADIR has $size GB, and ${MIN_DATADIR_GB:-50} are needed"
fi
no_problems "this host is not ready"
for archive in "$root"/images/jop_tango-*.tar.gz; do
  [ -e "$archive" ] || fail "there is no image in $root/images: unpack the whole package"
  run docker load --quiet --input "$archive"
done
run chown 10001:10001 "$DATADIR"
say "next: HOST_DOMAIN in conf/tango.env, then: bash scripts/start.sh -l -p PASSWORD"
