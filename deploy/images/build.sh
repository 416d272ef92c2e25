#!/usr/bin/env bash
# Makes the container images from programs that are there already, without a registry and without a Docker daemon. Each is an archive
# for `docker load`: one layer with the program and what it is linked with, nothing else.
#
#   deploy/images/build.sh --out FOLDER [--tango PROGRAM] [--mongod PROGRAM] [--garage PROGRAM] [--version V] [--dry-run]
#
#   --tango PROGRAM    jop_tango:V             (default: target/release/tango; `none` leaves the image out)
#   --mongod PROGRAM   tango_mongo:VERSION     (default: what deploy/dev-cluster installs, 6.0.5; `none` leaves it out)
#   --garage PROGRAM   tango_objects:VERSION   Garage with HAProxy for TLS in front (default: what deploy/dev-cluster installs;
#                                              `none` leaves it out)
#   --version V        the tag of the first one (default: what the program says)
#   --dry-run          says what it would make
#
# Where base images can be pulled, Dockerfile, mongo/Dockerfile and object-store/Dockerfile beside this file make the same three.
# Needs bash, tar, gzip, jq, sha256sum, ldd; for the object store's image also haproxy and curl on this machine.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${TANGO_CACHE_DIR:-$HOME/.cache/tango}
fail() { echo "build.sh: $*" >&2; exit 1; }
# shellcheck disable=SC1091
. "$here/lib/archive.sh"

out='' tango=$here/../../target/release/tango mongod='' garage=$cache/bin/garage version='' dry_run=no
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    --out) out=${2:?--out needs a folder}; shift ;;
    --tango) tango=${2:?--tango needs a program}; shift ;;
    --mongod) mongod=${2:?--mongod needs a program}; shift ;;
    --garage) garage=${2:?--garage needs a program}; shift ;;
    --version) version=${2:?--version needs a version}; shift ;;
    --dry-run) dry_run=yes ;;
    *) fail "unknown option $1 (try --help)" ;;
  esac
  shift
done
[ -n "$out" ] || fail "--out FOLDER is missing (try --help)"
[ -n "$mongod" ] || mongod=$cache/mongodb/6.0.5/mongod
for program in "$tango" "$mongod" "$garage"; do
  [ "$program" = none ] || [ -x "$program" ] || fail "there is no program $program: build or install it, or name another (try --help)"
done
for command in jq tar gzip sha256sum ldd; do
  command -v "$command" >/dev/null || fail "$command is missing: install it"
done

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

# The name lookups of the C library are loaded when they are needed.
copy_lookups() { # root
  local library folder
  folder=$(dirname "$(ldd "$(command -v bash)" | sed -n 's/.*=> \(\/.*\/libc\.so\.6\) .*/\1/p')")
  for library in libnss_dns.so.2 libnss_files.so.2 libresolv.so.2; do
    [ ! -e "$folder/$library" ] || copy_library "$1" "$folder/$library"
  done
}

tango_image() {
  version=${version:-$("$tango" --version | cut -d' ' -f2)}
  if [ "$dry_run" = yes ]; then echo "would make $out/jop_tango-$version.tar.gz from $tango"; return; fi
  local root=$root/tango
  base_root "$root"
  copy_certificates "$root"
  copy_lookups "$root"
  copy_program "$root" "$tango" /usr/bin/tango
  mkdir -p "$root/etc/tango" "$root/data/ssl"
  write_archive "$root" "$out/jop_tango-$version.tar.gz" "jop_tango:$version" '{
    "User": "10001:10001", "WorkingDir": "/etc/tango", "Entrypoint": ["/usr/bin/tango"],
    "Env": ["PATH=/usr/bin", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt", "DATA_DIR=/tmp/tango", "LISTEN=0.0.0.0:3031"],
    "ExposedPorts": {"3031/tcp": {}},
    "Healthcheck": {"Test": ["CMD", "/usr/bin/tango", "healthcheck"], "Interval": 5000000000, "Timeout": 6000000000,
      "StartPeriod": 60000000000, "Retries": 3}
  }'
}

# A shell for the entry points, and what they call.
copy_shell() { # root, command...
  local root=$1 command
  shift
  for command in bash "$@"; do copy_program "$root" "$command" "/usr/bin/$command"; done
  mkdir -p "$root/bin"
  ln -sf /usr/bin/bash "$root/bin/sh"
  ln -sf /usr/bin/bash "$root/bin/bash"
  copy_lookups "$root"
}

mongo_image() {
  local root=$root/mongo tag
  tag=$("$mongod" --version | sed -n 's/^db version v//p')
  if [ "$dry_run" = yes ]; then echo "would make $out/tango_mongo-$tag.tar.gz from $mongod"; return; fi
  base_root "$root"
  copy_certificates "$root"
  copy_shell "$root" cat chmod chown cp date df id install mkdir rm setpriv stat sleep grep sed find
  copy_program "$root" "$mongod" /usr/bin/mongod
  install -D -m 0755 "$here/lib/mongo-entrypoint.sh" "$root/usr/bin/mongo-entrypoint.sh"
  mkdir -p "$root/data/db"
  write_archive "$root" "$out/tango_mongo-$tag.tar.gz" "tango_mongo:$tag" '{
    "Entrypoint": ["/usr/bin/mongo-entrypoint.sh"], "Env": ["PATH=/usr/bin"], "ExposedPorts": {"27017/tcp": {}}
  }'
}

objects_image() {
  local root=$root/objects tag
  tag=$("$garage" --version | grep -oE '[0-9]+\.[0-9]+\.[0-9]+' | head -n 1)
  if [ "$dry_run" = yes ]; then echo "would make $out/tango_objects-$tag.tar.gz from $garage"; return; fi
  base_root "$root"
  copy_certificates "$root"
  copy_shell "$root" cat chmod chown cp curl cut date df getent hostname id install jq mkdir rm setpriv sleep sort tr grep sed
  copy_program "$root" haproxy /usr/bin/haproxy
  copy_program "$root" "$garage" /usr/bin/garage
  for script in objects-entrypoint.sh objects-layout.sh node-probe.sh; do
    install -D -m 0755 "$here/lib/$script" "$root/usr/bin/$script"
  done
  mkdir -p "$root/var/lib/garage"
  write_archive "$root" "$out/tango_objects-$tag.tar.gz" "tango_objects:$tag" '{
    "Entrypoint": ["/usr/bin/objects-entrypoint.sh"], "Env": ["PATH=/usr/bin"], "ExposedPorts": {"9000/tcp": {}, "3901/tcp": {}}
  }'
}

[ "$tango" = none ] || tango_image
[ "$mongod" = none ] || mongo_image
[ "$garage" = none ] || objects_image
