#!/usr/bin/env bash
# How the installation is: nodes, services, members of the database, the object store, in one table. Exit code 0 only when all is well.
#
#   bash status.sh [--bundle FILE] [--dry-run]
#
#   --bundle FILE   writes everything that whoever helps wants to know into FILE (.tar.gz): states, last lines of logs, what tango doctor says,
#                   settings without secrets
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=/dev/null
. "$here/lib/all.sh"

bundle=
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage "$0"; exit 0 ;;
    --bundle) bundle=$(realpath "${2:?--bundle needs a file}") || fail "there is no folder for $2"; shift ;;
    --dry-run) dry_run=yes ;; # it changes nothing anyhow
    *) fail "unknown option $1 (try --help)" ;;
  esac
  shift
done
need_manager
read_deploy_env
read_nodes

write_bundle() { # file
  local work service
  work=$(mktemp -d)
  docker version >"$work/docker.txt" 2>&1 || true
  docker node ls >"$work/nodes.txt" 2>&1 || true
  docker service ls >"$work/services.txt" 2>&1 || true
  for service in $(awk '{ print $1 }' <<<"$services"); do
    docker service ps --no-trunc "$service" >"$work/$service.txt" 2>&1 || true
    # Of a node that is away they do not come.
    timeout 20 docker service logs --timestamps --tail 1000 "$service" >"$work/$service.log" 2>&1 || true
  done
  echo "$probes" >"$work/disks.txt"
  (in_tango cluster status) >"$work/members.txt" 2>&1 || true
  (in_tango doctor --bundle -) >"$work/doctor.txt" 2>&1 || true
  tar --create --gzip --file "$1" --directory "$work" . || fail "$1 cannot be written"
  rm -rf "$work"
  say "written to $1: look into it before you send it"
}
# While the rest is looked at.
answers=$(mktemp)
trap 'rm -f "$answers"' EXIT
probe_nodes >"$answers" 2>&1 &
probing=$!
bad=0
say "Nodes"
while read -r host address state availability manager labels; do
  well=ok
  if [ "$state" != ready ] || [ "$availability" != active ] || [ "$manager" = unreachable ]; then well=BAD; bad=$((bad + 1)); fi
  answer=$(curl --silent --insecure --max-time 3 --output /dev/null --write-out '%{http_code}' "https://$address:3031/login" 2>/dev/null || true)
  if [ "$answer" = 000 ]; then answer=$(curl --silent --max-time 3 --output /dev/null --write-out '%{http_code}' "http://$address:3031/login" 2>/dev/null || true); fi
  [ "$answer" = 200 ] || { well=BAD; bad=$((bad + 1)); }
  printf '  %-4s %-24s %-15s %-8s %-8s %-12s /login %s  %s\n' "$well" "$host" "$address" "$state" "$availability" "$manager" "$answer" "${labels%,}"
done <<<"$nodes"
say "Services"
# Not the jobs of other scripts.
services=$(docker service ls --filter label=com.docker.stack.namespace --format '{{.Name}} {{.Replicas}} {{.Image}}' | grep -E '^(tango|mongo|minio_server|workers)_' | sort || true)
[ -n "$services" ] || { say "  BAD  nothing runs (start.sh)"; bad=$((bad + 1)); }
while read -r service replicas image; do
  [ -n "$service" ] || continue
  well=ok
  if [ "${replicas%%/*}" != "${replicas#*/}" ]; then well=BAD; bad=$((bad + 1)); fi
  printf '  %-4s %-28s %-6s %-24s %s\n' "$well" "$service" "$replicas" "$image" "$(update_state "$service")"
  if [ "$well" = BAD ]; then complaints "$service"; fi
done <<<"$services"
say "Members of the database, as tango of this node sees them"
if members=$(in_tango cluster status 2>&1); then sed 's/^/  ok   /' <<<"$members"; else sed 's/^/  BAD  /' <<<"$members"; bad=$((bad + 1)); fi
say "Stores and settings, as tango of this node sees them"
checks=$(in_tango doctor 2>&1) || true
# Backups are on the nodes, where the container does not see them.
grep -E '^(FAILED|warning|note)' <<<"$checks" | grep -v 'there is no backup in' | sed 's/^/  /' || true
# As a browser asks before it sends a part of a file, at the address that browsers are given.
check_browsers_way() {
  local origin answer trust=(--insecure)
  origin=https://$(value_of HOST_DOMAIN "$conf/tango.env" | grep . || echo any.example)
  if [ -e "$conf/ca.pem" ] && [ "$external_objects" = no ]; then trust=(--cacert "$conf/ca.pem"); fi
  [ -n "$S3_ENDPOINT" ] || { say "  note     S3_ENDPOINT is not in $conf/tango.env of this node: what browsers are told there was not asked"; return; }
  answer=$(curl --silent --show-error --max-time 5 "${trust[@]}" --request OPTIONS --header "Origin: $origin" --header 'Access-Control-Request-Method: PUT' \
    --output /dev/null --dump-header - "$S3_ENDPOINT/${S3_BUCKET:-tango}/any" 2>&1 | tr -d '\r') || true
  if ! grep -q '^HTTP/' <<<"$answer"; then
    say "  warning  $S3_ENDPOINT (S3_ENDPOINT) does not answer this node: $(head -n 1 <<<"$answer")"
  elif grep -qiE "^access-control-allow-origin: (\*|$origin)$" <<<"$answer" && grep -qiE '^access-control-allow-methods:.*(PUT|\*)' <<<"$answer"; then
    say "  ok       browsers of $origin may send files to $S3_ENDPOINT"
  else
    say "  warning  browsers of $origin may not send files to $S3_ENDPOINT (CORS), and send them through tango, which is slower: HOST_DOMAIN has to be the name in their address line"
  fi
}
check_browsers_way
backups=$(find /datadir -mindepth 2 -maxdepth 2 -name SHA256SUMS -newermt '-7 days' 2>/dev/null | wc -l)
[ "$backups" -gt 0 ] || say "  note     there is no backup of the last 7 days in /datadir of this node (backup.sh; perhaps it is on another one)"
say "Disks and clocks of the nodes"
wait "$probing" || true
probes=$(cat "$answers")
while read -r host _ state availability _; do
  [ "$state $availability" = 'ready active' ] || continue
  line=$(probe_of "$host" "$probes")
  if [ -z "$line" ]; then
    bad=$((bad + 1))
    say "  BAD  $host could not be asked: $(grep "^$host:" <<<"$probes" | head -n 1)"
    continue
  fi
  printf '  %-4s %-24s MB free: / %s, /datadir %s\n' ok "$host" "$(in_probe root_free_mb "$line")" "$(in_probe datadir_free_mb "$line" | grep . || echo -)"
  disks=$(full_disks "$line")
  bad=$((bad + $(grep -c ^BAD <<<"$disks" || true)))
  [ -z "$disks" ] || sed -E "s/^(BAD|warning) /  \\1  $host: /" <<<"$disks"
done <<<"$nodes"
clocks=$(apart_clocks "$probes")
[ -z "$clocks" ] || { bad=$((bad + 1)); say "  BAD  $clocks"; }
if grep -q '^FAILED' <<<"$checks"; then bad=$((bad + 1)); fi
[ -z "$bundle" ] || write_bundle "$bundle"
if [ "$bad" -gt 0 ]; then fail "$bad thing(s) are not well, see BAD and FAILED above"; fi
say "all is well"
