# shellcheck shell=bash
# The disk of a node is full, the clock of another one is off. Sourced by run.
# shellcheck disable=SC2154

# start.sh --check with the sizes of a laboratory, whose warnings are problems nevertheless.
strict_check() { on 1 env MIN_ROOT_FREE_GB=1 MIN_DATADIR_GB=1 bash "$(home 1)/ha-scripts/start.sh" --check; }

member_state() { in_tango_of 1 cluster status 2>/dev/null | sed -n "s/^mongo_mongo$1:27017 *: \(.*\)  health.*/\1/p"; }
member_is() { [[ $(member_state "$1") == "$2"* ]]; }
member_ends() { on 1 docker service ps --format '{{.CurrentState}}' "mongo_mongo$1" | grep -c ^Failed; }
member_has_ended() { [ "$(member_ends "$1")" -gt "$2" ]; } # number, how often before

# All that is left on node 3's /datadir is taken.
fill() {
  local answer
  if answer=$(on 3 dd if=/dev/zero of="/datadir/filler-$1" bs=64k status=none 2>&1); then failed "the disk was not filled"; fi
  grep -qF 'No space left on device' <<<"$answer" || failed "the disk was filled otherwise: $answer"
}

# Node 3 has a small /datadir (see step_machines), with a member of the database and an instance of the object store.
disk_is_full() {
  local free ended
  free=$(on 3 df --output=avail -m /datadir | tail -n 1)
  on 3 fallocate -l "$((free - 200))M" /datadir/filler-1
  expect_refusal "node-3-hostname: the disk with /datadir is full" strict_check
  expect_refusal "BAD  node-3-hostname: the disk with /datadir is full" script 1 status.sh
  expect_refusal "the disk of mongo_mongo3:27017 is full" in_tango_of 1 doctor
  start_load 20
  ended=$(member_ends 3) || true
  fill 2
  client append 10 || failed "appends while a disk is full"
  client upload 20 || failed "an upload while a disk is full"
  within 180 "the member on the full disk has ended" member_has_ended 3 "$ended"
  # Ended, it has left some room, in which it would begin again.
  fill 3
  client append 3 || failed "appends without the member whose disk is full"
  client upload 20 || failed "an upload without the member whose disk is full"
  client train || failed "a training while a disk is full"
  stop_load "the disk of a node full"
  expect_refusal "node-3-hostname: the disk with /datadir is full" strict_check
  expect_refusal "BAD  node-3-hostname: the disk with /datadir is full" script 1 status.sh
  on 3 rm /datadir/filler-1 /datadir/filler-2 /datadir/filler-3
  within 180 "there is room again and all is well" all_is_well 1
  client append 2 || failed "appends after a disk was full"
}

# What node 2 starts has a clock that is five minutes ahead, its member of the database among it.
clock_is_off() {
  local name=$work/clock
  echo 300 >"$work/node-2/clock"
  expect_refusal "the clocks of the nodes are up to" strict_check
  start_load 20
  kill_container 2 mongo_mongo2
  within 120 "the member of node 2 is back" member_is 2 SECONDARY
  in_tango_of 1 doctor >"$name" 2>&1 || true
  grep -E 'the clock of mongo_mongo2:27017 is (29|30)[0-9] s ahead of' "$name" || failed "doctor says nothing of a clock that is off: $(cat "$name")"
  expect_refusal "node-2-hostname ahead" script 1 status.sh
  client append 3 || failed "appends while a clock is off"
  client train || failed "a training while a clock is off"
  rm "$work/node-2/clock"
  kill_container 2 mongo_mongo2
  within 120 "the clock is right and all is well" all_is_well 1
  stop_load "the clock of a node five minutes ahead"
}
