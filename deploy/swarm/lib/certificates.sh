# shellcheck shell=bash
# One authority an installation, and certificates from it, where you gave none: conf/{ca,mongodb,objects}.pem, conf/tango.{crt,key}. Sourced.
# shellcheck disable=SC2154 # $conf comes from settings.sh

make_authority() {
  [ -e "$conf/ca.pem" ] && [ -e "$conf/ca.key" ] && return 0
  (
    umask 077
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/O=tango/CN=tango installation $(openssl rand -hex 4)" \
      -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
      -keyout "$conf/ca.key" -out "$conf/ca.pem" 2>/dev/null
  ) || fail "openssl could not make an authority in $conf"
  chmod 644 "$conf/ca.pem"
}

# sign NAME "DNS:a,IP:b": $conf/NAME.crt and $conf/NAME.key, for two years.
sign() {
  local file=$conf/$1
  (
    umask 077
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/O=tango/CN=$1" -keyout "$file.key" -out "$file.csr" 2>/dev/null
    printf '%s\n' basicConstraints=critical,CA:FALSE keyUsage=critical,digitalSignature "extendedKeyUsage=serverAuth,clientAuth" \
      "subjectAltName=$2" >"$file.extensions"
    openssl x509 -req -in "$file.csr" -CA "$conf/ca.pem" -CAkey "$conf/ca.key" -set_serial "0x$(openssl rand -hex 15)" -days 730 \
      -extfile "$file.extensions" -out "$file.crt" 2>/dev/null
  ) || fail "openssl could not make the certificate $file.crt"
  rm -f "$file.csr" "$file.extensions"
}

# The subjectAltName entry of a host name or an address.
alt_name() { if [[ $1 =~ ^[0-9.]+$ || $1 == *:* ]]; then echo "IP:$1"; else echo "DNS:$1"; fi; }

host_of_url() { sed -E 's|^[a-z]+://||; s|/.*$||; s|:[0-9]+$||; s|^\[(.*)\]$|\1|' <<<"$1"; }

# What is missing of the certificates. Yours are never written over.
make_certificates() { # names and addresses of the nodes
  local names=DNS:localhost,IP:127.0.0.1 one host
  command -v openssl >/dev/null || fail "openssl is missing: install it"
  make_authority
  for one in "$@"; do names+=,$(alt_name "$one"); done
  if [ ! -e "$conf/mongodb.pem" ]; then
    local members=$names number
    for number in 1 2 3 4 5 6 7; do members+=,DNS:mongo_mongo$number,DNS:mongo$number; done
    sign mongodb "$members"
    (umask 077; cat "$conf/mongodb.crt" "$conf/mongodb.key" >"$conf/mongodb.pem")
    rm "$conf/mongodb.crt" "$conf/mongodb.key"
    say "made $conf/mongodb.pem"
  fi
  if [ ! -e "$conf/objects.pem" ]; then
    host=$(host_of_url "$S3_ENDPOINT")
    sign objects "$names,DNS:objects,DNS:minio_server_minio,$(alt_name "$host")"
    (umask 077; cat "$conf/objects.crt" "$conf/objects.key" >"$conf/objects.pem")
    rm "$conf/objects.crt" "$conf/objects.key"
    say "made $conf/objects.pem for $host"
  fi
  if [ ! -e "$conf/tango.crt" ] && [ ! -e "$conf/tango.key" ]; then
    host=$(value_of HOST_DOMAIN "$conf/tango.env")
    sign tango "$names${host:+,$(alt_name "$host")}"
    chmod 644 "$conf/tango.crt"
    say "made $conf/tango.crt: clients have to be told to trust $conf/ca.pem. Put your own tango.crt and tango.key there for a public name"
  fi
}

# Whether a certificate is for a host name, or an address. (openssl takes a name that it is to check as an address for one that matches.)
is_for() { # file, host
  local check=-checkhost
  case $(alt_name "$2") in IP:*) check=-checkip ;; esac
  openssl x509 -in "$1" -noout $check "$2" 2>/dev/null | grep -q 'does match'
}

# What clients would refuse.
check_certificate() { # file, host name to be served or nothing
  local file=$1 host=${2:-} names
  [ -e "$file" ] || return 0
  if ! openssl x509 -in "$file" -noout 2>/dev/null; then
    problem "$file holds no certificate in PEM form"
    return
  fi
  openssl x509 -in "$file" -noout -checkend 0 >/dev/null || problem "$file has expired: put a new one there, then restart.sh"
  openssl x509 -in "$file" -noout -checkend $((30 * 86400)) >/dev/null || warn "$file expires within 30 days: $(openssl x509 -in "$file" -noout -enddate)"
  names=$(openssl x509 -in "$file" -noout -ext subjectAltName 2>/dev/null || true)
  if [ -z "$names" ]; then
    warn "$file has no subjectAltName: it is served, but clients that check names refuse it. This makes one that is right:
  openssl req -new -x509 -newkey rsa:4096 -nodes -days 365 -subj \"/CN=${host:-HOST}\" -addext \"subjectAltName=$(alt_name "${host:-HOST}")\" -keyout tango.key -out tango.crt"
  elif [ -n "$host" ] && ! is_for "$file" "$host"; then
    warn "$file is not for $host (HOST_DOMAIN); it is for: $(tail -n +2 <<<"$names" | sed 's/^ *//')"
  fi
}

check_key_pair() { # certificate, key
  [ -e "$1" ] && [ -e "$2" ] || return 0
  [ "$(openssl x509 -in "$1" -noout -pubkey 2>/dev/null)" = "$(openssl pkey -in "$2" -pubout 2>/dev/null)" ] \
    || problem "$1 and $2 do not belong together"
}
