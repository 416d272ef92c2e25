#!/usr/bin/env bash
# watchdog.sh PID DIR: when the process PID has ended, kills what runs in DIR (see processes.sh) and removes DIR.
set -uo pipefail
until_pid=$1
dir=$2
# shellcheck source=/dev/null
. "$(dirname "${BASH_SOURCE[0]}")/processes.sh"

started=$(state_of_pid "$until_pid") && started=${started#* }
while state=$(state_of_pid "$until_pid") && [ "${state#* }" = "$started" ] && [ "${state% *}" != Z ] && [ -d "$dir" ]; do
  sleep 0.5
done
rm -f "$dir/run/watchdog.pid" # this one ends by itself
end_all
rm -rf "$dir"
