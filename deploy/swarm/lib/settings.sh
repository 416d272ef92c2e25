# shellcheck shell=bash
# Settings: conf/deploy.env (of the deployment) and conf/tango.env (of tango). Sourced; $root is the package's folder.
# shellcheck disable=SC2034,SC2154 # variables go to the stacks and come from the scripts

conf=$root/conf
version=$(head -n 1 "$root/jop.version" 2>/dev/null || echo unknown)

# value_of NAME FILE: as tango reads it; empty when it is not set.
value_of() { [ ! -e "$2" ] || sed -n "s/^[[:space:]]*$1[[:space:]]*=//p" "$2" | tail -n 1 | sed 's/[[:space:]]*$//'; }

# The image of the package whose archive begins with NAME.
packaged_image() { # name
  local file
  for file in "$root/images/$1"-*.tar.gz; do
    if [ -e "$file" ]; then image_of_archive "$file"; fi
  done
}

image_of_archive() { # file, as NAME-TAG.tar.gz
  local name
  name=$(basename "$1" .tar.gz)
  sed -E 's/^(jop_tango|tango_mongo|tango_objects)-/\1:/' <<<"$name"
}

read_deploy_env() {
  local line name value number=0
  [ -e "$conf/deploy.env" ] || fail "$conf/deploy.env is missing: unpack the package again, or copy it from another node"
  while IFS= read -r line || [ -n "$line" ]; do
    number=$((number + 1))
    case $line in '' | \#*) continue ;; esac
    name=${line%%=*} value=${line#*=}
    [[ $line == *=* && $name =~ ^[A-Z][A-Z0-9_]*$ ]] || fail "$conf/deploy.env, line $number: expected NAME=value, found: $line"
    case $value in \"* | \'*) fail "$conf/deploy.env, line $number: $name has quotes; take them away" ;; esac
    value=${value%"${value##*[![:space:]]}"}
    # What the environment of the script says wins.
    if [ -z "${!name:-}" ] && [ -n "$value" ]; then export "$name=$value"; fi
  done <"$conf/deploy.env"
  export TANGO_IMAGE=${TANGO_IMAGE:-$(packaged_image jop_tango)}
  export MONGO_IMAGE=${MONGO_IMAGE:-$(packaged_image tango_mongo)}
  export OBJECTS_IMAGE=${OBJECTS_IMAGE:-$(packaged_image tango_objects)}
  [ -n "$TANGO_IMAGE" ] || fail "no image of tango: images/ of the package is empty and TANGO_IMAGE in $conf/deploy.env too"
  S3_ENDPOINT=$(value_of S3_ENDPOINT "$conf/tango.env")
  S3_BUCKET=$(value_of S3_BUCKET "$conf/tango.env")
  S3_REGION=$(value_of S3_REGION "$conf/tango.env")
  S3_REGION=${S3_REGION:-us-east-1}
  export S3_REGION
  # Elsewhere than on these nodes.
  external_mongo=no external_objects=no
  if [ -n "$(value_of MONGODB_URL "$conf/tango.env")" ]; then external_mongo=yes; fi
  if [ -n "$(value_of S3_ACCESS_KEY "$conf/tango.env")" ]; then external_objects=yes; fi
}

# What tango itself would refuse or object to in tango.env, and what the deployment needs of it. one_host=yes: the object store is inside, unless
# S3_ENDPOINT names one.
check_tango_env() {
  local file=$conf/tango.env answer
  if [ ! -e "$file" ]; then
    problem "$file is missing: copy it from the package, and set S3_ENDPOINT and HOST_DOMAIN"
    return
  fi
  local number=0 line
  while IFS= read -r line || [ -n "$line" ]; do
    number=$((number + 1))
    case $line in
      \#* | '') ;;
      *=\"*\" | *=\'*\') problem "$file, line $number: quotes would become part of the value; take them away: $line" ;;
      *[[:space:]]) problem "$file, line $number: there are blanks behind the value; take them away: ${line%%=*}" ;;
    esac
  done <"$file"
  case ${S3_ENDPOINT:-} in
    '') [ "${one_host:-no}" = yes ] || problem "S3_ENDPOINT is missing in $file: https://NAME:9000, the address under which browsers and connectors reach the nodes with the label minio=true" ;;
    https://?*) ;;
    http://*) problem "S3_ENDPOINT in $file is http://: it has to be https:// (now: $S3_ENDPOINT)" ;;
    *) problem "S3_ENDPOINT in $file has to be https://NAME:9000 (now: $S3_ENDPOINT)" ;;
  esac
  if [ "$dry_run" = no ] && [ ${#problems[@]} -eq 0 ] && docker image inspect "$TANGO_IMAGE" >/dev/null 2>&1; then
    # What a node of a cluster gets from the Swarm's secrets; one host has its stores inside.
    local secrets=(--env MONGODB_URL=mongodb://u:p@h/tango --env TOKEN_SECRET=0123456789012345678901234567890123456789
      --env S3_ACCESS_KEY=accesskey --env S3_SECRET_KEY=secretkey)
    if [ "${one_host:-no}" = yes ]; then secrets=(); fi
    if ! answer=$(docker run --rm -i --network none "${secrets[@]}" "$TANGO_IMAGE" --env-file /dev/stdin config check <"$file" 2>&1); then
      problem "$file: $(grep '^error' <<<"$answer" | head -n 3)"
    else
      grep '^warning' <<<"$answer" | sed 's/^warning: //' | while IFS= read -r line; do warn "$line"; done || true
    fi
  fi
}

# The password of the first user. tango asks for 8 characters; whoever sets up a cluster is asked for more.
check_password() { # password
  local lower
  lower=$(tr '[:upper:]' '[:lower:]' <<<"$1")
  if [ ${#1} -lt 12 ]; then
    problem "the password has ${#1} characters: use at least 12"
  elif ! grep -q '[[:alpha:]]' <<<"$1" || ! grep -q '[^[:alpha:]]' <<<"$1"; then
    problem "the password consists of one kind of characters: use letters and at least one digit or sign"
  elif grep -qE 'password|genesys|super_user|qwert|12345678|(.)\1{5}' <<<"$lower"; then
    problem "the password holds a word or sequence that is tried first by whoever guesses: choose another"
  fi
}
