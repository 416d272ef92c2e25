#!/usr/bin/env bash
# Prints what tango consists of, as a CycloneDX document: every Rust package that is linked into it, by the lock file.
#
#   deploy/images/sbom.sh [--version V]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=unknown
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    --version) version=${2:?--version needs a version}; shift ;;
    *) echo "sbom.sh: unknown option $1 (try --help)" >&2; exit 1 ;;
  esac
  shift
done
cd "$here/../.."
# Not what only builds or tests it.
cargo tree --locked --offline --edges normal --prefix none --format '{p}|{l}' --target x86_64-unknown-linux-gnu \
  | sed 's/ (\*)$//; s/ (proc-macro)//' | sort -u \
  | jq --raw-input --slurp --arg version "$version" '{
      bomFormat: "CycloneDX", specVersion: "1.5", version: 1,
      metadata: {component: {type: "application", name: "tango", version: $version}},
      components: [split("\n")[] | select(. != "") | capture("^(?<name>[^ ]+) v(?<version>[^ |]+)[^|]*\\|(?<licence>.*)$") | select(.name != "tango")
        | {type: "library", name, version, purl: "pkg:cargo/\(.name)@\(.version)",
           licenses: (if .licence == "" then [] else [{expression: (.licence | gsub("/"; " OR "))}] end)}]
    }'
