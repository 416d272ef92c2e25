# shellcheck shell=bash
# An S3 service: process `s3` (s3s-fs or garage, both HTTP only), and `s3-front`, HAProxy, which speaks HTTPS for it.
# Settings in $dir/s3.env.
# shellcheck disable=SC2154 # $dir, $kind and the other options are set by deploy/dev-cluster

s3_start() {
  need_command haproxy haproxy
  need_command curl curl
  if [ -e "$dir/s3.env" ]; then
    s3_start_again
  else
    case ${kind:=s3s-fs} in
      s3s-fs | garage) s3_create ;;
      *) fail "--kind is s3s-fs or garage" ;;
    esac
  fi
  cat "$dir/s3.env"
}

s3_create() {
  "need_${kind/-/_}"
  make_certificates
  stop_all_named s3 # of a start that was given up half-way
  rm -rf "$dir/s3"
  mkdir -p "$dir/s3/data"
  echo "$kind" >"$dir/s3/kind"
  local ports secret access
  read -r -a ports <<<"$(free_ports 4)"
  secret=$(openssl rand -hex 32)
  access=GK$(openssl rand -hex 12) # the form that garage takes
  "s3_run_${kind/-/_}" "${ports[0]}" "$access" "$secret" "${ports[2]}" "${ports[3]}"
  s3_front "${ports[1]}" "${ports[0]}"
  start_watchdog
  s3_wait "https://127.0.0.1:${ports[1]}"
  if [ "$kind" = garage ]; then garage_set_up "$access" "$secret"; fi
  {
    echo "S3_ENDPOINT=https://127.0.0.1:${ports[1]}"
    echo "S3_HTTP_ENDPOINT=http://127.0.0.1:${ports[0]}"
    echo "S3_ACCESS_KEY=$access"
    echo "S3_SECRET_KEY=$secret"
    echo "S3_BUCKET=tango"
    echo "S3_REGION=us-east-1"
    echo "S3_CA_FILE=$dir/tls/ca.pem"
  } >"$dir/s3.env.new"
  chmod 600 "$dir/s3.env.new"
  s3_bucket tango
  mv "$dir/s3.env.new" "$dir/s3.env"
}

s3_start_again() {
  local name
  for name in s3 s3-front; do
    case $(state_of "$name") in down | dead) start_process_again "$name" ;; esac
  done
  start_watchdog
  s3_wait "$(sed -n 's/^S3_ENDPOINT=//p' "$dir/s3.env")"
}

s3_status() {
  [ -e "$dir/s3.env" ] || fail "there is no S3 service in $dir: deploy/dev-cluster s3 start --dir $dir"
  echo "s3 ($(<"$dir/s3/kind")) $(state_of s3)"
  echo "s3-front $(state_of s3-front)"
}

# A bucket for whoever has the key. CORS rules apply to buckets made this way, not to a key's own (garage).
s3_bucket() { # name
  case $(<"$dir/s3/kind") in
    s3s-fs) mkdir -p "$dir/s3/data/$1" ;;
    garage)
      garage_command bucket create "$1" >/dev/null
      garage_command bucket allow --read --write --owner "$1" --key tango >/dev/null
      ;;
  esac
}

# Any answer will do: without a signature it is a refusal.
s3_wait() { # url
  local i
  for ((i = 0; i < 300; i++)); do
    case $(curl --silent --cacert "$dir/tls/ca.pem" --output /dev/null --write-out '%{http_code}' "$1/" || true) in
      000 | 503) ;;
      *) return 0 ;;
    esac
    for name in s3 s3-front; do
      [ "$(state_of "$name")" = dead ] && fail "$name ended: $(tail -n 3 "$dir/logs/$name.log")"
    done
    sleep 0.1
  done
  fail "the S3 service does not answer at $1: see $dir/logs/s3.log and $dir/logs/s3-front.log"
}

s3_run_s3s_fs() { # port, access key, secret key
  start_process s3 "$s3s_fs" --host 127.0.0.1 --port "$1" --access-key "$2" --secret-key "$3" "$dir/s3/data"
}

s3_run_garage() { # port, access key, secret key, port of the cluster, port of administration
  mkdir -p "$dir/s3/metadata"
  cat >"$dir/s3/garage.toml" <<CONF
metadata_dir = "$dir/s3/metadata"
data_dir = "$dir/s3/data"
db_engine = "sqlite"
replication_factor = 1
rpc_bind_addr = "127.0.0.1:$4"
rpc_public_addr = "127.0.0.1:$4"
rpc_secret = "$(openssl rand -hex 32)"

[s3_api]
s3_region = "us-east-1"
api_bind_addr = "127.0.0.1:$1"

[admin]
api_bind_addr = "127.0.0.1:$5"
admin_token = "$(openssl rand -hex 32)"
CONF
  chmod 600 "$dir/s3/garage.toml"
  start_process s3 "$garage" --config "$dir/s3/garage.toml" server
}

garage_command() { "$garage" --config "$dir/s3/garage.toml" "$@" 2>>"$dir/logs/s3-set-up.log"; }

garage_set_up() { # access key, secret key
  local node i
  for ((i = 0; i < 100; i++)); do
    node=$(garage_command node id --quiet) && garage_command status >/dev/null && break
    sleep 0.1
  done
  [ -n "$node" ] || fail "garage does not answer: see $dir/logs/s3.log"
  {
    garage_command layout assign --zone here --capacity 100G "${node%%@*}"
    garage_command layout apply --version 1
    garage_command key import --yes -n tango "$1" "$2"
    garage_command key allow --create-bucket tango
  } >/dev/null
}

# HTTPS in front of a server that speaks HTTP only. s3s-fs knows no CORS, so that is answered here for it.
s3_front() { # own port, port behind
  local cors=""
  if [ "$kind" = s3s-fs ]; then
    cors='
  http-request return status 204 if METH_OPTIONS
  http-after-response set-header Access-Control-Allow-Origin "*"
  http-after-response set-header Access-Control-Allow-Methods "GET, PUT, POST, HEAD, DELETE"
  http-after-response set-header Access-Control-Allow-Headers "*"
  http-after-response set-header Access-Control-Expose-Headers "ETag, Content-Length, Content-Range"'
  fi
  cat >"$dir/s3/haproxy.cfg" <<CONF
global
  maxconn 2000

defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s

frontend https
  bind 127.0.0.1:$1 ssl crt $dir/tls/server.pem alpn http/1.1$cors
  default_backend s3

backend s3
  server s3 127.0.0.1:$2
CONF
  start_process s3-front haproxy -db -f "$dir/s3/haproxy.cfg"
}
