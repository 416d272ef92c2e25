#!/usr/bin/env bash
# Starts everything on the Swarm, from any one of its nodes. Run again, it starts what does not run, and takes new nodes in.
#
#   bash start.sh -l -p PASSWORD   the first time: makes certificates and secrets, the replica set and the object store, and the user
#                                  super_user@genesys.com with this password. `-p -` reads the password from standard input
#   bash start.sh                  later: with the data that are there
#
#   -externalMongo   the database is elsewhere: MONGODB_URL in conf/tango.env
#   --force          too little disk and the like are warnings: for laboratories
#   --yes            does not ask
#   --erase          with -l on an installation that has data: erases them first (it asks, unless --yes)
#   --accept-lost-objects   most copies in the object store are lost for good: goes on with those that are left
#   --check          checks only
#   --dry-run        checks what can be checked without starting anything, and says what it would do
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=/dev/null
. "$here/lib/all.sh"

accept_lost_objects=no elsewhere=no initialise=no password='' erase=no check_only=no
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage "$0"; exit 0 ;;
    -l) initialise=yes ;;
    -p)
      [ $# -gt 1 ] || fail "-p needs the password of super_user@genesys.com; \`-p -\` reads it from standard input"
      password=$2
      shift
      if [ "$password" = - ]; then IFS= read -r password || true; fi
      ;;
    -externalMongo | --external-mongo) elsewhere=yes ;; # MONGODB_URL alone says it, too
    --force) force=yes ;;
    --yes) assume_yes=yes ;;
    --erase) erase=yes ;;
    --accept-lost-objects) accept_lost_objects=yes ;;
    --check) check_only=yes ;;
    --dry-run) dry_run=yes ;;
    *) fail "unknown option $1 (try --help)" ;;
  esac
  shift
done

need_manager
read_deploy_env
if [ "$elsewhere" = yes ] && [ "$external_mongo" = no ]; then
  fail "-externalMongo needs MONGODB_URL in $conf/tango.env: mongodb://USER:PASSWORD@HOST:PORT,.../tango?authSource=admin&replicaSet=NAME&tls=true (its authority, if it has one of its own, in $conf/extra-ca.pem)"
fi
installed=$(current config env)
running=$(docker service ls --filter label=com.docker.stack.namespace --format '{{.Name}}' | grep -E '^(tango|mongo|minio_server|workers)_' || true)

# After uninstall.sh, or on a new Swarm, secrets.env leads back to the data that are still on the nodes.
goes_on=no
if [ "$initialise" = no ] && [ -z "$installed" ]; then
  if [ ! -e "$conf/secrets.env" ]; then
    fail "this Swarm has no installation yet: start.sh -l -p PASSWORD makes one. If its nodes have the data of a former one, run start.sh where the conf/ of that one is (conf/secrets.env is not here)"
  fi
  goes_on=yes
fi
if [ "$initialise" = yes ]; then
  [ -n "$password" ] || fail "-l needs the password of the first user: -p PASSWORD, or -p - to read it from standard input"
  check_password "$password"
fi

check_tango_env
check_nodes
for file in "$conf/tango.crt" "$conf/mongodb.pem" "$conf/objects.pem"; do check_certificate "$file"; done
host_domain=$(value_of HOST_DOMAIN "$conf/tango.env")
[ -z "$host_domain" ] || check_certificate "$conf/tango.crt" "$host_domain"
check_key_pair "$conf/tango.crt" "$conf/tango.key"
no_problems "not started"

# Ports that nobody may hold yet.
ports=
if ! grep -q '^tango_tango$' <<<"$running"; then ports+=" 3031"; fi
if ! grep -q '^minio_server_minio$' <<<"$running" && [ "$external_objects" = no ]; then ports+=" 9000"; fi
check_every_node "$ports"
no_problems "not started"

has_something=no
if [ -n "$installed$running" ] || [ ${#nodes_with_data[@]} -gt 0 ]; then has_something=yes; fi
if [ "$initialise" = yes ] && [ "$has_something" = yes ]; then
  what=$(if [ -n "$installed$running" ]; then echo "this Swarm has an installation of tango"; else echo "/datadir holds a database on ${nodes_with_data[*]}"; fi)
  if [ "$erase" = no ]; then
    fail "$what, and -l begins anew. To start what is there: start.sh without -l. To erase all of its data: start.sh -l --erase (a backup first: backup.sh)"
  fi
  confirm "$what. Erase all of its data, on every node, for good?" erase
  run bash "$here/uninstall.sh" --erase-data --yes
fi
if [ "$goes_on" = yes ] && [ ${#nodes_with_data[@]} -eq 0 ] && [ "$dry_run" = no ]; then fail "this Swarm has no installation, and no node has a database in /datadir: start.sh -l -p PASSWORD begins"; fi
[ "$check_only" = no ] || { say "all checks passed"; exit 0; }

# What members and nodes are called by is in their certificates.
if [ "$initialise" = yes ]; then
  if [ "$dry_run" = no ]; then
    mapfile -t names < <(awk '{ print $1; print $2 }' <<<"$nodes")
    make_certificates "${names[@]}"
    make_secrets "$mongo_members"
    put_text super_user_password "$password"
  fi
elif [ -e "$conf/secrets.env" ] && [ "$dry_run" = no ]; then
  make_secrets "$mongo_members"
  # The user is in the database; the stack wants a secret of this name.
  if [ "$goes_on" = yes ]; then put_text super_user_password "$(openssl rand -hex 24)"; fi
fi
put_files
put_settings
export_names
need_network

if [ "$external_mongo" = no ]; then
  deploy_mongo
  wait_for_stack mongo 120
  initiate_mongo
  add_members
else
  set_tango_job_options
  run_job tango_mongo_look 120 "${tango_job_options[@]}" "$TANGO_IMAGE" -- migrate --status \
    || fail "the database in MONGODB_URL cannot be used from here; see above. Mend it, and run start.sh (without -l, which begins anew)"
fi
if [ "$external_objects" = no ]; then
  deploy_objects
  wait_for_stack minio_server 120
  lay_objects_out
else
  export S3_INTERNAL_ENDPOINT=''
fi
deploy_tango
wait_for_stack tango 240
deploy_workers
wait_for_stack workers 240

if [ "$dry_run" = yes ]; then say_done; exit 0; fi
say ""
while read -r host address _; do say "  $host  $scheme://$address:3031"; done <<<"$nodes"
say "  user  $(value_of SUPER_USER "$conf/tango.env" | grep . || echo super_user@genesys.com)"
say "A load balancer in front asks every node for /login (haproxy/, ha-scripts/nginx/ have examples). How everything is: bash status.sh"
