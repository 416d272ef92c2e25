#!/usr/bin/env bash
# Takes tango off the Swarm: services, jobs, secrets, configuration, network; with --erase-data the data on every node, too. Docker, the Swarm
# and its labels stay, and this folder with conf/.
#
#   bash uninstall.sh [--erase-data] [--images] [--yes] [--dry-run]
#
#   --erase-data   also the database and the object store in /datadir (OBJECTS_DIR), on every node, for good; asks
#   --images       also the images, on every node
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=/dev/null
. "$here/lib/all.sh"

erase=no images=no
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage "$0"; exit 0 ;;
    --erase-data) erase=yes ;;
    --images) images=yes ;;
    --yes) assume_yes=yes ;;
    --dry-run) dry_run=yes ;;
    *) fail "unknown option $1 (try --help)" ;;
  esac
  shift
done
need_manager
read_deploy_env
if [ "$erase" = yes ]; then
  confirm "Remove tango from all nodes, and ERASE its data in /datadir and $OBJECTS_DIR of each?" erase
else
  confirm "Remove tango from all nodes? The data in /datadir stay." yes
fi
read_nodes
run bash "$here/stop.sh" --yes
for service in $(docker service ls --format '{{.Name}}' | grep -E '^(tango_(mongo_|migrate|probe|version|backup|restore|erase)|minio_server_layout)' || true); do
  run docker service rm "$service" >/dev/null
done
if [ "$erase" = yes ] && [ "$dry_run" = yes ]; then say "would erase the database and the object store in /datadir and $OBJECTS_DIR of every node"; fi
if [ "$erase" = yes ] && [ "$dry_run" = no ]; then
  # Files of the database and of the object store by their names; backups and whatever else lies in /datadir stay.
  # shellcheck disable=SC2016 # expanded in the container
  answers=$(job_on_every_node tango_erase "$OBJECTS_IMAGE" --env 'NODE={{.Node.Hostname}}' --mount type=bind,source=/,target=/host \
    --env OBJECTS_DIR="$OBJECTS_DIR" --entrypoint /usr/bin/bash -- -c '
      cd /host/datadir 2>/dev/null && rm -rf WiredTiger* ./*.wt mongod.lock storage.bson journal diagnostic.data sizeStorer.wt _mdb_catalog.wt
      rm -rf "/host$OBJECTS_DIR/meta" "/host$OBJECTS_DIR/data"
      echo "erased on $NODE"') || true
  for node in $(awk '{ print $1 }' <<<"$nodes"); do
    grep "erased on $node" <<<"$answers" || warn "$node could not be asked: erase /datadir there yourself before it is used again"
  done
fi
no_containers() { [ -z "$(docker ps --all --quiet --filter network=tango_net)" ]; }
until_true 30 no_containers || true
for what in secret config; do
  for name in $(docker "$what" ls --format '{{.Name}}' --filter label=tango.kind); do run docker "$what" rm "$name" >/dev/null; done
done
network_is_gone() { docker network rm tango_net >/dev/null 2>&1 || ! docker network inspect tango_net >/dev/null 2>&1; }
if docker network inspect tango_net >/dev/null 2>&1; then
  if [ "$dry_run" = yes ]; then run docker network rm tango_net; else until_true 60 network_is_gone || warn "the network tango_net is still in use"; fi
fi
if [ "$erase" = yes ] && [ "$dry_run" = no ]; then rm -f "$conf/secrets.env" "$conf/mongodb.pem" "$conf/objects.pem"; fi
if [ "$images" = yes ]; then
  for image in "$TANGO_IMAGE" "$MONGO_IMAGE" "$OBJECTS_IMAGE"; do run docker image rm "$image" || true; done
  say "images were removed from this node; on the others: docker image rm $TANGO_IMAGE $MONGO_IMAGE $OBJECTS_IMAGE"
fi
say_done "tango is off this Swarm. Ended containers of its jobs stay until cleanup.sh is run on each node"
