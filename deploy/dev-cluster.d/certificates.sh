# shellcheck shell=bash
# One certificate authority a cluster, and certificates from it: $dir/tls/{ca,server,client}.pem.
# shellcheck disable=SC2154 # $dir is set by deploy/dev-cluster

# make_certificates ADDRESS...: for 127.0.0.1, ::1, localhost and the addresses given. Made once a folder; the servers' one again when it
# lacks an address.
make_certificates() { one_at_a_time make_certificates_once "$@"; }

make_certificates_once() {
  local tls_dir=$dir/tls names=IP:127.0.0.1,IP:::1,DNS:localhost address known
  need_command openssl openssl
  if [ -e "$tls_dir/names" ]; then names=$(<"$tls_dir/names"); fi
  known=$names
  for address in "$@"; do
    case ,$names, in *",IP:$address,"*) ;; *) names+=,IP:$address ;; esac
  done
  if [ ! -e "$tls_dir/client.pem" ]; then
    mkdir -p "$tls_dir"
    chmod 700 "$tls_dir"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/O=tango/OU=dev-cluster/CN=dev-cluster CA" \
      -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
      -keyout "$tls_dir/ca.key" -out "$tls_dir/ca.pem" 2>/dev/null
    sign_certificate client "/O=tango/OU=clients/CN=tango" "extendedKeyUsage=clientAuth"
  fi
  if [ ! -e "$tls_dir/server.pem" ] || [ "$names" != "$known" ]; then
    sign_certificate server "/O=tango/OU=servers/CN=localhost" "subjectAltName=$names" "extendedKeyUsage=serverAuth,clientAuth"
    echo "$names" >"$tls_dir/names"
  fi
}

# The name that the database gives to the user who presents client.pem.
# shellcheck disable=SC2034 # used by mongo.sh
client_certificate_name="CN=tango,OU=clients,O=tango"

# sign_certificate NAME SUBJECT EXTENSION...: tls/NAME.pem holds the certificate and its key.
sign_certificate() {
  local subject=$2 file=$dir/tls/$1
  shift 2
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$subject" -keyout "$file.key" -out "$file.csr" 2>/dev/null
  printf '%s\n' basicConstraints=critical,CA:FALSE keyUsage=critical,digitalSignature "$@" >"$file.extensions"
  openssl x509 -req -in "$file.csr" -CA "$dir/tls/ca.pem" -CAkey "$dir/tls/ca.key" -CAcreateserial -days 3650 \
    -extfile "$file.extensions" -out "$file.crt" 2>/dev/null
  cat "$file.crt" "$file.key" >"$file.pem"
  chmod 600 "$file.pem" "$file.key"
  rm "$file.csr" "$file.extensions"
}
