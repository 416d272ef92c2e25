# shellcheck shell=bash
# The nodes of the Swarm: what they are labelled for, and whether that can work. Sourced.

need_docker() {
  command -v docker >/dev/null || fail "docker is missing: install Docker Engine 20.10 or newer on this node"
  docker version --format '{{.Server.Version}}' >/dev/null 2>&1 \
    || fail "the Docker daemon does not answer: start it (systemctl start docker), and run this as a user who may use it"
}

has_leader() { docker node ls --quiet >/dev/null 2>&1; }

need_manager() {
  local state
  need_docker
  state=$(docker info --format '{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}')
  case $state in
    'active true')
      # Managers choose a leader anew when one was cut off; without most of them there is none.
      until_true 60 has_leader || fail "the Swarm does not answer: $(docker node ls 2>&1 >/dev/null | head -n 1) When most of its nodes are lost for good, docs/OPERATIONS.md says what to do, in \"Most nodes are lost\""
      ;;
    'active false') fail "this node is no manager of its Swarm: run this on a manager, or: docker node promote $(hostname)" ;;
    *) fail "this node is in no Swarm: docker swarm init --advertise-addr ADDRESS on the first node, docker swarm join on the others" ;;
  esac
}

# One line a node: hostname, address, status, availability, manager's reachability, labels as NAME=VALUE,...
read_nodes() {
  local ids all id
  ids=$(docker node ls --quiet)
  # shellcheck disable=SC2086 # one word an id
  all=$(docker node inspect --format '{{if not .Description.Hostname}}? {{.ID}} {{end}}{{.Description.Hostname}} {{.Status.Addr}} {{.Status.State}} {{.Spec.Availability}} {{if .ManagerStatus}}{{.ManagerStatus.Reachability}}{{else}}worker{{end}} {{range $name, $value := .Spec.Labels}}{{$name}}={{$value}},{{end}}' $ids)
  nodes=$(grep -v '^? ' <<<"$all")
  # What is left when a join is given up half-way.
  for id in $(sed -n 's/^? \([^ ]*\) .*/\1/p' <<<"$all"); do
    warn "a node has begun to join this Swarm and has never come: docker node rm --force $id takes it out"
  done
}

# Hostnames of the nodes with a label; with a second argument: with that value.
labelled() { # label, value
  awk -v label="$1" -v value="${2:-}" '{
    count = split($6, labels, ",")
    for (i = 1; i <= count; i++) if (labels[i] != "" && index(labels[i], label "=") == 1 && (value == "" || labels[i] == label "=" value)) print $1
  }' <<<"$nodes"
}

label_of() { # hostname, label
  awk -v node="$1" -v label="$2" '$1 == node {
    count = split($6, labels, ",")
    for (i = 1; i <= count; i++) if (index(labels[i], label "=") == 1) print substr(labels[i], length(label) + 2)
  }' <<<"$nodes"
}

count_lines() { grep -c . || true; }

