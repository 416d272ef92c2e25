# shellcheck shell=bash
# Secrets and the configuration of an installation, kept by the Swarm. They cannot be changed there, so a new content gets a new name, and
# the newest of a kind is the one that counts. Sourced.
# shellcheck disable=SC2154 # $conf and others come from settings.sh

secret_kinds='mongo_key mongodb_pem mongodb_url ca objects_pem objects_rpc_secret objects_admin_token s3_access_key s3_secret_key token_secret super_user_password tango_key tango_crt'

# current secret|config KIND: the newest one's name, or nothing.
current() {
  local ids
  ids=$(docker "$1" ls --quiet --filter "label=tango.kind=$2")
  [ -n "$ids" ] || return 0
  # shellcheck disable=SC2086 # one word an id
  docker "$1" inspect --format '{{.CreatedAt}} {{.Spec.Name}}' $ids | sed 's/ +0000 UTC//; s/^\([0-9-]*\) /\1T/' | sort | tail -n 1 | sed 's/.* //'
}

# put secret|config KIND FILE: becomes the newest of its kind, if it is not.
put() {
  local what=$1 kind=$2 file=$3 name now number=1
  now=$(current "$what" "$kind")
  name=tango_${kind}_$(sha256sum "$file" | cut -c1-8)
  case $now in "$name" | "$name"-*) return 0 ;; esac
  while docker "$what" inspect "$name" >/dev/null 2>&1; do
    number=$((number + 1))
    name=${name%-*}-$number
  done
  run docker "$what" create --label "tango.kind=$kind" --label "tango.node=$(hostname)" "$name" "$file" >/dev/null \
    || fail "the $what $name could not be given to the Swarm"
}

put_text() { # kind, text
  local file
  file=$(mktemp)
  printf '%s' "$2" >"$file"
  put secret "$1" "$file"
  rm -f "$file"
}

# Made once an installation, and kept in conf/secrets.env of this node, too: without TOKEN_SECRET a backup cannot be moved elsewhere.
make_secrets() { # members of the database
  local members=$1 hosts='' number file=$conf/secrets.env
  if [ ! -e "$file" ]; then
    (
      umask 077
      cat >"$file" <<SECRETS
# The secrets of this installation. Keep a copy in a safe place, above all of TOKEN_SECRET. The nodes get them from the Swarm.
MONGO_KEY=$(openssl rand -base64 378 | tr -d '\n')
MONGO_PASSWORD=$(openssl rand -hex 24)
TOKEN_SECRET=$(openssl rand -hex 32)
S3_ACCESS_KEY=GK$(openssl rand -hex 12)
S3_SECRET_KEY=$(openssl rand -hex 32)
OBJECTS_RPC_SECRET=$(openssl rand -hex 32)
OBJECTS_ADMIN_TOKEN=$(openssl rand -hex 32)
SECRETS
    ) || fail "$file cannot be written"
    say "made $file: keep a copy in a safe place"
  fi
  for ((number = 1; number <= members; number++)); do hosts+=${hosts:+,}mongo_mongo$number:27017; done
  put_text mongo_key "$(value_of MONGO_KEY "$file")"
  if [ "$external_mongo" = yes ]; then
    put_own mongodb_url MONGODB_URL "$conf/tango.env"
  else
    put_text mongodb_url "mongodb://tango:$(value_of MONGO_PASSWORD "$file")@$hosts/tango?authSource=admin&replicaSet=rs0&tls=true"
  fi
  put_text token_secret "$(value_of TOKEN_SECRET "$file")"
  put_text objects_rpc_secret "$(value_of OBJECTS_RPC_SECRET "$file")"
  put_text objects_admin_token "$(value_of OBJECTS_ADMIN_TOKEN "$file")"
  local of=$file
  if [ "$external_objects" = yes ]; then of=$conf/tango.env; fi
  put_own s3_access_key S3_ACCESS_KEY "$of"
  put_own s3_secret_key S3_SECRET_KEY "$of"
}

