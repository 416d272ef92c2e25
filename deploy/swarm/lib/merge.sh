# shellcheck shell=bash
# tango.env of an installation, brought up to a new release: every line of yours stays as it is, settings that are new come behind them
# with their comments; settings that the release does not know any more are named, and those for which it has another value than you. Sourced.

# merge_env YOURS NEW-RELEASE'S: the merged file on standard output, what was done on standard error.
merge_env() {
  awk -v today="$(date +%Y-%m-%d)" '
    function name_of(line) {
      if (line !~ /^[[:space:]]*[A-Za-z_][A-Za-z0-9_]*[[:space:]]*=/) return ""
      sub(/[[:space:]]*=.*/, "", line)
      sub(/^[[:space:]]*/, "", line)
      return line
    }
    function value_of(line) {
      sub(/^[^=]*=/, "", line)
      sub(/[[:space:]]*$/, "", line)
      return line
    }
    # NAME_FILE=path is another way to set NAME.
    function is_set(name) { return (name in mine) || ((name "_FILE") in mine) || ("#" name in mine) }
    NR == FNR {
      print
      name = name_of($0)
      if (name != "") { mine[name] = NR; value[name] = value_of($0) }
      # A setting that was commented out is a decision, too.
      if ($0 ~ /^#[[:space:]]?[A-Z][A-Z0-9_]*=/) { name = $0; sub(/=.*/, "", name); gsub(/[#[:space:]]/, "", name); mine["#" name] = NR }
      next
    }
    # One block: its comments, then one or more settings.
    /^#/ { if (in_settings) { comments = ""; in_settings = 0 } comments = comments $0 "\n"; next }
    /^[[:space:]]*$/ { comments = ""; in_settings = 0; next }
    {
      name = name_of($0)
      if (name == "") next
      in_settings = 1
      known[name] = 1
      theirs = value_of($0)
      if ((name in value) && theirs != "" && value[name] != theirs && name !~ /PASSWORD|SECRET|KEY|URL/) print "kept: " name "=" value[name] " (this release has " theirs ")" > "/dev/stderr"
      if (is_set(name)) next
      if (!added++) printf "\n# ---------------------------------------------------------------- new on %s\n", today
      if (comments != shown) { printf "\n%s", comments; shown = comments }
      print
      mine[name] = -1
      print "added: " name > "/dev/stderr"
    }
    END {
      for (name in mine) {
        bare = name
        sub(/_FILE$/, "", bare)
        if (name !~ /^#/ && mine[name] > 0 && !(name in known) && !(bare in known)) print "no longer known, and without effect: " name " (line " mine[name] "; remove it when you like)" > "/dev/stderr"
      }
      if (!added) print "nothing new" > "/dev/stderr"
    }' "$1" "$2"
}