# Whether the nodes are there and labelled so that it can work.
check_nodes() {
  local total host number holders members expected
  read_nodes
  total=$(count_lines <<<"$nodes")
  while read -r host _ state availability manager _; do
    [ "$state" = ready ] || problem "the node $host is $state: start it, or take it out (docker node demote $host; docker node rm $host)"
    [ "$availability" = active ] || warn "the node $host is $availability: nothing is placed there"
    [ "$manager" != unreachable ] || problem "the manager $host is unreachable"
    [ "$manager" != worker ] || lab_problem "the node $host is no manager: docker node promote $host, so that every node can go on when others are lost"
  done <<<"$nodes"
  [ "$total" -ge 3 ] || lab_problem "the Swarm has $total node(s): three let one fail, five let two fail"
  [ $((total % 2)) = 1 ] || warn "$total nodes are an even number: no more of them may fail than of $((total - 1))"

  if [ "$external_mongo" = no ]; then
    members=$(labelled mongo.replica | count_lines)
    for host in $(labelled mongo.replica | sort -u); do
      number=$(label_of "$host" mongo.replica)
      [[ $number =~ ^[1-9]$ ]] || problem "the node $host has the label mongo.replica=$number: it is a number from 1 on"
    done
    expected=1
    while [ "$expected" -le "$members" ]; do
      holders=$(labelled mongo.replica "$expected" | tr '\n' ' ')
      case $(wc -w <<<"$holders") in
        1) ;;
        0) problem "no node has the label mongo.replica=$expected: docker node update --label-add mongo.replica=$expected NODE" ;;
        *) problem "mongo.replica=$expected is the label of several nodes ( $holders): each member needs a number of its own" ;;
      esac
      expected=$((expected + 1))
    done
    case $members in
      3 | 5 | 7) ;;
      0) problem "no node has the label mongo.replica: give 1, 2 and 3 to three nodes: docker node update --label-add mongo.replica=1 NODE" ;;
      1) problem "one node has the label mongo.replica: the database needs at least three members" ;;
      2 | 4 | 6) problem "$members nodes have the label mongo.replica: an even number of members lets no more of them fail than $((members - 1)) do; label one more or one fewer" ;;
      *) problem "$members nodes have the label mongo.replica: 3, 5 or 7 are possible" ;;
    esac
    check_data_centres
  else
    members=0
  fi
  mongo_members=$members
  if [ "$(labelled worker true | count_lines)" -lt 2 ]; then
    problem "$(labelled worker true | count_lines) node(s) have the label worker=true, and at least two have to: docker node update --label-add worker=true NODE"
  fi
  minio_nodes=$(labelled minio true | count_lines)
  if [ "$external_objects" = no ]; then
    if [ "$minio_nodes" = 0 ]; then problem "no node has the label minio=true: give it to three nodes: docker node update --label-add minio=true NODE"; fi
    local unsafe
    unsafe=$(unsafe_objects)
    [ -z "$unsafe" ] || warn "$unsafe"
  fi
  count_copies
}

# Of each object, in the object store: for it, and for tango's doctor.
count_copies() {
  OBJECTS_REPLICATION=$(labelled minio true | count_lines)
  if [ "$OBJECTS_REPLICATION" -gt 3 ]; then OBJECTS_REPLICATION=3; fi
  OBJECT_COPIES=$OBJECTS_REPLICATION
  if [ "$external_objects" = yes ]; then OBJECT_COPIES=; fi
  export OBJECTS_REPLICATION OBJECT_COPIES
}

# What is to be said of one or two nodes for the object store.
unsafe_objects() {
  case $(labelled minio true | count_lines) in
    1) echo "UNSAFE: one node has the label minio=true. The object store holds the rows of all datasets, here once: when its disk is lost, they are lost. Label three nodes" ;;
    2) echo "UNSAFE: two nodes have the label minio=true. Each object is kept twice, but when either node is away nothing can be stored. Label three nodes" ;;
  esac
}

# Where the members of the database stand, by the label datacenter=.
check_data_centres() {
  local centres count centre there most
  centres=$(for host in $(labelled mongo.replica); do label_of "$host" datacenter; done | sort -u)
  count=$(count_lines <<<"$centres")
  [ "$count" -gt 0 ] || return 0
  for host in $(labelled mongo.replica); do
    [ -n "$(label_of "$host" datacenter)" ] || problem "the node $host has no label datacenter=, and others have: docker node update --label-add datacenter=NAME $host"
  done
  most=0
  for centre in $centres; do
    there=0
    for host in $(labelled mongo.replica); do
      if [ "$(label_of "$host" datacenter)" = "$centre" ]; then there=$((there + 1)); fi
    done
    if [ "$there" -gt "$most" ]; then most=$there fullest=$centre; fi
  done
  if [ $((most * 2)) -gt "$members" ]; then
    case $count in
      1) warn "all members of the database are in the data centre $fullest: when it is lost, nothing can be written anywhere else" ;;
      2) warn "the data centre $fullest has $most of the $members members of the database: when it is lost, the other one can only be read until somebody runs tango cluster recover (docs/OPERATIONS.md)" ;;
      *) problem "the data centre $fullest has $most of the $members members of the database, a majority: when it is lost, nothing can be written although $((count - 1)) others are left. Spread the labels mongo.replica" ;;
    esac
  fi
}

# Asks every node, by a job on it, for its clock, its disks and its ports; in the one image with a shell that every node has. $1: ports that must
# be free, or nothing. A line a node.
probe_nodes() {
  # Of a name of its own, since others may ask at the same time.
  # shellcheck disable=SC2086 # one word a port
  job_on_every_node "tango_probe_$$" "$OBJECTS_IMAGE" --env 'NODE={{.Node.Hostname}}' --env OBJECTS_DIR="${OBJECTS_DIR:-/datadir/objects}" --network host \
    --mount type=bind,source=/,target=/host,readonly --entrypoint /usr/bin/node-probe.sh -- ${1:-}
}

