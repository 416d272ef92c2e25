#!/usr/bin/env bash
# A file of gigabytes under a cap of memory, by curl alone: signed multipart upload, completion, discovery, ingest.
#   tests/curl/large.sh [GIGABYTES, default 3] [MEGABYTES OF MEMORY, default 512]
# Not part of the test command: it needs four times the file's size on the disk (TMPDIR) and some minutes.
# The cap is a memory cgroup where one can be made (as root); the server's peak resident memory is checked everywhere.
source "$(dirname "$0")/client.sh"
gigabytes=${1:-3}
megabytes=${2:-512}

group=
for candidate in /sys/fs/cgroup/memory /sys/fs/cgroup; do
    made=$candidate/tango-large-$$
    mkdir "$made" 2>/dev/null || continue
    for limit in memory.limit_in_bytes memory.max; do
        if [ -w "$made/$limit" ] && echo $((megabytes << 20)) >"$made/$limit" 2>/dev/null; then
            group=$made
            launcher=(sh -c 'echo $$ >"$0/cgroup.procs"; exec "$@"' "$group")
            break 2
        fi
    done
    rmdir "$made"
done
leave_group() {
    clean_up
    [ -z "$group" ] || rmdir "$group" || true
}
trap leave_group EXIT
if [ -n "$group" ]; then
    step "the server is capped at $megabytes MB by a cgroup"
else
    step "no cgroup can be made here: only the peak is checked"
fi

step "make a CSV of $gigabytes GB"
awk 'BEGIN {
    srand(3)
    split("billing orders returns delivery contract", reasons, " ")
    for (row = 0; row < 500000; row++)
        printf "call-%d,agent-%d,customer-%d,%s,%d,%.3f,%s,2024-%02d-%02dT%02d:%02d:%02dZ\n", row, row % 900,
            int(rand() * 300000), reasons[1 + int(rand() * 5)], int(rand() * 3600), rand(),
            rand() < 0.6 ? "true" : "false",
            1 + int(rand() * 12), 1 + int(rand() * 28), int(rand() * 24), int(rand() * 60), int(rand() * 60)
}' >"$work/block"
block=$(stat -c %s "$work/block")
times=$(((gigabytes * 1000000000 + block - 1) / block))
{
    echo "call,agent,customer,reason,seconds,share,solved,started"
    for ((n = 0; n < times; n++)); do cat "$work/block"; done
} >"$work/large.csv"
lines=$((times * 500000))
rm "$work/block"

start_server
began=$SECONDS
upload "$work/large.csv" '"target":"dataset","name":"large"' true
took=$((SECONDS - began))
expect 200 GET "/api/v1/datasets/$dataset"
[ "$(member state)" = ready ] || fail "the dataset is $(member state)"
[ "$(member rows)" = "$lines" ] || fail "$(member rows) rows instead of $lines"
peak=$(($(sed -n 's/^VmHWM:[[:space:]]*\([0-9]*\) kB$/\1/p' "/proc/$server/status") / 1024))
step "$(stat -c %s "$work/large.csv") bytes, $lines rows in $(member segments) segments: $took s; peak resident memory $peak MB"
[ "$peak" -le "$megabytes" ] || fail "the server's peak resident memory is $peak MB"
if [ -n "$group" ]; then
    failures=$(cat "$group/memory.failcnt" 2>/dev/null || sed -n 's/^max //p' "$group/memory.events")
    step "the cap was reached $failures times and file cache given back: nothing was killed"
fi
printf 'large: passed\n'
