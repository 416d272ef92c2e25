#!/bin/bash
# What start.sh wants to know of every node, in one line of NAME=value. The node's root folder is at /host; arguments: ports that must be free.
# The container has the node's own network.
if [ "${1:-}" = --help ]; then sed -n '2,3s/^# \{0,1\}//p' "$0"; exit 0; fi
free_gb() { df -P -k "$1" 2>/dev/null | { read -r _; read -r _ _ _ available _ && echo $((available / 1048576)); }; }
line="probe node=${NODE:-?} epoch=$(date +%s) root_free_gb=$(free_gb /host)"
if [ -d /host/datadir ]; then
  mount=no
  while read -r _ point _; do if [ "$point" = /host/datadir ]; then mount=yes; fi; done </proc/mounts
  data=no
  if [ -e /host/datadir/WiredTiger ]; then data=yes; fi
  size=$(df -P -k /host/datadir | { read -r _; read -r _ total _ && echo $((total / 1048576)); })
  line+=" datadir=$mount datadir_gb=$size datadir_free_gb=$(free_gb /host/datadir) datadir_has_data=$data"
else
  line+=" datadir=missing"
fi
used=
for port in "$@"; do
  if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then used+=${used:+,}$port; fi
done
echo "$line ports_used=${used:-none}"
