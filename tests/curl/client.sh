# What both scripts share: a server of their own, and the API by `curl` alone. Sourced, not run.
# Needs curl, coreutils, sed, grep. Ends the script with a message on any surprise.

set -Eeuo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
data=${TANGO_TEST_DATA:-$root/../shared/data}
work=$(mktemp -d)
server=
token=
# Words before the server's command.
launcher=()

fail() {
    printf 'FAILED: %s\n' "$*" >&2
    [ -s "$work/log" ] && { printf -- '--- the server said:\n' >&2; tail -n 20 "$work/log" >&2; }
    exit 1
}

step() { printf '%s\n' "- $*"; }

clean_up() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap clean_up EXIT
trap 'fail "line $LINENO of ${BASH_SOURCE[0]##*/}"' ERR

# The test data is not part of the project: without it there is nothing to do.
need_data() {
    for file in "$@"; do
        if [ ! -r "$data/$file" ]; then
            printf 'skipped: %s is not there (set TANGO_TEST_DATA to the folder that has it)\n' "$data/$file"
            exit 0
        fi
    done
}

# Starts a server on free ports in a folder of its own; sets url.
start_server() {
    local tango=${TANGO:-}
    if [ -z "$tango" ]; then
        for candidate in "$root/target/release/tango" "$root/target/debug/tango"; do
            [ -x "$candidate" ] && tango=$candidate && break
        done
    fi
    [ -x "$tango" ] || fail "no tango program: build it (cargo build --release), or name it in TANGO"
    step "start $tango"
    (
        cd "$work"
        LISTEN=127.0.0.1:0 S3_LISTEN=127.0.0.1:0 DATA_DIR=$work/data SUPER_USER_PASSWORD="a password for curl" \
            exec "${launcher[@]}" "$tango" >"$work/out" 2>"$work/log"
    ) &
    server=$!
    local tries=0
    until url=$(sed -n 's/^ *web application *\(http[^ ]*\).*/\1/p' "$work/out" | head -n 1) && [ -n "$url" ]; do
        kill -0 "$server" 2>/dev/null || fail "the server ended"
        tries=$((tries + 1))
        [ "$tries" -lt 600 ] || fail "the server does not say its address"
        sleep 0.1
    done
    expect 200 GET /login
    local body='{"username":"super_user@genesys.com","password":"a password for curl"}'
    expect 200 POST /api/v1/auth/login "$body"
    token=$(member token)
}

# expect STATUS METHOD PATH [BODY]: the answer's body is in $work/answer.
expect() {
    local wanted=$1 method=$2 path=$3 status
    local arguments=(--silent --show-error --max-time 120 --output "$work/answer" --write-out '%{http_code}' -X "$method")
    [ -n "$token" ] && arguments+=(-H "Authorization: Bearer $token")
    [ $# -ge 4 ] && arguments+=(-H 'Content-Type: application/json' --data-binary "$4")
    status=$(curl "${arguments[@]}" "$url$path") || fail "$method $path: no answer"
    [ "$status" = "$wanted" ] || fail "$method $path: $status instead of $wanted: $(head -c 2000 "$work/answer")"
}

# member NAME: the first text, number or word under that name in the last answer.
member() {
    local value
    value=$(grep -o "\"$1\" *: *\(\"[^\"]*\"\|[-0-9.eE+]*\|true\|false\|null\)" "$work/answer" | head -n 1 |
        sed "s/^\"$1\" *: *//; s/^\"//; s/\"\$//") || true
    [ -n "$value" ] || fail "the answer has no member $1: $(head -c 2000 "$work/answer")"
    printf '%s' "$value"
}

# measured NAME: the value of an estimate, such as {"high":0.7,"low":0.6,"value":0.65}, in the last answer.
measured() {
    local value
    value=$(grep -o "\"$1\" *: *{[^}]*}" "$work/answer" | head -n 1 | sed -n 's/.*"value" *: *\([-0-9.eE+]*\).*/\1/p') || true
    [ -n "$value" ] || fail "the answer has no estimate $1: $(head -c 2000 "$work/answer")"
    printf '%s' "$value"
}

# wait_for_job ID: until it succeeded.
wait_for_job() {
    local id=$1 state tries=0
    while :; do
        expect 200 GET "/api/v1/jobs/$id"
        state=$(member state)
        case $state in
            succeeded) return ;;
            queued | running) ;;
            *) fail "job $id is $state: $(cat "$work/answer")" ;;
        esac
        tries=$((tries + 1))
        [ "$tries" -lt 9000 ] || fail "job $id does not end"
        sleep 0.2
    done
}

