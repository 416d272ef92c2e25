#!/usr/bin/env bash
# Puts a backup back: stops tango and the workers on all nodes, replaces everything that the stores hold by what is in a folder of this node,
# and starts them again. Database and object store run meanwhile. Cut off in the middle, it goes on when it is run again.
#
#   bash restore.sh FOLDER [--check] [--secret-file FILE | --new-api-keys] [--yes] [--dry-run]
#
#   FOLDER               an absolute path on this node, as backup.sh and `tango export` make it
#   --check              looks whether the backup is whole, and changes nothing
#   --secret-file FILE   TOKEN_SECRET of the installation that made the backup, when it is another than this one's
#   --new-api-keys       makes new API keys, when that secret is lost
#   --yes                does not ask
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=/dev/null
. "$here/lib/all.sh"

folder='' check_only=no options=() mounts=()
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage "$0"; exit 0 ;;
    --check) check_only=yes ;;
    --secret-file)
      secret=$(realpath "${2:?--secret-file needs a file}") || fail "there is no file $2"
      [ -s "$secret" ] || fail "$secret is empty, or there is no such file"
      mounts+=(--mount "type=bind,source=$secret,target=/run/former-secret,readonly")
      options+=(--secret-file /run/former-secret)
      shift
      ;;
    --new-api-keys) options+=("$1") ;;
    --yes) assume_yes=yes ;;
    --dry-run) dry_run=yes ;;
    /*) folder=$1 ;;
    *) fail "unknown option $1 (try --help); a folder is an absolute path" ;;
  esac
  shift
done
[ -n "$folder" ] || fail "which backup? bash restore.sh /datadir/MM-DD-YYYY, on the node where it is (try --help)"
need_manager
read_deploy_env
[ -d "$folder" ] || fail "there is no $folder on this node: a backup is on the node on which backup.sh was run (ls -d /datadir/*-*-* there)"
use_running_images
export_names
read_nodes
count_copies
[ "$external_objects" = no ] || export S3_INTERNAL_ENDPOINT=''
set_tango_job_options

restore() { # argument...
  run_job tango_restore 86400 "${tango_job_options[@]}" "${mounts[@]}" --user 0:0 --constraint "node.hostname == $(hostname)" \
    --mount "type=bind,source=$folder,target=$folder,readonly" "$TANGO_IMAGE" -- restore "${options[@]}" "$@" "$folder"
}
restore --check || fail "nothing was changed"
[ "$check_only" = no ] || exit 0
confirm "Stop tango on all nodes, and replace everything that it holds by $folder?" restore
for stack in workers tango; do
  [ -z "$(stack_services "$stack")" ] || run docker stack rm "$stack"
done

# Containers of other nodes end within their time; until then the stores are in use.
began=$SECONDS
answers=$(mktemp)
trap 'rm -f "$answers"' EXIT
until restore --drop >"$answers" 2>&1; do
  if ! grep -q 'these run on the stores' "$answers" || [ $((SECONDS - began)) -gt 180 ]; then
    cat "$answers" >&2
    fail "the backup is not back, and tango stays stopped. Mend what is said above and run this again; to start what is there: bash start.sh"
  fi
done
cat "$answers"
deploy_tango
wait_for_stack tango 240
deploy_workers
wait_for_stack workers 240
say_done "$folder is back. Everybody signs in again"
