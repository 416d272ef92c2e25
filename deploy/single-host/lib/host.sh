# shellcheck shell=bash
# What the scripts of one host share. Sourced with $here set to their folder.
# shellcheck disable=SC1090,SC1091,SC2034,SC2154
one_host=yes
root=$(cd "$here/.." && pwd)
swarm_scripts=$root/ha-scripts
[ -d "$swarm_scripts" ] || swarm_scripts=$root/swarm
for part in say settings merge certificates; do . "$swarm_scripts/lib/$part.sh"; done

need_docker() {
  command -v docker >/dev/null || fail "docker is missing: install Docker Engine 20.10 or newer"
  docker version >/dev/null 2>&1 || fail "the Docker daemon does not answer: start it (systemctl start docker)"
}

# `docker compose`, or the older docker-compose.
compose() {
  local files=(--file "$here/docker-compose.yml")
  if [ -e "$here/docker-compose.override.yml" ]; then files+=(--file "$here/docker-compose.override.yml"); fi
  if docker compose version >/dev/null 2>&1; then
    run docker compose --project-name tango "${files[@]}" "$@"
  elif command -v docker-compose >/dev/null; then
    run docker-compose --project-name tango "${files[@]}" "$@"
  else
    fail "neither 'docker compose' nor docker-compose is here: install Docker's compose plugin"
  fi
}

prepare() {
  need_docker
  read_deploy_env
  export CONF=$conf DATADIR=${DATADIR:-/datadir}
  export ALLOW_HTTP='' TLS_CERT_FILE=/data/ssl/tango.crt TLS_KEY_FILE=/data/ssl/tango.key
  scheme=https
  if ! grep -qsE '^[^#]*:/data/ssl/tango\.crt' "$here/docker-compose.yml" "$here/docker-compose.override.yml"; then
    export ALLOW_HTTP=True TLS_CERT_FILE='' TLS_KEY_FILE=''
    scheme=http
    warn "tango serves plain HTTP, as the certificate's lines in docker-compose.yml are commented out. For tests only"
  fi
}

is_healthy() { [ "$(docker inspect --format '{{.State.Health.Status}}' tango 2>/dev/null)" = healthy ]; }
restarts() { docker inspect --format '{{.RestartCount}}' tango 2>/dev/null || echo 0; }

# Waits no longer for a container that ends again and again.
wait_until_healthy() { # seconds
  local before
  [ "$dry_run" = no ] || return 0
  before=$(restarts)
  # shellcheck disable=SC2317 # called by until_true
  has_decided() { is_healthy || [ $(($(restarts) - before)) -ge 4 ]; }
  until_true "${1:-120}" has_decided || true
  is_healthy && return 0
  docker logs --tail 10 tango >&2 || true
  return 1
}