# probe_of NODE ANSWERS: what a node has answered.
probe_of() { grep -o "probe node=$1 .*" <<<"$2" | tail -n 1 || true; }

# in_probe NAME LINE: a value of it, or nothing.
in_probe() { sed -n "s/.* $1=\\([^ ]*\\).*/\\1/p" <<<"$2"; }

check_every_node() { # ports
  local answers line node size ports full clocks
  [ "$dry_run" = no ] || return 0
  answers=$(probe_nodes "$1") || true
  [ -n "$answers" ] || { problem "no node could be asked for its disks, ports and clock: is the image $OBJECTS_IMAGE on every node (install.sh)?"; return; }
  for node in $(awk '{ print $1 }' <<<"$nodes"); do
    line=$(probe_of "$node" "$answers")
    if [ -z "$line" ]; then
      problem "the node $node could not be asked: has install.sh been run there? $(grep "^$node:" <<<"$answers" | head -n 1)"
      continue
    fi
    size=$(in_probe root_free_gb "$line")
    [ "${size:-0}" -ge "${MIN_ROOT_FREE_GB:-50}" ] || lab_problem "$node: $size GB are free on the root partition, and ${MIN_ROOT_FREE_GB:-50} should be"
    if [ -n "$(label_of "$node" mongo.replica)" ] && [ "$external_mongo" = no ]; then
      case $(in_probe datadir "$line") in
        missing) problem "$node: there is no /datadir: make a partition of at least ${MIN_DATADIR_GB:-50} GB and mount it there" ;;
        no) lab_problem "$node: /datadir is no mount of its own: the database would share the root partition" ;;
      esac
      size=$(in_probe datadir_gb "$line")
      [ -z "$size" ] || [ "$size" -ge "${MIN_DATADIR_GB:-50}" ] || lab_problem "$node: /datadir has $size GB, and ${MIN_DATADIR_GB:-50} are needed"
      if [ "$(in_probe datadir_has_data "$line")" = yes ]; then nodes_with_data+=("$node"); fi
    fi
    full=$(full_disks "$line" | sed -n 's/^BAD //p')
    [ -z "$full" ] || lab_problem "$node: $full"
    ports=$(in_probe ports_used "$line")
    [ "$ports" = none ] || problem "$node: port(s) $ports are taken by another program: end it, or move it elsewhere (ss -ltnp there shows it)"
  done
  clocks=$(apart_clocks "$answers")
  [ -z "$clocks" ] || lab_problem "$clocks"
}

# Disks of a node that are full (BAD), or nearly (warning).
full_disks() { # line of the probe
  local name folder size free seen=' '
  for name in root:/ datadir:/datadir "objects:${OBJECTS_DIR:-/datadir/objects}"; do
    folder=${name#*:} name=${name%%:*}
    size=$(in_probe "${name}_gb" "$1") free=$(in_probe "${name}_free_mb" "$1")
    # A folder of a disk that was looked at is the same disk.
    case "$free$seen" in ' '* | *" $size/$free "*) continue ;; esac
    seen+="$size/$free "
    if [ "$free" -lt 500 ]; then
      echo "BAD the disk with $folder is full: $free MB are free. Make room (cleanup.sh there), or the partition larger"
    elif [ "$free" -lt $((size * 1024 / 10)) ]; then
      echo "warning the disk with $folder has $free MB of $size GB left: make room (cleanup.sh there), or the partition larger, in time"
    fi
  done
}

# What is to be said of the nodes' clocks. The jobs do not begin at the same second, so that small differences tell nothing.
apart_clocks() { # answers of the nodes
  grep -o 'probe node=.*' <<<"$1" | sed 's/.*node=\([^ ]*\) epoch=\([0-9]*\) .*/\2 \1/' | sort -n \
    | awk 'NR == 1 { early = $1; first = $2 } { late = $1; last = $2 }
      END { if (late - early > 30) print "the clocks of the nodes are up to " late - early " s apart (" first " is behind, " last " ahead): set them by NTP (timedatectl set-ntp true)" }' || true
}
