# shellcheck shell=bash
# To a second version and back under load, and a version that does not start. Sourced by run.
# shellcheck disable=SC2154

unpack_next() { # package
  local n
  for n in 1 2 3 4; do
    [ -e "$work/node-$n/pid" ] || continue
    unpack "$n" "$1"
  done
}

# The scripts of another version's package.
next_script() { # node, version, script, arguments...
  local n=$1 folder=$work/node-$1/opt/tango-$2-linux/ha-scripts name=$3
  shift 3
  on "$n" bash "$folder/$name" "$@"
}

names_in() { grep -oE '^[A-Z][A-Z0-9_]*=' "$1" | sort; }

upgrades() {
  local next_version n image ours=$work/ours.env file log=$work/upgrade.log new name
  if [ -z "$next" ]; then
    mkdir -p "$work/next"
    # Another default than the first version's, and a setting that the first one's file has not (see step_machines).
    sed 's/^TOKEN_TTL_SECONDS=.*/TOKEN_TTL_SECONDS=28800/' "$project/config/tango.env" >"$work/next.env"
    # Database and object store are the same, so their images need not be made again.
    "$project/deploy/images/build.sh" --out "$work/next/images" --version 9.9.9 --mongod none --garage none "${program[@]}" >/dev/null
    ln -f "$(home 1)"/images/tango_{mongo,objects}-*.tar.gz "$work/next/images/"
    "$project/deploy/package.sh" --out "$work/next" --version 9.9.9 --settings "$work/next.env" --images "$work/next/images" "${program[@]}" >/dev/null
    next=$work/next/tango-9.9.9-linux.tar.gz
  fi
  next_version=$(tar -xOzf "$next" --wildcards '*/jop.version')
  [ "$next_version" != "$version" ] || failed "both packages are of the version $version"
  unpack_next "$next"
  file=$work/node-1/opt/tango-$next_version-linux/conf/tango.env
  new=$(comm -13 <(names_in "$(home 1)/conf/tango.env") <(names_in "$file"))
  [ -n "$new" ] || failed "the version $next_version has no setting that $version has not"
  # Ours: a line that no version knows, and a value of our own.
  echo "OLD_SETTING=of mine" >>"$(home 1)/conf/tango.env"
  sed -i 's/^SCORE_STATISTICS_DAYS=.*/SCORE_STATISTICS_DAYS=399/' "$(home 1)/conf/tango.env"
  cp "$(home 1)/conf/tango.env" "$ours"
  # And a file of each node in tango's container.
  printf '%s\n' 'version: "3.9"' 'services:' '  tango:' "    volumes: [\"$work/ca.pem:/custom_mount_point/ca.pem:ro\"]" >"$(home 1)/ha-scripts/swarm/tango-swarm.override.yml"

  expect_refusal "does not start on every node" next_script 1 "$next_version" upgrade_gpr_services.sh --from "$(home 1)" --yes
  local here_now=()
  for n in 1 2 3 4; do
    if [ -e "$work/node-$n/pid" ]; then here_now+=("$n"); fi
  done
  install_on "$next_version" "${here_now[@]}"
  head -n "$(wc -l <"$ours")" "$file" | cmp --silent - "$ours" || failed "lines of ours were changed in $file"
  for name in $new; do grep -q "^$name" "$file" || failed "the new setting $name is not in tango.env"; done

  start_load
  migration_is_cut_off "$next_version"
  next_script 1 "$next_version" upgrade_gpr_services.sh --from "$(home 1)" --yes >"$log" 2>&1 || { cat "$log"; failed "upgrade"; }
  stop_load "upgrade from $version to $next_version"
  image=$(on 1 docker service inspect --format '{{.Spec.TaskTemplate.ContainerSpec.Image}}' tango_tango)
  [ "$image" = "jop_tango:$next_version" ] || failed "the image is $image"
  on 1 docker config ls --quiet --filter label=tango.kind=env >/dev/null
  for name in $new; do
    on 1 docker exec "$(container 1 tango_tango)" /usr/bin/tango config check | grep -E "^${name%=} .*tango\.env" || failed "the new setting $name has no effect"
  done
  on 1 docker exec "$(container 1 tango_tango)" /usr/bin/tango config check | grep -E '^SCORE_STATISTICS_DAYS +399 ' || failed "our value is gone"
  for n in "${here_now[@]}"; do has_mount "$n" tango_tango /custom_mount_point/ca.pem || failed "the override has no effect on node $n after the upgrade"; done
  client append 2 || failed "appends after the upgrade"
  client train || failed "training after the upgrade"

  # A version whose program starts and ends: it says its version, and nothing more.
  broken_image 6.6.6
  start_load 20
  expect_refusal "was taken back to jop_tango:$next_version" on 1 env TANGO_IMAGE=jop_tango:6.6.6 \
    bash "$work/node-1/opt/tango-$next_version-linux/ha-scripts/upgrade_gpr_services.sh" --yes
  stop_load "a version that does not start: taken back"
  within 120 "all is well" next_script 1 "$next_version" status.sh

  start_load
  script 1 upgrade_gpr_services.sh --from "$work/node-1/opt/tango-$next_version-linux" --yes >"$log" 2>&1 || { cat "$log"; failed "downgrade"; }
  stop_load "back from $next_version to $version"
  for name in $new; do grep -F "no longer known, and without effect: ${name%=} " "$log" || failed "the setting $name, which $version does not know, is not told"; done
  image=$(on 1 docker service inspect --format '{{.Spec.TaskTemplate.ContainerSpec.Image}}' tango_tango)
  [ "$image" = "jop_tango:$version" ] || failed "the image is $image"
  client append 2 || failed "appends after the downgrade"
  client train || failed "training after the downgrade"
}

# While most members of the database hang, the job that brings the schema up to date is killed. What ran goes on, and the upgrade is repeated.
migration_is_cut_off() { # version
  local n member log=$work/migration.log upgrading killed='' before
  before=$(on 1 docker service inspect --format '{{.Version.Index}}' tango_tango)
  # That the new image starts everywhere is found out first.
  for member in 1 2; do signal_container "$(service_node mongo_mongo$member)" mongo_mongo$member STOP; done
  next_script 1 "$1" upgrade_gpr_services.sh --from "$(home 1)" --yes >"$log" 2>&1 &
  upgrading=$!
  for _ in $(seq 600); do
    n=$(service_node tango_migrate 2>/dev/null) || n=
    if [ -n "$n" ] && [ -n "$(container "$n" tango_migrate)" ]; then
      kill_container "$n" tango_migrate
      killed=yes
      break
    fi
    [ -d "/proc/$upgrading" ] || break
    sleep 0.1
  done
  for member in 1 2; do signal_container "$(service_node mongo_mongo$member)" mongo_mongo$member CONT; done
  [ -n "$killed" ] || { cat "$log"; failed "no migration was there to be killed"; }
  if wait "$upgrading"; then failed "the upgrade does not tell that its migration was killed"; fi
  grep -F "goes on. Run this again" "$log" || { cat "$log"; failed "the upgrade with a killed migration says something else"; }
  [ "$(on 1 docker service inspect --format '{{.Version.Index}}' tango_tango)" = "$before" ] || failed "tango was changed although the migration was killed"
  say "a migration was killed: what ran goes on"
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
