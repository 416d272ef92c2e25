#!/usr/bin/env bash
# Makes the package tango-VERSION-linux.tar.gz: images, settings, scripts, charts. Installing from it needs no internet.
#
#   deploy/package.sh [--out FOLDER] [--version V] [--tango PROGRAM] [--mongod PROGRAM] [--garage PROGRAM] [--images FOLDER]
#                     [--settings FILE] [--dry-run]
#
#   --out FOLDER      where it is written (default: target/package)
#   --version V       of the package and of tango's image (default: what the program says)
#   --tango PROGRAM   (default: target/release/tango), --mongod and --garage: see deploy/images/build.sh --help
#   --images FOLDER   takes the archives in this folder in place of building images
#   --settings FILE   conf/tango.env of the package, when the program is of another version than these sources
#   --dry-run         says what it would make
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
fail() { echo "package.sh: $*" >&2; exit 1; }

out=$here/../target/package version='' tango=$here/../target/release/tango images='' dry_run=no settings=$here/../config/tango.env
others=()
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    --out) out=${2:?--out needs a folder}; shift ;;
    --version) version=${2:?--version needs a version}; shift ;;
    --tango) tango=${2:?--tango needs a program}; shift ;;
    --mongod | --garage) others+=("$1" "${2:?$1 needs a program}"); shift ;;
    --images) images=${2:?--images needs a folder}; shift ;;
    --settings) settings=${2:?--settings needs a file}; shift ;;
    --dry-run) dry_run=yes ;;
    *) fail "unknown option $1 (try --help)" ;;
  esac
  shift
done
[ -x "$tango" ] || fail "there is no program $tango: cargo build --profile dist, or name another with --tango"
[ -r "$settings" ] || fail "there is no file of settings $settings"
version=${version:-$("$tango" --version | cut -d' ' -f2)}
name=tango-$version-linux
if [ "$dry_run" = yes ]; then echo "would make $out/$name.tar.gz from $tango"; exit 0; fi

mkdir -p "$out"
work=$(mktemp -d -p "$out")
trap 'rm -rf "$work"' EXIT
package=$work/$name
mkdir -p "$package/images"

if [ -n "$images" ]; then
  cp "$images"/*.tar.gz "$package/images/"
else
  "$here/images/build.sh" --out "$package/images" --tango "$tango" --version "$version" "${others[@]}"
fi
[ -e "$package/images/jop_tango-$version.tar.gz" ] || fail "the images lack jop_tango-$version.tar.gz"

echo "$version" >"$package/jop.version"
cp -r "$here/conf" "$package/conf"
cp "$settings" "$package/conf/tango.env"
cp -r "$here/swarm" "$package/ha-scripts"
for part in single-host:scripts helm:helm kubernetes:kubernetes nginx:ha-scripts/nginx haproxy:haproxy monitoring:monitoring systemd:systemd; do
  if [ -d "$here/${part%%:*}" ]; then cp -r "$here/${part%%:*}" "$package/${part#*:}"; fi
done
mkdir -p "$package/docs"
cp "$here/../docs/OPERATIONS.md" "$here/../LICENSE" "$here/../CHANGELOG.md" "$package/docs/"
find "$package" -name '.shellcheckrc' -delete
# The images that charts and manifests name.
for file in "$package"/helm/*/values.yaml "$package"/kubernetes/*.yaml; do
  if [ -e "$file" ]; then sed -i "s/jop_tango:CHANGE_ME/jop_tango:$version/" "$file"; fi
done
"$here/images/sbom.sh" --version "$version" >"$package/sbom.cdx.json"
# shellcheck disable=SC2094 # the list is not in itself
(cd "$package" && find . -type f ! -name SHA256SUMS ! -path './conf/*' -print0 | sort -z | xargs -0 sha256sum >SHA256SUMS)
tar --create --sort=name --owner=0 --group=0 --numeric-owner --directory "$work" "$name" | gzip --no-name -1 >"$out/$name.tar.gz.new"
mv "$out/$name.tar.gz.new" "$out/$name.tar.gz"
(cd "$out" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
echo "$out/$name.tar.gz: $(du -h "$out/$name.tar.gz" | cut -f1)"
