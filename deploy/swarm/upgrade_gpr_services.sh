#!/usr/bin/env bash
# Upgrades tango and the workers to the version of this package, node by node, without downtime; takes itself back when a node does not
# become healthy. Unpack the new package beside the old one and run its install.sh on every node first; then this, in the new
# package's folder, on one node. The older package's own upgrade_gpr_services.sh is the way back to it (one release).
#
#   bash ha-scripts/upgrade_gpr_services.sh [--from FOLDER] [--yes] [--dry-run]
#
#   --from FOLDER   the package that was used so far (default: the one beside this one whose conf/ has been used)
#   --yes           does not ask
#   --dry-run       says what it would do; conf/ is not touched
#
# conf/ of the package so far is taken over: certificates, secrets, deploy.env and overrides as they are; tango.env is merged: your lines
# stay, new settings come behind them with their comments, settings that are gone are named.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=/dev/null
. "$here/lib/all.sh"

from=
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage "$0"; exit 0 ;;
    --from) from=${2:?--from needs a folder}; shift ;;
    --yes) assume_yes=yes ;;
    --dry-run) dry_run=yes ;;
    *) fail "unknown option $1 (try --help)" ;;
  esac
  shift
done
need_manager
service_exists tango_tango || fail "tango does not run on this Swarm: start.sh starts it"

# The package so far: the newest folder beside this one that has been used.
find_former() {
  local candidate newest=
  for candidate in "$root"/../*/conf/secrets.env "$root"/../*/conf/.used; do
    candidate=$(cd "$(dirname "$candidate")/.." 2>/dev/null && pwd) || continue
    [ "$candidate" != "$root" ] || continue
    if [ -z "$newest" ] || [ "$candidate/conf/tango.env" -nt "$newest/conf/tango.env" ]; then newest=$candidate; fi
  done
  echo "$newest"
}
[ -n "$from" ] || from=$(find_former)
former_conf=
if [ -n "$from" ]; then
  [ -e "$from/conf/tango.env" ] || fail "$from is no package of tango: there is no conf/tango.env"
  former_conf=$(cd "$from/conf" && pwd)
fi

# Without a former package on this node, what runs is the former tango.env.
take_over() {
  local file former=$former_conf/tango.env work
  work=$(mktemp -d)
  docker config inspect --format '{{printf "%s" .Spec.Data}}' "$(current config env)" >"$work/running.env"
  if [ -z "$former_conf" ]; then
    former=$work/running.env
  elif ! diff -q <(public_settings "$former"; echo) "$work/running.env" >/dev/null; then
    warn "$former differs from the settings that run; those of $former are taken"
  fi
  say "tango.env: yours from ${former_conf:-what runs}, merged with what version $version has:"
  merge_env "$former" "$conf/tango.env" >"$work/merged.env"
  if [ "$dry_run" = no ]; then
    [ -e "$conf/tango.env.release" ] || cp "$conf/tango.env" "$conf/tango.env.release"
    cat "$work/merged.env" >"$conf/tango.env"
    if [ -n "$former_conf" ]; then
      for file in ca.pem ca.key extra-ca.pem mongodb.pem objects.pem tango.crt tango.key secrets.env deploy.env; do
        if [ -e "$former_conf/$file" ]; then cp --preserve=mode "$former_conf/$file" "$conf/$file"; fi
      done
      # The images are this package's; other names are yours.
      sed -i -E 's/^(TANGO_IMAGE=)jop_tango:.*/\1/' "$conf/deploy.env"
      for file in "$from"/ha-scripts/swarm/*.override.yml; do
        if [ -e "$file" ]; then cp "$file" "$here/swarm/"; fi
      done
    fi
  fi
  rm -rf "$work"
}
# Stack files are this package's; what was changed in the former one's by hand does not come along.
name_changed_stacks() {
  local file
  [ -n "$from" ] && [ -e "$from/SHA256SUMS" ] || return 0
  { grep ' \./ha-scripts/swarm/.*\.yml$' "$from/SHA256SUMS" | (cd "$from" && LC_ALL=C sha256sum --quiet --check 2>/dev/null) || true; } | sed -n 's|^\./ha-scripts/swarm/\(.*\): FAILED.*|\1|p' \
    | while read -r file; do
      warn "$file was changed in $from, and this package's is used. Put the change into $here/swarm/${file%.yml}.override.yml (for plain HTTP comment the certificate's two lines out here, too)"
    done
}
name_changed_stacks

# The folder from which it was upgraded once is left as it is when that is repeated.
if [ -e "$conf/.upgraded" ]; then say "conf/ was taken over before; it is used as it is now"; else take_over; fi
[ "$dry_run" = yes ] || : >"$conf/.upgraded"

read_deploy_env
check_tango_env
check_nodes
no_problems "not upgraded"
former_image=$(image_of tango_tango)
if [ "$former_image" = "$TANGO_IMAGE" ]; then say "$TANGO_IMAGE runs already; settings and stacks are brought up to this package's"; fi
confirm "Upgrade from $former_image to $TANGO_IMAGE?" yes

# On every node, before anything is changed: an image that is missing, or that does not start at all.
if [ "$dry_run" = no ]; then
  answers=$(job_on_every_node tango_version "$TANGO_IMAGE" --no-healthcheck -- --version) || answers=
  healthy=$(grep -c '^tango ' <<<"$answers" || true)
  if [ "$healthy" -lt "$(awk '$3 == "ready" && $4 == "active"' <<<"$nodes" | count_lines)" ]; then
    grep -v '^tango ' <<<"$answers" | head -n 6 >&2 || true
    fail "$TANGO_IMAGE does not start on every node: run install.sh of this package there. Nothing was changed"
  fi
fi
put_files
# What would be merged is told above; conf/ of this package has it only when it was.
[ "$dry_run" = yes ] || put_settings
export_names
[ "$external_objects" = no ] || export S3_INTERNAL_ENDPOINT=''

# Steps of the schema only add, so that the version that still runs can go on; a step that was cut off is repeated.
set_tango_job_options
run_job tango_migrate 1800 "${tango_job_options[@]}" "$TANGO_IMAGE" -- migrate || fail "the document store could not be brought up to date; $former_image goes on. Run this again"

taken_back() { # service
  complaints "$1" >&2
  case $(update_state "$1") in
    rollback_completed) fail "$1 did not become healthy with $TANGO_IMAGE and was taken back to $(image_of "$1"). Look: docker service ps $1. $2" ;;
    *) fail "$1 is $(update_state "$1"), with $(image_of "$1"): docker service ps $1. $2" ;;
  esac
}
deploy_tango
wait_for_update tango_tango 3600 || taken_back tango_tango "The workers were not touched"
[ "$dry_run" = yes ] || [ "$(image_of tango_tango)" = "$TANGO_IMAGE" ] || taken_back tango_tango "The workers were not touched"
[ "$dry_run" = yes ] || say "tango_tango $(replicas_of tango_tango): $TANGO_IMAGE"
deploy_workers
for service in $(stack_services workers); do
  wait_for_update "$service" 1800 || taken_back "$service" "tango itself is upgraded; its older workers go on"
  [ "$dry_run" = yes ] || say "$service $(replicas_of "$service"): $TANGO_IMAGE"
done
say_done "upgraded from $former_image to $TANGO_IMAGE. The way back: upgrade_gpr_services.sh of the package so far"
