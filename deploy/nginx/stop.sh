#!/usr/bin/env bash
# Stops the nginx that start.sh has started.
#
#   bash ha-scripts/nginx/stop.sh [--dry-run]
set -euo pipefail
run=
case ${1:-} in
  --help | -h) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
  --dry-run) run="echo" ;;
  '') ;;
  *) echo "stop.sh: unknown option $1 (try --help)" >&2; exit 1 ;;
esac
$run docker rm --force nginx
