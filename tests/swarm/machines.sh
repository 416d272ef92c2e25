# shellcheck shell=bash
# Machines of a Swarm on this one: a network namespace, a host name, a /datadir and a Docker daemon each, on a bridge of their own. Sourced;
# needs root, iproute2, util-linux and Docker's daemon. Everything is under $work; remove_machines ends what was started, by its process id.

# shellcheck disable=SC2154,SC2013 # $work is set by whoever sources this; paths here have no blanks
machines=${machines:-tsw} # what their namespaces, links and control groups are called
bridge=${machines}0
daemon_options=() # more of dockerd's
subnet=${subnet:-10.99.0}

lay_bridge() {
  ip link add "$bridge" type bridge
  ip address add "$subnet.254/24" dev "$bridge"
  ip link set "$bridge" up
}

# The machine gets a /datadir of this size, in memory, in place of a folder. Before start_machine.
small_datadir() { # number, size, as 2g
  mkdir -p "$work/node-$1"
  echo "$2" >"$work/node-$1/datadir.size"
}

# What the machine starts while the file clock is there has another wall clock, by as many seconds as it says: its runtime is runc, which puts
# clock.c into every container. Before start_machine; needs a C compiler.
clock_to_set() { # number
  local home=$work/node-$1
  mkdir -p "$home"
  cc -shared -fPIC -O2 -o "$home/clock.so" "$(dirname "${BASH_SOURCE[0]}")/clock.c" -ldl
  cat >"$home/runtime" <<'RUNTIME'
#!/bin/bash
home=$(dirname "$0") bundle='' former=''
if [ -e "$home/clock" ] && [[ " $* " == *" create "* ]]; then
  for argument in "$@"; do
    if [ "$former" = --bundle ]; then bundle=$argument; fi
    former=$argument
  done
  jq --arg library "$home/clock.so" --arg ahead "$(cat "$home/clock")" '
    .process.env += ["LD_PRELOAD=/clock.so", "CLOCK_AHEAD=\($ahead)"]
    | .mounts += [{destination: "/clock.so", type: "bind", source: $library, options: ["bind", "ro"]}]' "$bundle/config.json" >"$bundle/config.new"
  mv "$bundle/config.new" "$bundle/config.json"
fi
exec runc "$@"
RUNTIME
  chmod +x "$home/runtime"
}

# The daemon has neither firewall rules nor a bridge: there is no iptables and no IPVS here, and the stacks need neither.
start_machine() { # number
  local n=$1 home=$work/node-$1 own_options=()
  if [ -e "$home/runtime" ]; then own_options=(--add-runtime "own=$home/runtime" --default-runtime own); fi
  mkdir -p "$home"/{docker,exec,datadir,opt}
  if [ ! -e "/run/netns/$machines$n" ]; then
    ip netns add "$machines$n"
    ip link add "${machines}v$n" type veth peer name eth0 netns "$machines$n"
    ip link set "${machines}v$n" master "$bridge" up
    ip -n "$machines$n" address add "$subnet.$n/24" dev eth0
    ip -n "$machines$n" link set eth0 up
    ip -n "$machines$n" link set lo up
    ip -n "$machines$n" route add default via "$subnet.254"
  fi
  # Not `ip netns exec`: it hides the mounts of control groups.
  # shellcheck disable=SC2016 # expanded inside
  nsenter --net="/run/netns/$machines$n" unshare --uts --mount --propagation private bash -c '
      set -e
      hostname "node-$1-hostname"
      mkdir -p /datadir
      if [ -e "$2/datadir.size" ]; then
        mount -t tmpfs -o "size=$(cat "$2/datadir.size")" tmpfs /datadir
      else
        mount --bind "$2/datadir" /datadir
      fi
      # Docker asks for the registry before it takes an image that is here: no name server at all says no at once, one that cannot be
      # reached after some 20 s, at every start of a container.
      echo "nameserver 127.0.0.1" >"$2/resolv.conf"
      mount --bind "$2/resolv.conf" /etc/resolv.conf
      n=$1 home=$2 machines=$3
      shift 3
      exec dockerd --iptables=false --ip6tables=false --bridge=none --cgroup-parent "/$machines$n" --data-root "$home/docker" --exec-root "$home/exec" \
        --pidfile "$home/pid" --host "unix://$home/docker.sock" "$@"' - "$n" "$home" "$machines" "${own_options[@]}" "${daemon_options[@]}" >>"$home/dockerd.log" 2>&1 &
  disown # a machine that loses its power is no news of the shell
  for _ in $(seq 300); do
    if docker --host "unix://$home/docker.sock" info >/dev/null 2>&1; then way_out "$n"; return 0; fi
    sleep 0.1
  done
  echo "the Docker daemon of machine $n does not answer: $(tail -n 3 "$home/dockerd.log")" >&2
  return 1
}

