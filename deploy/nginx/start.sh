#!/usr/bin/env bash
# Starts nginx in a container with nginx.conf and nginx.pem beside this file: a load balancer for prototypes. It is an example and no part
# of the package: the image is NGINX_IMAGE (nginx:stable), which has to be on this host or be pulled.
#
#   bash ha-scripts/nginx/start.sh [--dry-run]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
run=
case ${1:-} in
  --help | -h) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
  --dry-run) run="echo" ;;
  '') ;;
  *) echo "start.sh: unknown option $1 (try --help)" >&2; exit 1 ;;
esac
[ -e "$here/nginx.pem" ] || { echo "start.sh: $here/nginx.pem is missing: cat tango.crt tango.key > nginx.pem" >&2; exit 1; }
$run docker run --detach --name nginx --restart unless-stopped --network host --read-only --tmpfs /var/cache/nginx --tmpfs /run \
  --volume "$here/nginx.conf:/etc/nginx/nginx.conf:ro" --volume "$here/nginx.pem:/etc/nginx/nginx.pem:ro" "${NGINX_IMAGE:-nginx:stable}"
