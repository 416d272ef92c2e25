# shellcheck shell=bash
# How the scripts speak, ask and try things out. Sourced.

script=${script:-$(basename "$0")}
dry_run=${dry_run:-no}
force=${force:-no}
assume_yes=${assume_yes:-no}

say() { echo "$*"; }
warn() { echo "warning: $*" >&2; }
fail() { echo "$script: $*" >&2; exit 1; }

# Prints the comment at the head of a script.
usage() { sed -n '2,/^[^#]/{/^[^#]/d;/^$/d;s/^# \{0,1\}//p}' "$1"; }

# What has been done. With --dry-run it has not.
say_done() { if [ "$dry_run" = yes ]; then say "dry run: nothing was changed"; else say "$*"; fi; }

# Something that changes the system: with --dry-run it is only printed (not to standard output, which some callers throw away).
run() {
  if [ "$dry_run" = yes ]; then
    {
      printf 'would run:'
      printf ' %q' "$@"
      echo
    } >&2
  else
    "$@"
  fi
}

# What stands in the way, collected so that everything is said at once.
problems=()
problem() { problems+=("$*"); }
# What a laboratory may do without.
lab_problem() { if [ "$force" = yes ]; then warn "$*"; else problem "$* (--force goes on all the same, for laboratories)"; fi; }

# Ends when there are problems.
no_problems() { # what is not done
  local one
  [ ${#problems[@]} -gt 0 ] || return 0
  for one in "${problems[@]}"; do echo "  - $one" >&2; done
  fail "$1: ${#problems[@]} problem(s) above"
}

# confirm QUESTION WORD: goes on when WORD is typed; without a terminal, only with --yes.
confirm() {
  local typed
  if [ "$assume_yes" = yes ] || [ "$dry_run" = yes ]; then return 0; fi
  [ -t 0 ] || fail "$1 Nobody can be asked here: repeat with --yes if this is what you want. Nothing was changed"
  read -r -p "$1 Type $2: " typed
  [ "$typed" = "$2" ] || fail "nothing was changed"
}

# until_true SECONDS COMMAND...: false when it has not become true by then.
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 1
  done
}
