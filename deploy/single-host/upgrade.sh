#!/usr/bin/env bash
# Upgrades tango on this host to the version of this package, with a backup first; takes itself back when the new one does not become healthy.
#
#   bash scripts/upgrade.sh --from FOLDER [--dry-run]
#
#   --from FOLDER   the package that was used so far: its conf/ is taken over, tango.env merged
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=/dev/null
. "$here/lib/host.sh"


from=
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage "$0"; exit 0 ;;
    --from) from=${2:?--from needs a folder}; shift ;;
    --dry-run) dry_run=yes ;;
    *) fail "unknown option $1 (try --help)" ;;
  esac
  shift
done
[ -e "$from/conf/tango.env" ] || fail "--from has to name the package that was used so far: there is no $from/conf/tango.env"
need_docker
former=$(docker inspect --format "{{.Config.Image}}" tango 2>/dev/null) || fail "tango does not run on this host: start.sh starts it"
merged=$(mktemp)
merge_env "$from/conf/tango.env" "$conf/tango.env" >"$merged"
if [ "$dry_run" = no ]; then
  cat "$merged" >"$conf/tango.env"
  for file in ca.pem ca.key tango.crt tango.key deploy.env; do
    if [ -e "$from/conf/$file" ]; then cp --preserve=mode,ownership "$from/conf/$file" "$conf/$file"; fi
  done
  if [ -e "$from/scripts/docker-compose.override.yml" ]; then cp "$from/scripts/docker-compose.override.yml" "$here/"; fi
fi
rm -f "$merged"
prepare
docker image inspect "$TANGO_IMAGE" >/dev/null 2>&1 || fail "$TANGO_IMAGE is not here: run install.sh of this package first. Nothing was changed"
run docker exec tango /usr/bin/tango backup "/datadir/backups/before-$version-$(date -u +%Y%m%d%H%M%S)" || fail "no backup could be made; nothing was changed"
compose up --detach
if ! wait_until_healthy 180; then
  warn "$TANGO_IMAGE does not become healthy: back to $former"
  TANGO_IMAGE=$former compose up --detach
  wait_until_healthy 120 || fail "$former does not become healthy either: docker logs tango; the backup is in $DATADIR/backups"
  fail "$former runs again"
fi
say "upgraded from $former to $TANGO_IMAGE"
