#!/usr/bin/env bash
# Starts tango on this host.
#
#   bash scripts/start.sh -l -p PASSWORD   the first time: makes a certificate, and the user super_user@genesys.com with this password
#                                          (-p - reads it from standard input); refused when there are data
#   bash scripts/start.sh                  later
#
#   --dry-run   says what it would do
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=/dev/null
. "$here/lib/host.sh"


initialise=no password=
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage "$0"; exit 0 ;;
    -l) initialise=yes ;;
    -p)
      [ $# -gt 1 ] || fail "-p needs a password; -p - reads it from standard input"
      password=$2
      shift
      if [ "$password" = - ]; then IFS= read -r password || true; fi
      ;;
    --dry-run) dry_run=yes ;;
    *) fail "unknown option $1 (try --help)" ;;
  esac
  shift
done
prepare
check_tango_env
if [ "$initialise" = yes ]; then
  [ -n "$password" ] || fail "-l needs the password of the first user: -p PASSWORD, or -p - to read it from standard input"
  check_password "$password"
  if [ -e "$DATADIR/tango.db" ] || [ -e "$DATADIR/secret.key" ]; then
    problem "$DATADIR holds the data of an installation, and -l begins anew: start.sh without -l goes on with them; to begin anew move $DATADIR/* away yourself"
  fi
fi
[ "$dry_run" = yes ] || docker image inspect "$TANGO_IMAGE" >/dev/null 2>&1 || problem "$TANGO_IMAGE is not on this host: bash scripts/install.sh"
no_problems "not started"
if [ "$dry_run" = no ] && [ ! -e "$conf/tango.crt" ]; then
  make_authority
  host=$(value_of HOST_DOMAIN "$conf/tango.env")
  sign tango "DNS:localhost,IP:127.0.0.1,$(alt_name "$(hostname)")${host:+,$(alt_name "$host")}"
  say "made $conf/tango.crt: clients have to be told to trust $conf/ca.pem"
fi
check_certificate "$conf/tango.crt" "$(value_of HOST_DOMAIN "$conf/tango.env")"
check_key_pair "$conf/tango.crt" "$conf/tango.key"
no_problems "not started"
# The container reads them as another user.
if [ -e "$conf/tango.key" ]; then
  run chown 10001:10001 "$conf/tango.key"
  run chmod 644 "$conf/tango.crt"
fi
SUPER_USER_PASSWORD=$password compose up --detach
wait_until_healthy || fail "tango does not become healthy: docker logs tango"
say "tango serves $scheme://$(value_of HOST_DOMAIN "$conf/tango.env" | grep . || hostname):3031"
