# shellcheck shell=bash
# A container image without a registry and without a Docker daemon: the root folder of one layer becomes an archive that `docker load`
# (and `ctr images import`) takes. The same root gives the same bytes.

# copy_program ROOT PROGRAM [PATH-IN-IMAGE]: the program and the libraries that it is linked with.
copy_program() {
  local root=$1 program inside library
  program=$(command -v "$2") || fail "there is no program $2: install it first"
  inside=${3:-$program}
  [ -e "$root$inside" ] || install -D -m 0755 "$(readlink -f "$program")" "$root$inside"
  for library in $(ldd "$program" 2>/dev/null | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (.*/\1/p'); do
    copy_library "$root" "$library"
  done
}

copy_library() { # root, path
  [ -e "$1$2" ] || install -D -m 0755 "$(readlink -f "$2")" "$1$2"
}

# Folders that programs expect, and the accounts that ours run as.
base_root() { # root
  local root=$1
  mkdir -p "$root/etc" "$root/tmp" "$root/run" "$root/proc" "$root/sys" "$root/dev"
  chmod 1777 "$root/tmp"
  cat >"$root/etc/passwd" <<'PASSWD'
root:x:0:0:root:/:/sbin/nologin
tango:x:10001:10001:tango:/:/sbin/nologin
mongo:x:10002:10002:mongo:/:/sbin/nologin
objects:x:10003:10003:objects:/:/sbin/nologin
PASSWD
  cat >"$root/etc/group" <<'GROUP'
root:x:0:
tango:x:10001:
mongo:x:10002:
objects:x:10003:
GROUP
  echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
}

copy_certificates() { # root
  local bundle
  for bundle in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt; do
    if [ -e "$bundle" ]; then
      install -D -m 0644 "$(readlink -f "$bundle")" "$1/etc/ssl/certs/ca-certificates.crt"
      return 0
    fi
  done
  fail "there are no certificates of authorities on this machine: install the package ca-certificates"
}

# write_archive ROOT FILE NAME:TAG CONFIG: CONFIG is the "config" object of the image (JSON). The file is a gzip-compressed archive.
write_archive() {
  local root=$1 file=$2 name=$3 config=$4 work layer image_id size
  work=$(mktemp -d)
  tar --create --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --directory "$root" --file "$work/layer.tar" .
  layer=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
  jq --null-input --compact-output --arg layer "sha256:$layer" --argjson config "$config" '{
      architecture: "amd64", os: "linux", created: "1970-01-01T00:00:00Z", config: $config,
      rootfs: {type: "layers", diff_ids: [$layer]},
      history: [{created: "1970-01-01T00:00:00Z", created_by: "deploy/images/build.sh"}]
    }' >"$work/config.json"
  image_id=$(sha256sum "$work/config.json" | cut -d' ' -f1)
  mkdir "$work/$layer"
  mv "$work/layer.tar" "$work/$layer/layer.tar"
  echo 1.0 >"$work/$layer/VERSION"
  mv "$work/config.json" "$work/$image_id.json"
  jq --null-input --compact-output --arg name "$name" --arg config "$image_id.json" --arg layer "$layer/layer.tar" \
    '[{Config: $config, RepoTags: [$name], Layers: [$layer]}]' >"$work/manifest.json"
  mkdir -p "$(dirname "$file")"
  # What describes the image comes first, where install.sh finds it at once.
  tar --create --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --directory "$work" manifest.json "$image_id.json" "$layer" | gzip --no-name -1 >"$file.new"
  mv "$file.new" "$file"
  size=$(du -sh "$root" | cut -f1)
  rm -rf "$work"
  echo "$file: $name, $size unpacked, sha256:${image_id:0:12}"
}
