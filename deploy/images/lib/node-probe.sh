#!/bin/bash
# What the scripts want to know of every node, in one line of NAME=value. The node's root folder is at /host; arguments: ports that must be free.
# The container has the node's own network; OBJECTS_DIR is where the object store keeps its data.
if [ "${1:-}" = --help ]; then sed -n '2,3s/^# \{0,1\}//p' "$0"; exit 0; fi
# Size and room of the file system with a folder.
disk() { # name, folder
  local total available
  { read -r _; read -r _ total _ available _; } < <(df -P -k "$2" 2>/dev/null) || return 0
  line+=" $1_gb=$((total / 1048576)) $1_free_gb=$((available / 1048576)) $1_free_mb=$((available / 1024))"
}
line="probe node=${NODE:-?} epoch=$(date +%s)"
disk root /host
if [ -d /host/datadir ]; then
  mount=no
  while read -r _ point _; do if [ "$point" = /host/datadir ]; then mount=yes; fi; done </proc/mounts
  data=no
  if [ -e /host/datadir/WiredTiger ]; then data=yes; fi
  line+=" datadir=$mount datadir_has_data=$data"
  disk datadir /host/datadir
else
  line+=" datadir=missing"
fi
if [ -n "${OBJECTS_DIR:-}" ] && [ -d "/host$OBJECTS_DIR" ]; then disk objects "/host$OBJECTS_DIR"; fi
used=
for port in "$@"; do
  if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then used+=${used:+,}$port; fi
done
echo "$line ports_used=${used:-none}"
