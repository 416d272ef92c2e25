# shellcheck shell=bash
# Processes that outlive this script: $dir/run/NAME.pid (process id and start time, so that a reused id is never taken
# for ours), NAME.command (to start it again as it was), $dir/logs/NAME.log. And free ports.
# shellcheck disable=SC2154 # $dir, $cache and the options are set by deploy/dev-cluster

fail() {
  printf 'dev-cluster: %s\n' "$*" >&2
  exit 1
}

# The state letter and the start time of a process: "S 12345". Nothing, and 1, when there is none.
state_of_pid() {
  local stat
  { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
  stat=${stat##*) }
  # shellcheck disable=SC2086 # split into fields on purpose
  set -- $stat
  echo "$1 ${20}"
}

# The state of one of our processes: running, suspended, dead (it ended by itself or was killed), or down.
state_of() {
  local pid started now
  [ -f "$dir/run/$1.pid" ] || { echo down; return; }
  read -r pid started <"$dir/run/$1.pid"
  now=$(state_of_pid "$pid") || { echo dead; return; }
  [ "${now#* }" = "$started" ] || { echo dead; return; }
  case ${now% *} in
    Z | X) echo dead ;;
    T | t) echo suspended ;;
    *) echo running ;;
  esac
}

pid_of() {
  local pid
  read -r pid _ <"$dir/run/$1.pid"
  echo "$pid"
}

names_of_processes() { # prefix
  local file
  for file in "$dir/run/$1"*.pid; do
    [ -e "$file" ] && basename "$file" .pid
  done
  return 0
}

# start_process NAME COMMAND...: in a session of its own, with its output in logs/NAME.log.
start_process() {
  local name=$1
  shift
  mkdir -p "$dir/run" "$dir/logs"
  printf '%q ' "$@" >"$dir/run/$name.command"
  start_process_again "$name"
}

start_process_again() {
  local name=$1 pid state command
  [ -f "$dir/run/$name.command" ] || fail "$name was never started in $dir"
  eval "command=($(<"$dir/run/$name.command"))"
  # No descriptor of ours is handed down: whoever waits for the end of this script's output would wait for the process.
  setsid "${command[@]}" </dev/null >>"$dir/logs/$name.log" 2>&1 8>&- 9>&- &
  pid=$!
  state=$(state_of_pid "$pid") || fail "$name ended at once: see $dir/logs/$name.log"
  echo "$pid ${state#* }" >"$dir/run/$name.pid"
}

# All are looked up before any gets the signal, so that they get it at the same time.
signal_processes() { # signal, names...
  local signal=$1 name pids=()
  shift
  for name in "$@"; do
    case $(state_of "$name") in
      down) fail "there is no $name in $dir" ;;
      dead) fail "$name is not running" ;;
      *) pids+=("$(pid_of "$name")") ;;
    esac
  done
  kill "-$signal" "${pids[@]}"
}

kill_processes() { # yes (at once) or no (in good order), names...
  local signal=TERM name
  if [ "$1" = yes ]; then signal=KILL; fi
  shift
  signal_processes "$signal" "$@"
  for name in "$@"; do
    wait_for_end "$name" 600 || fail "$name does not end (it is $(state_of "$name"))"
  done
}

# Returns when the processes run; whether they are ready is theirs to say.
restart_processes() {
  local name
  stop_processes 600 "$@"
  for name in "$@"; do start_process_again "$name"; done
}

show_logs() { # name
  local files=()
  [ -z "$1" ] || mapfile -t files < <(find "$dir/logs" -name "$1.log" -o -name "$1.*.log" 2>/dev/null | sort)
  [ ${#files[@]} -gt 0 ] || fail "logs of what? $(find "$dir/logs" -name '*.log' -printf '%f ' 2>/dev/null | sed 's/\.log//g')"
  tail -n 200 "${files[@]}"
}

# Waits up to so many tenths of a second for a process to have ended.
wait_for_end() { # name, tenths
  local i
  for ((i = 0; i < $2; i++)); do
    case $(state_of "$1") in down | dead) return 0 ;; esac
    sleep 0.1
  done
  return 1
}

# Ends processes: asks, waits, then forces. All are asked before any is waited for.
stop_processes() { # tenths of a second to wait, names...
  local tenths=$1 name
  shift
  for name in "$@"; do
    case $(state_of "$name") in
      running) kill -TERM "$(pid_of "$name")" 2>/dev/null || true ;;
      suspended) kill -KILL "$(pid_of "$name")" 2>/dev/null || true ;;
    esac
  done
  for name in "$@"; do
    if ! wait_for_end "$name" "$tenths"; then
      kill -KILL "$(pid_of "$name")" 2>/dev/null || true
      wait_for_end "$name" 50 || fail "$name (process $(pid_of "$name")) does not end"
    fi
    rm -f "$dir/run/$name.pid"
  done
}

stop_all_named() { # prefix
  local names
  mapfile -t names < <(names_of_processes "$1")
  [ ${#names[@]} = 0 ] || stop_processes 100 "${names[@]}"
}

# Ends whatever runs in $dir, without asking first.
end_all() {
  local name
  for name in $(names_of_processes ""); do
    case $(state_of "$name") in
      running | suspended) kill -KILL -- "-$(pid_of "$name")" 2>/dev/null || true ;; # with its children
    esac
  done
  for name in $(names_of_processes ""); do
    wait_for_end "$name" 50 || true
    rm -f "$dir/run/$name.pid"
  done
}

# Runs a function while nobody else does in $dir: `mongo start` and `s3 start` may run side by side.
one_at_a_time() {
  {
    flock 8
    "$@"
  } 8>"$dir/lock"
}

# Ends everything of $dir and removes it when the process $until_pid has ended, also when it was killed.
start_watchdog() { one_at_a_time start_watchdog_once; }

start_watchdog_once() {
  [ -n "$until_pid" ] || return 0
  case $(state_of watchdog) in running) return 0 ;; esac
  start_process watchdog bash "$here/watchdog.sh" "$until_pid" "$dir"
}

# free_ports N: N ports that nobody listens on and no other cluster of this machine has taken, below the range from which the
# kernel serves outgoing connections, so that a member that is down finds its port again.
free_ports() {
  python3 "$here/free_ports.py" "${TMPDIR:-/tmp}/tango-dev-ports-$(id -u)" "$dir" "$1"
}
