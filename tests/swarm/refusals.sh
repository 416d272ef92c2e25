# shellcheck shell=bash
# What start.sh has to refuse, and by which words. Sourced by run.
# shellcheck disable=SC2154

label() { update_node "$1" --label-add "$2"; }
unlabel() { update_node "$1" --label-rm "$2"; }
# Of a node that has just come, the Swarm itself may be noting something down: then Docker refuses, and it is said again.
update_node() {
  local n=$1 answer
  shift
  until answer=$(on "$manager" docker node update "$@" "node-$n-hostname" 2>&1); do
    grep -q 'update out of sequence' <<<"$answer" || failed "docker node update $* on node $n: $answer"
  done
}
set_env() { sed -i "s|^$2=.*|$2=$3|" "$(home "$1")/conf/tango.env"; }

refusals() {
  local begin=(script 1 start.sh -l --force)
  expect_refusal "no node has the label mongo.replica" "${begin[@]}" -p "$password"
  label 1 mongo.replica=1
  label 2 mongo.replica=2
  expect_refusal "even number" "${begin[@]}" -p "$password"
  label 3 mongo.replica=2
  expect_refusal "is the label of several nodes" "${begin[@]}" -p "$password"
  label 3 mongo.replica=3
  label 1 worker=true
  expect_refusal "1 node(s) have the label worker=true" "${begin[@]}" -p "$password"
  label 2 worker=true
  label 3 worker=true
  expect_refusal "no node has the label minio=true" "${begin[@]}" -p "$password"
  for n in 1 2 3; do label $n minio=true; done
  expect_refusal "S3_ENDPOINT is missing" "${begin[@]}" -p "$password"
  set_env 1 S3_ENDPOINT http://$entrance:9000
  expect_refusal "it has to be https://" "${begin[@]}" -p "$password"
  set_env 1 S3_ENDPOINT https://$entrance:9000
  expect_refusal "-l needs the password" "${begin[@]}"
  expect_refusal "use at least 12" "${begin[@]}" -p short1
  expect_refusal "one kind of characters" "${begin[@]}" -p onlylettershere
  expect_refusal "tried first" "${begin[@]}" -p 'Password-12345'
  set_env 1 LOGIN_MESSAGES '"quoted"'
  expect_refusal "quotes would become part of the value" "${begin[@]}" -p "$password"
  set_env 1 LOGIN_MESSAGES 'blank '
  expect_refusal "there are blanks behind the value" "${begin[@]}" -p "$password"
  set_env 1 LOGIN_MESSAGES ''
  set_env 1 LOG_LEVEL LOUD
  expect_refusal "LOG_LEVEL" "${begin[@]}" -p "$password"
  set_env 1 LOG_LEVEL INFO
  # Disks of 252 GB are shared by everything here: without --force they are too full, or not.
  on 1 env MIN_ROOT_FREE_GB=100000 bash "$(home 1)/ha-scripts/start.sh" -l -p "$password" --check >"$work/disk.log" 2>&1 && failed "a full disk is not refused"
  grep -q 'GB are free on the root partition, and 100000 should be' "$work/disk.log" || failed "a full disk is not told: $(cat "$work/disk.log")"
  say "refused: too little disk, on every node: $(grep -c 'GB are free' "$work/disk.log") lines"
  on 2 mount -t tmpfs -o size=2g tmpfs /datadir
  expect_refusal "node-2-hostname: /datadir has 2 GB, and 50 are needed" on 1 env MIN_ROOT_FREE_GB=1 bash "$(home 1)/ha-scripts/start.sh" -l -p "$password" --check
  on 2 umount /datadir
  rm -f "$work/port.stop"
  on 2 python3 -c '
import os, socket, sys, time
taken = socket.create_server(("0.0.0.0", 3031))
while not os.path.exists(sys.argv[1]):
    time.sleep(0.1)' "$work/port.stop" &
  local taker=$!
  sleep 1
  expect_refusal "node-2-hostname: port(s) 3031 are taken" "${begin[@]}" -p "$password"
  touch "$work/port.stop"
  wait $taker
  # Data centres: a majority of the members in one of three is refused, in one of two is warned of.
  label 1 datacenter=a
  label 2 datacenter=a
  label 3 datacenter=b
  on 1 bash "$(home 1)/ha-scripts/start.sh" -l -p "$password" --force --check 2>&1 | grep -F "has 2 of the 3 members" || failed "two data centres are not warned of"
  expect_refusal "a majority" three_centres
  for n in 1 2 3; do unlabel $n datacenter; done
  expect_refusal "no installation yet" script 1 start.sh
}

# Of five members three in one of three data centres; no such Swarm is here, so the check is asked.
three_centres() {
  # shellcheck disable=SC2016 # expanded inside
  bash -c '
    here=$1/ha-scripts
    . "$here/lib/all.sh"
    members=5
    nodes=$(for n in 1 2 3 4 5; do echo "n$n 10.0.0.$n ready active reachable mongo.replica=$n,datacenter=$(cut -d, -f$n <<<a,a,a,b,c),"; done)
    check_data_centres
    no_problems "not started"' check "$(home 1)"
}
