# shellcheck shell=bash
# To a second version and back under load, and a version that does not start. Sourced by run.
# shellcheck disable=SC2154

unpack_next() { # package
  local n
  for n in 1 2 3 4; do
    [ -e "$work/node-$n/pid" ] || continue
    tar -xzf "$1" -C "$work/node-$n/opt"
  done
}

# The scripts of another version's package.
next_script() { # node, version, script, arguments...
  local n=$1 folder=$work/node-$1/opt/tango-$2-linux/ha-scripts name=$3
  shift 3
  on "$n" bash "$folder/$name" "$@"
}

upgrades() {
  local next_version n image
  if [ -z "$next" ]; then
    mkdir -p "$work/next"
    "$project/deploy/package.sh" --out "$work/next" --version 9.9.9 >/dev/null
    next=$work/next/tango-9.9.9-linux.tar.gz
  fi
  next_version=$(tar -xOzf "$next" --wildcards '*/jop.version')
  unpack_next "$next"
  # Of the next version: a setting that is new, and one of ours that it does not know.
  local file=$work/node-1/opt/tango-$next_version-linux/conf/tango.env
  sed -i '/^SCORE_QUEUE_MS=/d' "$(home 1)/conf/tango.env"
  echo "OLD_SETTING=of mine" >>"$(home 1)/conf/tango.env"

  expect_refusal "does not start on every node" next_script 1 "$next_version" upgrade_gpr_services.sh --from "$(home 1)" --yes
  for n in 1 2 3 4; do
    [ -e "$work/node-$n/pid" ] || continue
    next_script $n "$next_version" install.sh --force >/dev/null 2>&1 || failed "install.sh of $next_version on node $n"
  done
  grep -q '^SCORE_QUEUE_MS=' "$file" || failed "the new setting is not in tango.env"
  grep -q '^OLD_SETTING=of mine' "$file" || failed "a line of ours is gone"
  grep -q "^HOST_DOMAIN=$entrance" "$file" || failed "our HOST_DOMAIN is gone"

  start_load
  next_script 1 "$next_version" upgrade_gpr_services.sh --from "$(home 1)" --yes || failed "upgrade"
  stop_load "upgrade to $next_version"
  image=$(on 1 docker service inspect --format '{{.Spec.TaskTemplate.ContainerSpec.Image}}' tango_tango)
  [ "$image" = "jop_tango:$next_version" ] || failed "the image is $image"
  client append 2 || failed "appends after the upgrade"

  # A version whose program starts and ends: it says its version, and nothing more.
  broken_image 6.6.6
  start_load 20
  expect_refusal "was taken back to jop_tango:$next_version" on 1 env TANGO_IMAGE=jop_tango:6.6.6 \
    bash "$work/node-1/opt/tango-$next_version-linux/ha-scripts/upgrade_gpr_services.sh" --yes
  stop_load "a version that does not start: taken back"
  within 120 "all is well" next_script 1 "$next_version" status.sh

  start_load
  script 1 upgrade_gpr_services.sh --from "$work/node-1/opt/tango-$next_version-linux" --yes || failed "downgrade"
  stop_load "back to $version"
  client append 2 || failed "appends after the downgrade"
}

# The image of the next version, but `server` ends at once.
broken_image() { # version
  local n root=$work/broken
  # shellcheck disable=SC2034 # for archive.sh
  fail() { failed "$@"; }
  # shellcheck source=/dev/null
  . "$project/deploy/images/lib/archive.sh"
  mkdir -p "$root"
  base_root "$root"
  copy_program "$root" bash /usr/bin/bash
  cat >"$root/usr/bin/tango" <<'TANGO'
#!/usr/bin/bash
case $1 in
  --version) echo "tango 6.6.6" ;;
  migrate | --env-file) echo ok ;;
  *) echo "error: this version does not start" >&2; exit 1 ;;
esac
TANGO
  chmod 0755 "$root/usr/bin/tango"
  write_archive "$root" "$work/broken.tar.gz" "jop_tango:$1" '{"User": "10001:10001", "Entrypoint": ["/usr/bin/tango"],
    "Healthcheck": {"Test": ["CMD", "/usr/bin/tango", "healthcheck"], "Interval": 2000000000}}' >/dev/null
  for n in 1 2 3 4; do
    if [ -e "$work/node-$n/pid" ]; then on $n docker load --quiet --input "$work/broken.tar.gz" >/dev/null; fi
  done
  rm -rf "$root"
}
