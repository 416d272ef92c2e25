#!/usr/bin/env bash
# Makes a backup of everything (documents and objects) on this node, while tango goes on.
#
#   bash backup.sh [FOLDER] [--dry-run]     FOLDER: an absolute path on this node (default: /datadir/MM-DD-YYYY)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=/dev/null
. "$here/lib/all.sh"

folder=/datadir/$(date -u +%m-%d-%Y)
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage "$0"; exit 0 ;;
    --dry-run) dry_run=yes ;;
    /*) folder=$1 ;;
    *) fail "unknown option $1 (try --help); a folder is an absolute path" ;;
  esac
  shift
done
need_manager
read_deploy_env
use_running_images
export_names
parent=$(dirname "$folder")
[ -d "$parent" ] || fail "there is no $parent on this node"
set_tango_job_options
run_job tango_backup 86400 "${tango_job_options[@]}" --user 0:0 --constraint "node.hostname == $(hostname)" \
  --mount "type=bind,source=$parent,target=$parent" "$TANGO_IMAGE" -- backup "$folder" || fail "no backup was made"
say_done "the backup is in $folder of $(hostname). Keep conf/ of this package with it; on this node it is put back by: bash restore.sh $folder"
