#!/usr/bin/env bash
# watchdog.sh PID DIR: when the process PID has ended, kills what runs in DIR (see processes.sh) and removes DIR.
set -uo pipefail
until_pid=$1
dir=$2
# shellcheck source=/dev/null
. "$(dirname "${BASH_SOURCE[0]}")/processes.sh"

tail --pid="$until_pid" --sleep-interval=0.5 -f /dev/null
for name in $(names_of_processes ""); do
  [ "$name" = watchdog ] && continue
  case $(state_of "$name") in
    running | suspended) kill -KILL "$(pid_of "$name")" ;;
  esac
done
for name in $(names_of_processes ""); do
  [ "$name" = watchdog ] || wait_for_end "$name" 50
done
rm -rf "$dir"