# upload FILE JSON-MEMBERS ACCEPT: PUTs every part to its presigned URL and completes; sets dataset.
upload() {
    local file=$1 members=$2 accept=$3 id size offset=0 parts= line number part_url part_size etag
    size=$(stat -c %s "$file")
    step "upload $(basename "$file"), $size bytes"
    expect 201 POST /api/v1/uploads "{$members,\"filename\":\"$(basename "$file")\",\"size_bytes\":$size,\"mode\":\"create\"}"
    id=$(member id)
    # One part a line: every part has a number, a url and a size, in any order.
    grep -o '"parts" *: *\[.*\]' "$work/answer" | sed 's/},{/}\n{/g' | sed 's/} *, *{"/}\n{"/g' >"$work/parts"
    while IFS= read -r line; do
        number=$(printf '%s' "$line" | sed 's/.*"number" *: *\([0-9]*\).*/\1/')
        part_size=$(printf '%s' "$line" | sed 's/.*"size_bytes" *: *\([0-9]*\).*/\1/')
        part_url=$(printf '%s' "$line" | sed 's/.*"url" *: *"\([^"]*\)".*/\1/; s/\\u0026/\&/g')
        : >"$work/headers"
        printf '%s' "$line" | sed -n 's/.*"headers" *: *{\([^}]*\)}.*/\1/p' | sed 's/","/"\n"/g' |
            sed -n 's/^ *"\([^"]*\)" *: *"\([^"]*\)".*/header = "\1: \2"/p' >"$work/headers"
        tail -c "+$((offset + 1))" "$file" | head -c "$part_size" >"$work/part" || true
        etag=$(curl --silent --show-error --max-time 300 -K "$work/headers" -H 'Content-Type:' -H 'Expect:' \
            --upload-file "$work/part" --dump-header - --output "$work/put" "$part_url" |
            tr -d '\r' | sed -n 's/^[Ee][Tt][Aa][Gg]: *//p' | sed 's/"//g') || fail "part $number could not be sent"
        [ -n "$etag" ] || fail "part $number was refused: $(head -c 2000 "$work/put")"
        parts="$parts${parts:+,}{\"number\":$number,\"etag\":\"$etag\"}"
        offset=$((offset + part_size))
    done <"$work/parts"
    [ "$offset" = "$size" ] || fail "the parts cover $offset of $size bytes"
    expect 202 POST "/api/v1/uploads/$id/complete" "{\"parts\":[$parts],\"accept_schema\":$accept}"
    local job
    job=$(member job_id)
    dataset=
    if grep -q '"dataset_id" *: *"' "$work/answer"; then dataset=$(member dataset_id); fi
    wait_for_job "$job"
}

# set_roles ROLE:FIELD…: every other field keeps the role that was discovered, unless it is named.
set_roles() {
    expect 200 GET "/api/v1/datasets/$dataset/schema"
    local fields= line name type role entry
    grep -o '"fields" *: *\[.*\]' "$work/answer" | sed 's/{"name"/\n{"name"/g' | grep '^{"name"' >"$work/fields"
    while IFS= read -r line; do
        name=$(printf '%s' "$line" | sed 's/^{"name" *: *"\([^"]*\)".*/\1/')
        type=$(printf '%s' "$line" | sed 's/.*"type" *: *"\([A-Za-z]*\)".*/\1/')
        role=context
        for entry in "$@"; do
            [ "${entry#*:}" = "$name" ] && role=${entry%%:*}
        done
        fields="$fields${fields:+,}{\"name\":\"$name\",\"type\":\"$type\",\"role\":\"$role\"}"
    done <"$work/fields"
    [ -n "$fields" ] || fail "the schema has no fields: $(head -c 2000 "$work/answer")"
    expect 200 PUT "/api/v1/datasets/$dataset/schema" "{\"fields\":[$fields]}"
}

accept_schema() {
    step "accept the schema"
    expect 202 POST "/api/v1/datasets/$dataset/schema/accept" '{}'
    wait_for_job "$(member job_id)"
    expect 200 GET "/api/v1/datasets/$dataset"
    [ "$(member state)" = ready ] || fail "the dataset is not ready: $(cat "$work/answer")"
    rows=$(member rows)
    step "$rows rows are there"
}

# train_and_activate PREDICTOR TYPE SETTINGS: sets model; its quality is in $work/quality.
train_and_activate() {
    step "train a $2 model"
    expect 201 POST "/api/v1/predictors/$1/models" "{\"name\":\"$2\",\"type\":\"$2\",\"settings\":$3}"
    model=$(member id)
    expect 202 POST "/api/v1/models/$model/train" '{}'
    wait_for_job "$(member job_id)"
    expect 200 POST "/api/v1/models/$model/activate" '{}'
    [ "$(member active)" = true ] || fail "the model is not active"
    expect 200 GET "/api/v1/models/$model/quality"
}

# at_least VALUE BOUND WHAT
at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -g | head -n 1)" = "$2" ] || fail "$3 is $1, expected at least $2"
}
