# shellcheck shell=bash
# An installation whose database and object store are managed elsewhere, on machines where another program's VXLAN has Docker's UDP port: three
# new machines, the servers of deploy/dev-cluster on the bridge's own address. Sourced by run.
# shellcheck disable=SC2154

dev_cluster() { "$project/deploy/dev-cluster" "$@" --dir "$work/elsewhere"; }

start_stores_elsewhere() {
  local front=$work/elsewhere/front.cfg
  mkdir -p "$work/elsewhere"
  dev_cluster mongo start --members 3 --addresses "$entrance,$entrance,$entrance" --until-pid $$ >/dev/null || failed "a database elsewhere"
  dev_cluster s3 start --until-pid $$ >/dev/null || failed "an object store elsewhere"
  cat >"$front" <<CONF
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
listen objects
  bind $entrance:9000 ssl crt $work/elsewhere/tls/server.pem
  server elsewhere $(sed -n 's|^S3_HTTP_ENDPOINT=http://||p' "$work/elsewhere/s3.env")
CONF
  haproxy -db -f "$front" >"$work/elsewhere/front.log" 2>&1 &
  echo $! >"$work/elsewhere/front.pid"
}

stop_stores_elsewhere() {
  [ -d "$work/elsewhere" ] || return 0
  if [ -e "$work/elsewhere/front.pid" ]; then kill "$(cat "$work/elsewhere/front.pid")" 2>/dev/null || true; fi
  dev_cluster end >/dev/null 2>&1 || true
  rm -rf "$work/elsewhere"
}

stores_elsewhere() {
  local n conf name
  stop_balancer
  remove_machines
  lay_bridge
  for n in 1 2 3; do
    start_machine $n
    unpack $n "$work/package.tar.gz"
    laboratory $n
    ip -n "$machines$n" link add other0 type vxlan id 7 dev eth0 dstport 4789
  done
  manager=1
  echo 1 >"$work/manager"
  expect_refusal "docker swarm init --data-path-port 7789" script 1 install.sh -externalMongo --force
  for n in 1 2 3; do
    sed -i 's/^DATA_PATH_PORT=.*/DATA_PATH_PORT=7789/' "$(home $n)/conf/deploy.env"
    script $n install.sh -externalMongo --force >"$work/install-$n.log" 2>&1 || { cat "$work/install-$n.log"; failed "install.sh -externalMongo on node $n"; }
    [ -z "$(on $n docker image ls --quiet tango_mongo)" ] || failed "node $n has the image of a database"
  done
  on 1 docker swarm init --advertise-addr $subnet.1 --data-path-port 7789 >/dev/null || failed "docker swarm init --data-path-port"
  join 2
  join 3
  [ "$(on 2 docker info --format '{{json .}}' | jq .Swarm.Cluster.DataPathPort)" = 7789 ] || failed "the Swarm's data path port is another one"
  start_stores_elsewhere
  for n in 1 2 3; do label $n worker=true; done

  conf=$(home 1)/conf
  set_env 1 S3_ENDPOINT "https://$entrance:9000"
  expect_refusal "-externalMongo needs MONGODB_URL" script 1 start.sh -externalMongo -l -p "$password"
  for name in MONGODB_URL S3_ACCESS_KEY S3_SECRET_KEY; do
    sed -i "/^$name=/d" "$conf/tango.env"
    cat "$work/elsewhere"/{mongo,s3}.env | grep "^$name=" >>"$conf/tango.env"
  done
  expect_refusal "the database in MONGODB_URL cannot be used from here" script 1 start.sh -externalMongo -l -p "$password" --force
  cp "$work/elsewhere/tls/ca.pem" "$conf/extra-ca.pem"
  script 1 start.sh -externalMongo --force 2>&1 | grep -v 'GB are free' || failed "start.sh -externalMongo"
  cat "$conf/ca.pem" "$conf/extra-ca.pem" >"$work/ca.pem"
  [ "$(on 1 docker service ls --format '{{.Name}}' | grep -cE '^(mongo|minio_server)_')" = 0 ] || failed "a database or an object store was started here"
  for name in MONGODB_URL S3_SECRET_KEY; do
    on 1 docker config inspect --format '{{printf "%s" .Spec.Data}}' "$(on 1 docker config ls --format '{{.Name}}')" | grep -qxF "$name=(secret)" || failed "$name is in the Swarm's configuration"
  done
  sed -i '/^# S3_ENDPOINT names this address/,$d' "$(home 1)/haproxy/haproxy.cfg"
  step_balancer
  client flow || failed "from upload to scores, with stores elsewhere"
  script 1 status.sh || failed "status.sh with stores elsewhere"
  sed -i 's/^LOGIN_MESSAGES=.*/LOGIN_MESSAGES=changed by a restart/' "$conf/tango.env"
  script 1 restart.sh --yes >"$work/restart.log" 2>&1 || { cat "$work/restart.log"; failed "restart.sh with stores elsewhere"; }
  client append 2 || failed "appends with stores elsewhere"
  script 1 uninstall.sh --yes >"$work/uninstall.log" 2>&1 || { cat "$work/uninstall.log"; failed "uninstall.sh with stores elsewhere"; }
  stop_balancer
  stop_stores_elsewhere
  say "database and object store elsewhere, the overlay network on UDP 7789: from install.sh to scores"
}
