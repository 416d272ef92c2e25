#!/usr/bin/env bash
# Makes a node ready: checks it and loads the images of this package into its Docker. Run it on every node; it needs no internet.
#
#   bash ha-scripts/install.sh [-externalMongo] [-s] [--force] [--dry-run]
#
#   -externalMongo   the database is managed elsewhere: without its image, and without /datadir
#   -s               images only, without checks (nodes of Kubernetes: into containerd where there is no Docker)
#   --force          too little disk and the like are warnings: for laboratories
#   --dry-run        says what it would do
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=/dev/null
. "$here/lib/all.sh"

external=no images_only=no
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage "$0"; exit 0 ;;
    -externalMongo | --external-mongo) external=yes ;;
    -s) images_only=yes ;;
    --force) force=yes ;;
    --dry-run) dry_run=yes ;;
    *) fail "unknown option $1 (try --help)" ;;
  esac
  shift
done

read_deploy_env
[ "$external_mongo" = no ] || external=yes

listens() { ss -H -ltn "sport = :$1" 2>/dev/null | grep -q .; }

check_node() {
  local major port mount_size free
  need_docker
  major=$(docker version --format '{{.Server.Version}}' | cut -d. -f1)
  [ "$major" -ge 20 ] || problem "Docker $(docker version --format '{{.Server.Version}}') is too old: 20.10 or newer"
  free=$(df -P -k / | awk 'NR == 2 { print int($4 / 1048576) }')
  [ "$free" -ge "${MIN_ROOT_FREE_GB:-50}" ] || lab_problem "$free GB are free on the root partition, and ${MIN_ROOT_FREE_GB:-50} should be"
  if [ "$external" = no ]; then
    if [ ! -d /datadir ]; then
      lab_problem "there is no /datadir: make a partition of at least ${MIN_DATADIR_GB:-50} GB and mount it there (nodes without a member of the database do without: --force)"
    else
      mountpoint -q /datadir || lab_problem "/datadir is no mount of its own: the database would share the root partition"
      mount_size=$(df -P -k /datadir | awk 'NR == 2 { print int($2 / 1048576) }')
      [ "$mount_size" -ge "${MIN_DATADIR_GB:-50}" ] || lab_problem "/datadir has $mount_size GB, and ${MIN_DATADIR_GB:-50} are needed"
      [ -w /datadir ] || problem "$(id -un) cannot write into /datadir: chown it, or run this as another user"
    fi
  fi
  if ! docker service ls >/dev/null 2>&1 || [ -z "$(docker ps --quiet --filter label=com.docker.swarm.service.name=tango_tango)" ]; then
    for port in 3031 9000; do
      if listens $port && [ -z "$(docker ps --quiet --filter publish=$port)" ] && ! docker ps --format '{{.Names}}' | grep -qE '^(tango_tango|minio_server_minio)\.'; then
        problem "port $port is taken by another program: end it, or move it elsewhere (ss -ltnp \"sport = :$port\" shows it)"
      fi
    done
  fi
  # Another VXLAN on Docker's port, such as VMware's.
  if ip -d link show type vxlan 2>/dev/null | grep -q "dstport ${DATA_PATH_PORT:-4789}" && [ "$(docker info --format '{{.Swarm.LocalNodeState}}')" != active ]; then
    problem "UDP port ${DATA_PATH_PORT:-4789} carries another VXLAN already: docker swarm init --data-path-port 7789, and DATA_PATH_PORT=7789 in conf/deploy.env"
  fi
  if command -v timedatectl >/dev/null && [ "$(timedatectl show --property NTPSynchronized --value 2>/dev/null)" = no ]; then
    warn "the clock of this node is not synchronised: timedatectl set-ntp true"
  fi
}

# The image of an archive is in Docker already, by the checksum of what describes it.
is_loaded() { # archive
  local manifest
  manifest=$(tar -xzOf "$1" --occurrence=1 manifest.json 2>/dev/null) || return 1
  [ "$(docker image inspect --format '{{.Id}}' "$(image_of_archive "$1")" 2>/dev/null)" = "sha256:$(sed 's/.*"Config":"\([0-9a-f]*\)\.json".*/\1/' <<<"$manifest")" ]
}

load_image() { # archive
  if command -v docker >/dev/null && docker version >/dev/null 2>&1; then
    if is_loaded "$1"; then say "$(image_of_archive "$1") is on this node already"; return 0; fi
    run docker load --quiet --input "$1" || fail "Docker does not take $1"
  elif command -v ctr >/dev/null; then
    run sh -c "gzip -dc '$1' | ctr --namespace k8s.io images import -" || fail "containerd does not take $1"
  else
    fail "there is neither Docker nor containerd (ctr) on this node"
  fi
}

[ "$images_only" = yes ] || check_node
no_problems "the node $(hostname) is not ready"

if [ -e "$root/SHA256SUMS" ]; then
  # Images are as they were made; a stack file or an example may have been changed here.
  (cd "$root" && grep ' \./images/' SHA256SUMS | sha256sum --quiet --check) || fail "the package is damaged: unpack it again"
  changed=$(cd "$root" && grep -v ' \./images/' SHA256SUMS | LC_ALL=C sha256sum --quiet --check 2>/dev/null | sed 's/: FAILED.*//; s|^\./||' | tr '\n' ' ') || true
  [ -z "$changed" ] || warn "not as they are in the package: $changed(if nobody has changed them, unpack it again)"
fi
for archive in "$root"/images/*.tar.gz; do
  [ -e "$archive" ] || fail "there are no images in $root/images: unpack the whole package"
  case $(basename "$archive") in tango_mongo-*) [ "$external" = no ] || continue ;; esac
  load_image "$archive"
done
if [ "$images_only" = no ]; then
  if [ "$external" = no ] && [ -d /datadir ]; then
    run mkdir -p "$OBJECTS_DIR"
  elif [ "$external_objects" = no ]; then
    run mkdir -p "$OBJECTS_DIR"
  fi
fi
say "$(hostname) has the images of version $version. Next: labels for the nodes, S3_ENDPOINT in conf/tango.env, then on one node: cd ha-scripts; bash start.sh -l -p PASSWORD"
