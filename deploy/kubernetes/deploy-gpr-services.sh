#!/usr/bin/env bash
# Deploys tango on Kubernetes with Helm: secrets and certificates, storage, the database, then the releases gpr, worker-analysis,
# worker-dataset-upload, worker-model-training and worker-purging. Repeating it brings everything up to conf/ and the charts.
#
#   bash kubernetes/deploy-gpr-services.sh [-s PROVISIONER -m MONGODB-CLASS -c OBJECT-STORE-CLASS] [-p PASSWORD] [-n NAMESPACE] [--dry-run]
#
#   -s PROVISIONER          volumes are made by this provisioner; without it they are local folders of the nodes: /datadir/mongodb (database) and
#                           /datadir/objects (object store), which have to be there
#   -m, -c CLASS            names of the storage classes of the database and of the object store (default: tango-mongodb, tango-objects)
#   -p PASSWORD             of super_user@genesys.com, the first time; - reads it from standard input
#   -n NAMESPACE            (default: default)
#   --dry-run               prints what would be applied; needs no cluster
#
# Nodes: label gpr-apps=true where tango is to run, worker=true where workers are to run. Images: ha-scripts/install.sh -s on every node.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/.." && pwd)
swarm_scripts=$root/ha-scripts
[ -d "$swarm_scripts" ] || swarm_scripts=$root/swarm
for part in say settings certificates secrets; do
  # shellcheck source=/dev/null
  . "$swarm_scripts/lib/$part.sh"
done

provisioner='' mongodb_class=tango-mongodb objects_class=tango-objects password='' namespace=default
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage "$0"; exit 0 ;;
    -s) provisioner=${2:?-s needs a provisioner}; shift ;;
    -m) mongodb_class=${2:?-m needs a name}; shift ;;
    -c) objects_class=${2:?-c needs a name}; shift ;;
    -n) namespace=${2:?-n needs a name}; shift ;;
    -p)
      password=${2:?-p needs a password}
      shift
      if [ "$password" = - ]; then IFS= read -r password || true; fi
      ;;
    --dry-run) dry_run=yes ;;
    *) fail "unknown option $1 (try --help)" ;;
  esac
  shift
done

kube() { kubectl --namespace "$namespace" "$@"; }
apply() { if [ "$dry_run" = yes ]; then echo "---"; cat; else kube apply --filename -; fi; }

read_deploy_env
case ${S3_ENDPOINT:-} in
  https://?*) ;;
  *) problem "S3_ENDPOINT in $conf/tango.env has to be https://NODE:32646, the address under which browsers and connectors reach a node (now: ${S3_ENDPOINT:-empty})" ;;