# Containers reach what is outside by the bridge docker_gwbridge. Nobody translates addresses here, so each machine has a network of its own
# there, to which this one knows the way.
way_out() { # number
  local network=${subnet%.*}.$((100 + $1)).0/24
  ip route replace "$network" via "$subnet.$1" dev "$bridge"
  docker --host "unix://$work/node-$1/docker.sock" network inspect docker_gwbridge >/dev/null 2>&1 \
    || docker --host "unix://$work/node-$1/docker.sock" network create --driver bridge --subnet "$network" --opt com.docker.network.bridge.name=docker_gwbridge \
      --opt com.docker.network.bridge.enable_icc=false --opt com.docker.network.bridge.enable_ip_masquerade=false docker_gwbridge >/dev/null
}

# The package's folder for a machine: its images once on this disk.
unpack() { # number, package
  local n=$1 name unpacked
  name=$(basename "$(tar -tzf "$2" | head -n 1)") || true
  unpacked=$work/unpacked/$name
  if [ ! -d "$unpacked" ]; then
    mkdir -p "$work/unpacked"
    tar -xzf "$2" -C "$work/unpacked"
  fi
  cp -r --link "$unpacked" "$work/node-$n/opt/"
  rm -r "$work/node-$n/opt/$name/conf"
  cp -r "$unpacked/conf" "$work/node-$n/opt/$name/"
}

# on N COMMAND...: as a person at that machine would.
on() {
  local n=$1
  shift
  nsenter --target "$(cat "$work/node-$n/pid")" --net --mount --uts -- env "DOCKER_HOST=unix://$work/node-$n/docker.sock" "$@"
}

unplug() { ip -n "$machines$1" link set eth0 down; }
plug_in() {
  ip -n "$machines$1" link set eth0 up
  ip -n "$machines$1" route replace default via "$subnet.254"
}

# The daemon and its containers die at once, as with a power cut; the network goes with them.
power_off() {
  local n=$1 process
  ip -n "$machines$n" link set eth0 down
  kill -KILL "$(cat "$work/node-$n/pid")" 2>/dev/null || true
  for process in $(ip netns pids "$machines$n") $(container_processes "$n"); do kill -KILL "$process" 2>/dev/null || true; done
  rm -f "$work/node-$n/pid" "$work/node-$n"/exec/containerd/*.pid
}

# Processes of the containers (in namespaces of their own) and of their supervisors, which the machine's control group holds or which
# work in its folder.
container_processes() {
  local n=$1 process
  find /sys/fs/cgroup -path "*/$machines$n/*" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u
  for process in /proc/[0-9]*; do
    case $({ tr '\0' ' ' <"$process/cmdline"; } 2>/dev/null) in *"$work/node-$n/"*) basename "$process" ;; esac
  done
}

remove_machine() {
  local n=$1 process
  if [ -e "$work/node-$n/pid" ]; then
    process=$(cat "$work/node-$n/pid")
    kill "$process" 2>/dev/null || true
    for _ in $(seq 150); do [ -d "/proc/$process" ] || break; sleep 0.1; done
  fi
  for process in $(container_processes "$n"); do [ "$process" = $$ ] || kill -KILL "$process" 2>/dev/null || true; done
  ip link delete "${machines}v$n" 2>/dev/null || true
  if [ -e "/run/netns/$machines$n" ]; then
    ip netns delete "$machines$n" 2>/dev/null || true
  fi
  for mount in $(awk -v under="$work/node-$n/" 'index($2, under) == 1 { print $2 }' /proc/mounts | sort -r); do umount -l "$mount" || true; done
  rm -rf "${work:?}/node-$n"
}

remove_machines() {
  local n
  for n in 1 2 3 4 5 6 7; do
    if [ -d "$work/node-$n" ] || [ -e "/run/netns/$machines$n" ]; then remove_machine "$n"; fi
  done
  ip link delete "$bridge" 2>/dev/null || true
  # What the machines' own folders were mounted on. Taken away, it would end the mounts on it of another run's machines, too.
  if ! grep -qs ' /datadir ' /proc/[0-9]*/mounts; then rmdir /datadir 2>/dev/null || true; fi
}