# A secret that may be in tango.env; where that was taken from what runs, it is the one that the Swarm has.
put_own() { # kind, name, file
  local value
  value=$(value_of "$2" "$3")
  if [ "$value" != "$is_secret" ]; then put_text "$1" "$value"; fi
}

# tango.env as every node sees it. The Swarm shows a configuration to everybody who may ask, and these have their secrets beside it.
is_secret='(secret)'
public_settings() { sed -E "s/^(MONGODB_URL|S3_ACCESS_KEY|S3_SECRET_KEY|TOKEN_SECRET|SUPER_USER_PASSWORD)=.+/\\1=$is_secret/" "$1"; }

# Files of conf/ that are here become the current ones.
put_files() {
  local authorities
  if [ -e "$conf/ca.pem" ]; then
    authorities=$(mktemp)
    cat "$conf/ca.pem" >"$authorities"
    # Authorities of a database or an object store of your own.
    if [ -e "$conf/extra-ca.pem" ]; then cat "$conf/extra-ca.pem" >>"$authorities"; fi
    put secret ca "$authorities"
    rm -f "$authorities"
  fi
  if [ -e "$conf/mongodb.pem" ]; then put secret mongodb_pem "$conf/mongodb.pem"; fi
  if [ -e "$conf/objects.pem" ]; then put secret objects_pem "$conf/objects.pem"; fi
  if [ -e "$conf/tango.crt" ] && [ -e "$conf/tango.key" ]; then
    put secret tango_crt "$conf/tango.crt"
    put secret tango_key "$conf/tango.key"
  fi
}

# tango.env of this node becomes everybody's. Another node's is only replaced when told so.
put_settings() {
  local now maker file
  file=$(mktemp)
  public_settings "$conf/tango.env" >"$file"
  now=$(current config env)
  if [ -n "$now" ]; then
    maker=$(docker config inspect --format '{{index .Spec.Labels "tango.node"}}' "$now")
    if ! docker config inspect --format '{{printf "%s" .Spec.Data}}' "$now" | cmp -s - <(cat "$file"; echo); then
      say "settings that change on all nodes:"
      diff <(docker config inspect --format '{{printf "%s" .Spec.Data}}' "$now" | grep -E '^[A-Z]' | hide_values | sort) \
        <(grep -E '^[A-Z]' "$file" | hide_values | sort) | grep '^[<>]' | sed 's/^</  before:/; s/^>/  now:   /' || true
      if [ "$maker" != "$(hostname)" ]; then
        confirm "The settings that run were given on $maker, and $conf/tango.env of this node is different. Use this node's? (Those that run, for this file: docker config inspect --format '{{printf \"%s\" .Spec.Data}}' $now.)" yes
      fi
    fi
  fi
  put config env "$file"
  rm -f "$file"
}

# Values that are secrets are not shown.
hide_values() { sed -E 's/^([A-Z0-9_]*(PASSWORD|SECRET|KEY|MONGODB_URL)[A-Z0-9_]*=).+/\1(hidden)/'; }

# What the stacks are told: SECRET_… and TANGO_ENV_CONFIG.
export_names() {
  local kind name
  for kind in $secret_kinds; do
    name=$(current secret "$kind")
    if [ -z "$name" ] && [ "$dry_run" = yes ]; then name=tango_$kind; fi
    export "SECRET_$(tr '[:lower:]' '[:upper:]' <<<"$kind")=$name"
  done
  TANGO_ENV_CONFIG=$(current config env)
  if [ -z "$TANGO_ENV_CONFIG" ] && [ "$dry_run" = yes ]; then TANGO_ENV_CONFIG=tango_env; fi
  [ -n "$TANGO_ENV_CONFIG" ] || fail "this Swarm has no installation of tango: start.sh -l -p PASSWORD makes one"
  export TANGO_ENV_CONFIG
}
