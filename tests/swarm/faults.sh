# shellcheck shell=bash
# Containers, members and whole nodes die, and others take over. Sourced by run.
# shellcheck disable=SC2154

container() { on "$1" docker ps --quiet --filter "label=com.docker.swarm.service.name=$2" | head -n 1; }
in_tango_of() { # node, command...
  local n=$1
  shift
  on "$n" docker exec "$(container "$n" tango_tango)" /usr/bin/tango "$@"
}
signal_container() { # node, service, signal
  local id
  id=$(container "$1" "$2")
  [ -n "$id" ] || failed "no container of $2 on node $1"
  on "$1" docker kill --signal "$3" "$id" >/dev/null
}
kill_container() { signal_container "$1" "$2" KILL; }
service_node() { on "$manager" docker service ps --filter desired-state=running --format '{{.Node}}' "$1" | head -n 1 | sed 's/node-\([0-9]\)-.*/\1/'; }

faults() {
  start_load 20
  kill_container 1 tango_tango
  # A connection that was open when the process was killed is lost; nobody else's.
  within 90 "tango of node 1, killed, is back and all is well" all_is_well 2
  stop_load "tango of one node killed" 20

  client append 10 >"$work/append.log" 2>&1 &
  local appending=$!
  for service in workers_dataset_upload workers_model_training; do
    kill_container "$(service_node $service)" $service
  done
  wait $appending || { cat "$work/append.log"; failed "appends while workers were killed"; }
  say "workers killed while rows were appended: $(cat "$work/append.log")"

  local primary
  primary=$(on 1 docker exec "$(container 1 tango_tango)" /usr/bin/tango cluster status | sed -n 's/^mongo_mongo\([0-9]\):27017 *: PRIMARY.*/\1/p')
  start_load 20
  client append 10 >"$work/append.log" 2>&1 &
  appending=$!
  sleep 1
  kill_container "$primary" "mongo_mongo$primary"
  wait $appending || { cat "$work/append.log"; failed "appends while the PRIMARY was killed"; }
  stop_load "the PRIMARY (mongo_mongo$primary) killed under scores"
  say "and under appends: $(cat "$work/append.log")"
  within 120 "the member is back and all is well" all_is_well 1

  for n in 1 2 3; do
    client append 6 >"$work/append.log" 2>&1 &
    appending=$!
    client train >"$work/train.log" 2>&1 &
    local training=$!
    sleep 1
    kill_container $n minio_server_minio
    wait $appending || { cat "$work/append.log"; failed "appends while the object store of node $n was killed"; }
    wait $training || { cat "$work/train.log"; failed "training while the object store of node $n was killed"; }
    say "object store of node $n killed during ingest and training: $(cat "$work/append.log"); $(cat "$work/train.log")"
  done
  within 120 "all is well" all_is_well 1
}

unreachable() { on "$manager" docker node ls --format '{{.Hostname}} {{.Status}}' | grep -q "node-$1-hostname Down"; }

nodes_come_and_go() {
  start_load 20
  unplug 3
  # A new machine is made ready meanwhile.
  { start_machine 4 && unpack 4 "$work/package.tar.gz" && laboratory 4 && script 4 install.sh --force; } >"$work/install-4.log" 2>&1 &
  local installing=$!
  within 60 "node 3 unplugged; the Swarm sees it as Down" unreachable 3
  client append 3 || failed "appends while a node is away"
  client train || failed "training while a node is away"
  stop_load "a node unplugged" 40
  plug_in 3
  within 240 "node 3 is plugged in again and all is well" all_is_well 1

  wait $installing || { cat "$work/install-4.log"; failed "install.sh on node 4"; }
  join 4
  within 120 "a fourth node joined and serves" curl --silent --fail --insecure "https://$subnet.4:3031/login"

}

node_is_replaced() {
  # Node 3 burns down; node 4 takes its place with its labels.
  power_off 3
  within 60 "node 3 lost for good; the Swarm sees it as Down" unreachable 3
  on 1 docker node demote node-3-hostname >/dev/null
  on 1 docker node rm --force node-3-hostname >/dev/null
  label 4 mongo.replica=3
  label 4 worker=true
  label 4 minio=true
  cp "$(home 1)/conf/tango.env" "$(home 4)/conf/"
  script 1 start.sh --force >"$work/replace.log" 2>&1 || { cat "$work/replace.log"; failed "start.sh after a node was replaced"; }
  within 240 "node 4 has taken the place of node 3 and all is well" all_is_well 1
  sed -i "s|$subnet\.3:|$subnet.4:|" "$work/haproxy/haproxy.cfg"
  stop_balancer
  start_balancer
  within 20 "the balancer knows the new node" client score
  client append 3 || failed "appends after a node was replaced"
}

# A node is taken out in good order, and another one takes its labels.
node_is_drained() {
  local out new='' n left='' name=$work/drained
  out=$(on "$manager" docker node ls --filter node.label=mongo.replica=3 --format '{{.Hostname}}' | sed 's/node-\([0-9]\)-.*/\1/')
  [ "$out" != "$manager" ] || failed "node $out is where the scripts are run"
  for n in 1 2 3 4 5 6 7; do
    if is_ready "$n"; then
      [ "$n" = "$out" ] || left+=" $n"
    elif [ -z "$new" ]; then
      new=$n
    fi
  done
  new_node "$new"
  start_load 20
  on "$manager" docker node update --availability drain "node-$out-hostname" >/dev/null
  within 120 "node $out is drained: nothing runs on it" nothing_runs_on "$out"
  client append 3 || failed "appends while a node is drained"
  stop_load "a node drained"
  if script "$manager" status.sh >"$name" 2>&1; then failed "status.sh does not tell that a node is drained"; fi
  grep -E "BAD +node-$out-hostname .* drain" "$name" || failed "status.sh says nothing of the drained node: $(cat "$name")"
  on "$manager" docker node demote "node-$out-hostname" >/dev/null
  on "$out" docker swarm leave >/dev/null || failed "docker swarm leave on node $out"
  within 60 "node $out has left" unreachable "$out"
  on "$manager" docker node rm "node-$out-hostname" >/dev/null || failed "docker node rm"
  remove_machine "$out"
  for n in mongo.replica=3 worker=true minio=true; do label "$new" $n; done
  script "$manager" start.sh --force --yes >"$name" 2>&1 || { cat "$name"; failed "start.sh after a node was taken out"; }
  within 240 "node $new has taken the place of node $out and all is well" all_is_well "$manager"
  # shellcheck disable=SC2086 # words
  balance $left "$new"
  within 20 "the balancer knows the new node" client score
  client append 2 || failed "appends after a node was taken out"
}
nothing_runs_on() { [ -z "$(on "$1" docker ps --quiet)" ]; }