esac
[ ${#problems[@]} -gt 0 ] || check_tango_env
if [ "$dry_run" = no ]; then
  for command in kubectl helm openssl; do command -v $command >/dev/null || problem "$command is missing: install it on this node"; done
  no_problems "not deployed"
  kube get nodes >/dev/null 2>&1 || fail "kubectl does not reach the cluster: kubectl get nodes"
  tango_nodes=$(kube get nodes --selector gpr-apps=true --output 'jsonpath={range .items[*]}{.metadata.labels.kubernetes\.io/hostname}{"\n"}{end}')
  worker_nodes=$(kube get nodes --selector worker=true --output name)
  [ "$(grep -c . <<<"$tango_nodes")" -ge 3 ] || problem "$(grep -c . <<<"$tango_nodes") node(s) have the label gpr-apps=true: three are needed for the database and the object store: kubectl label nodes NODE gpr-apps=true"
  [ "$(grep -c . <<<"$worker_nodes")" -ge 2 ] || problem "$(grep -c . <<<"$worker_nodes") node(s) have the label worker=true: at least two: kubectl label nodes NODE worker=true"
  if ! kube get secret tango-secrets >/dev/null 2>&1; then
    if [ -z "$password" ]; then problem "-p PASSWORD is missing: the first time the user super_user@genesys.com is made with it"; else check_password "$password"; fi
  fi
else
  tango_nodes=$'node-1\nnode-2\nnode-3'
fi
no_problems "not deployed"

fill() { # file, NAME=value...
  local text one
  text=$(cat "$1")
  shift
  for one in "$@"; do text=${text//__${one%%=*}__/${one#*=}}; done
  printf '%s\n' "$text"
}

# Secrets are made once; later runs leave them.
make_kubernetes_secrets() {
  local hosts=mongo-0.mongo:27017,mongo-1.mongo:27017,mongo-2.mongo:27017 work names name
  if kube get secret tango-secrets >/dev/null 2>&1; then say "secrets: there already"; return; fi
  work=$(mktemp -d)
  make_authority
  names=DNS:localhost,IP:127.0.0.1
  sign mongodb "$names,DNS:mongo-0.mongo,DNS:mongo-1.mongo,DNS:mongo-2.mongo,DNS:*.mongo.$namespace.svc.cluster.local"
  sign objects "$names,DNS:objects,DNS:objects-members,DNS:objects.$namespace.svc,$(alt_name "$(host_of_url "$S3_ENDPOINT")")"
  if [ ! -e "$conf/tango.crt" ]; then
    local host
    host=$(value_of HOST_DOMAIN "$conf/tango.env")
    sign tango "$names,DNS:tango,DNS:tango.$namespace.svc${host:+,$(alt_name "$host")}"
  fi
  (
    umask 077
    cat "$conf/mongodb.crt" "$conf/mongodb.key" >"$work/mongodb.pem"
    cat "$conf/objects.crt" "$conf/objects.key" >"$work/objects.pem"
    openssl rand -base64 378 | tr -d '\n' >"$work/mongo-key"
    openssl rand -hex 32 | tr -d '\n' >"$work/rpc-secret"
    openssl rand -hex 32 | tr -d '\n' >"$work/admin-token"
    printf '%s' "$password" >"$work/SUPER_USER_PASSWORD"
    openssl rand -hex 32 | tr -d '\n' >"$work/TOKEN_SECRET"
    if [ "$external_objects" = yes ]; then
      for name in S3_ACCESS_KEY S3_SECRET_KEY; do printf '%s' "$(value_of $name "$conf/tango.env")" >"$work/$name"; done
    else
      printf 'GK%s' "$(openssl rand -hex 12)" >"$work/S3_ACCESS_KEY"
      openssl rand -hex 32 | tr -d '\n' >"$work/S3_SECRET_KEY"
    fi
    if [ "$external_mongo" = yes ]; then
      printf '%s' "$(value_of MONGODB_URL "$conf/tango.env")" >"$work/MONGODB_URL"
    else
      printf 'mongodb://tango:%s@%s/tango?authSource=admin&replicaSet=rs0&tls=true' "$(openssl rand -hex 24)" "$hosts" >"$work/MONGODB_URL"
    fi
  )
  cat "$conf/ca.pem" >"$work/ca.pem"
  # Authorities of a database or an object store of your own.
  if [ -e "$conf/extra-ca.pem" ]; then cat "$conf/extra-ca.pem" >>"$work/ca.pem"; fi
  kube create configmap tango-ca --from-file="$work/ca.pem"
  kube create secret generic tango-mongo-secrets --from-file="$work/mongo-key"
  kube create secret generic tango-mongo-tls --from-file="$work/mongodb.pem"
  kube create secret generic tango-objects-secrets --from-file="$work/rpc-secret" --from-file="$work/admin-token"
  kube create secret generic tango-objects-tls --from-file="$work/objects.pem"
  kube create secret tls tango-tls --cert="$conf/tango.crt" --key="$conf/tango.key"
  kube create secret generic tango-secrets --from-file="$work/MONGODB_URL" --from-file="$work/TOKEN_SECRET" \
    --from-file="$work/S3_ACCESS_KEY" --from-file="$work/S3_SECRET_KEY" --from-file="$work/SUPER_USER_PASSWORD"
  rm -rf "$work" "$conf"/mongodb.{crt,key} "$conf"/objects.{crt,key}
  say "secrets were made; keep a copy of TOKEN_SECRET: kubectl get secret tango-secrets --output yaml"
}
[ "$dry_run" = yes ] || make_kubernetes_secrets

if [ -n "$provisioner" ]; then
  for class in "$mongodb_class" "$objects_class"; do
    fill "$here/storage-class.yaml" "CLASS=$class" "PROVISIONER=$provisioner" | apply
  done
else
  for class in "$mongodb_class" "$objects_class"; do fill "$here/local-storage.yaml" "CLASS=$class" | apply; done
  for node in $tango_nodes; do
    fill "$here/local-volume.yaml" NAME=tango-mongodb "NODE=$node" "CLASS=$mongodb_class" PATH=/datadir/mongodb | apply
    fill "$here/local-volume.yaml" NAME=tango-objects "NODE=$node" "CLASS=$objects_class" "PATH=$OBJECTS_DIR" | apply
  done
fi

if [ "$external_mongo" = no ]; then
  [ "$dry_run" = yes ] || kube delete job mongo-initiate --ignore-not-found
  # Before 1.21.
  policy=policy/v1
  if [ "$dry_run" = no ] && ! kubectl api-versions | grep -qx policy/v1; then policy=policy/v1beta1; fi
  fill "$here/mongo.yaml" "POLICY=$policy" "MONGO_IMAGE=$MONGO_IMAGE" "TANGO_IMAGE=$TANGO_IMAGE" "MONGODB_CLASS=$mongodb_class" "S3_ENDPOINT=$S3_ENDPOINT" \
    "MONGO_CACHE_GB=${MONGO_CACHE_GB:-1}" "ELECTION_TIMEOUT_MS=${MONGO_ELECTION_TIMEOUT_MS:-2000}" | apply
  [ "$dry_run" = yes ] || kube wait --for=condition=complete job/mongo-initiate --timeout=600s \
    || fail "the replica set was not made: kubectl logs job/mongo-initiate"
fi

release() { run helm --namespace "$namespace" upgrade --install "$@"; }
# tango.env for every pod, by a name that changes with it, so that `helm rollback` brings the former one back; and by the name that the charts' own
# values have.
config_map() { # name, file
  printf 'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\ndata:\n  S3_BUCKET: "%s"\n  tango.env: |\n' "$1" "${S3_BUCKET:-tango}"
  sed 's/^/    /; s/[[:space:]]*$//' "$2"
}
public_env=$(mktemp)
public_settings "$conf/tango.env" >"$public_env"
env_name=tango-env-$(sha256sum "$public_env" | cut -c1-8)
for name in "$env_name" tango-env; do config_map "$name" "$public_env" | apply; done
rm -f "$public_env"
settings=(--set-string "image=$TANGO_IMAGE" --set-string "envConfigMapName=$env_name")
store=(--set-string "objectStore.storageClassName=$objects_class,objectStore.image=$OBJECTS_IMAGE") inside=()
if [ "$external_objects" = yes ]; then store=(--set objectStore.enabled=false) inside=(--set-string settings.S3_INTERNAL_ENDPOINT=); fi
release gpr "${settings[@]}" "${store[@]}" \
  -f "$root/helm/gpr/values.yaml" "$root/helm/gpr"
for topic in analysis dataset_upload model_training purging; do
  name=worker-${topic//_/-}
  release "$name" "${settings[@]}" "${inside[@]}" --set "workerDeploymentName=$name,workerTopic=$topic" -f "$root/helm/worker/values.yaml" "$root/helm/worker"
done
say "deployed; look: kubectl get pods; helm ls; history and way back of a release: helm history gpr, helm rollback gpr REVISION"
