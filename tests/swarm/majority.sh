# shellcheck shell=bash
# Two of three nodes are lost at once, and with them the majority of the Swarm, of the database and of the object store's copies; then five
# and seven members of the database. Sourced by run.
# shellcheck disable=SC2154

# A machine like a new one, in the Swarm.
new_node() { # number
  if is_ready "$1"; then return 0; fi
  remove_machine "$1"
  start_machine "$1"
  unpack "$1" "$work/package.tar.gz"
  laboratory "$1"
  script "$1" install.sh --force >/dev/null 2>&1 || failed "install.sh on node $1"
  join "$1"
}

# The balancer's servers are these nodes.
balance() {
  local n number=0 file=$work/haproxy/haproxy.cfg
  for n in "$@"; do
    number=$((number + 1))
    sed -i -E "s/server node-$number $subnet\.[0-9]+:/server node-$number $subnet.$n:/" "$file"
  done
  stop_balancer
  start_balancer
}

has_no_leader() { ! on "$1" docker node ls; }

# The database first: tango goes on meanwhile, whereas a new Swarm starts the containers of the node again.
majority_is_lost() {
  # Those with mongo.replica=1 and 3: node 2 is left with one of three copies of everything.
  local n lost=''
  for n in 1 3 4; do
    if is_ready "$n"; then lost+=" $n"; fi
  done
  for n in $lost; do power_off "$n"; done
  within 60 "two of three nodes lost for good; the one that is left scores" client score
  # Who was the leader goes on for some seconds.
  within 60 "the Swarm has no leader" has_no_leader 2
  expect_refusal "there is no PRIMARY" in_tango_of 2 cluster status
  start_load 20
  expect_refusal "--fenced-off mongo_mongo1:27017,mongo_mongo3:27017" in_tango_of 2 cluster recover
  in_tango_of 2 cluster recover --fenced-off mongo_mongo1:27017,mongo_mongo3:27017 | grep '^Done' || failed "cluster recover"
  in_tango_of 2 cluster status || failed "cluster status after cluster recover"
  stop_load "the database goes on with one member"

  on 2 docker swarm init --force-new-cluster --advertise-addr $subnet.2 >/dev/null || failed "docker swarm init --force-new-cluster"
  manager=2
  echo 2 >"$work/manager"
  for n in $lost; do
    on 2 docker node rm --force "node-$n-hostname" >/dev/null || failed "docker node rm"
  done
  within 120 "the Swarm goes on with one node, and scores" client score
}

majority_is_back() {
  local n
  for n in 5 6; do
    new_node $n
    label $n worker=true
    label $n minio=true
  done
  label 5 mongo.replica=1
  label 6 mongo.replica=3
  expect_refusal "--accept-lost-objects" script 2 start.sh --force --yes
  script 2 start.sh --force --yes --accept-lost-objects >"$work/lost.log" 2>&1 || { cat "$work/lost.log"; failed "start.sh --accept-lost-objects"; }
  grep -E '^(object store|the member|mongo_mongo)' "$work/lost.log" || true
  within 300 "all is well with two new nodes" all_is_well 2
  [ "$(in_tango_of 2 cluster members --json | jq '[.members[].votes] | add')" = 3 ] || failed "not three votes: $(in_tango_of 2 cluster members)"
  balance 2 5 6
  within 20 "the balancer knows the new nodes" client score
  client append 3 || failed "appends after the loss of the majority"
  client train || failed "training with rows from before the loss"
}

# On a running Swarm, under load: two more nodes, two more members.
more_members() { # members
  local members=$1 before after n
  set --
  # Nodes that have no member yet, and then new ones.
  for n in 1 2 3 4 5 6 7; do
    if is_ready "$n" && ! on "$manager" docker node ls --quiet --filter node.label=mongo.replica --filter "name=node-$n-hostname" | grep -q .; then set -- "$@" "$n"; fi
  done
  for n in 1 2 3 4 5 6 7; do
    if ! is_ready "$n"; then set -- "$@" "$n"; fi
  done
  set -- "$1" "$2"
  before=$(on "$manager" docker service inspect --format '{{.Spec.TaskTemplate.ForceUpdate}} {{.Version.Index}}' mongo_mongo1)
  for n in "$@"; do new_node "$n"; done
  start_load 20
  label "$1" "mongo.replica=$((members - 1))"
  expect_refusal "even number" script "$manager" start.sh --force --yes
  label "$2" "mongo.replica=$members"
  script "$manager" start.sh --force --yes >"$work/members.log" 2>&1 || { cat "$work/members.log"; failed "start.sh with $members members"; }
  stop_load "$members members of the database in place of $((members - 2))"
  [ "$(in_tango_of "$manager" cluster members --json | jq '[.. | .votes? // empty] | add')" = "$members" ] || failed "not $members votes: $(in_tango_of "$manager" cluster members)"
  within 240 "all is well with $members members" all_is_well "$manager"
  after=$(on "$manager" docker service inspect --format '{{.Spec.TaskTemplate.ForceUpdate}} {{.Version.Index}}' mongo_mongo1)
  say "mongo_mongo1 before: $before, after: $after"
}
