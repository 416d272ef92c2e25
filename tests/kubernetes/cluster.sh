# shellcheck shell=bash
# A Kubernetes cluster of three nodes on this machine: machines of tests/swarm/machines.sh, each with a kubelet and a kube-proxy; etcd, API
# server, controllers and scheduler beside them, and dnsmasq for the names of services. Sourced by run; everything is under $work.
# shellcheck disable=SC2154

api=$subnet.254
daemon_options=(--add-runtime "lenient=$here/runtime" --default-runtime lenient)
kube() { kubectl --kubeconfig "$work/kubeconfig" "$@"; }

# start NAME COMMAND...: a process of the cluster, in the background.
processes=()
start() {
  local name=$1
  shift
  "$@" >"$work/$name.log" 2>&1 &
  processes+=($!)
}

start_on() { # node, name, command...
  local n=$1 name=$2
  shift 2
  start "$name" nsenter --target "$(cat "$work/node-$n/pid")" --net --mount --uts -- "$@"
}

stop_cluster() {
  local process
  for process in "${processes[@]}"; do kill "$process" 2>/dev/null || true; done
  for process in "${processes[@]}"; do wait "$process" 2>/dev/null || true; done
  processes=()
}

start_control_plane() {
  local token
  token=$(openssl rand -hex 16)
  openssl genrsa -out "$work/accounts.key" 2048 2>/dev/null
  echo "$token,admin,admin,system:masters" >"$work/tokens.csv"
  cat >"$work/kubeconfig" <<CONF
apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "https://$api:16443", insecure-skip-tls-verify: true}}]
users: [{name: admin, user: {token: $token}}]
contexts: [{name: test, context: {cluster: test, user: admin}}]
current-context: test
CONF
  start etcd etcd --data-dir "$work/etcd" --listen-client-urls "http://$api:12379" --advertise-client-urls "http://$api:12379" --listen-peer-urls "http://$api:12380"
  start api "$programs/kube-apiserver" --etcd-servers "http://$api:12379" --service-cluster-ip-range 10.96.0.0/16 --bind-address "$api" --secure-port 16443 \
    --advertise-address "$api" --cert-dir "$work/certificates" --token-auth-file "$work/tokens.csv" --authorization-mode RBAC --allow-privileged \
    --service-account-key-file "$work/accounts.key" --service-account-signing-key-file "$work/accounts.key" --service-account-issuer https://kubernetes.default.svc
  within 60 "the API server answers" kube get --raw /readyz
  start controllers "$programs/kube-controller-manager" --kubeconfig "$work/kubeconfig" --service-account-private-key-file "$work/accounts.key" --leader-elect=false \
    --cert-dir "$work/certificates" --port 0 --secure-port 0
  start scheduler "$programs/kube-scheduler" --kubeconfig "$work/kubeconfig" --leader-elect=false --cert-dir "$work/certificates" --port 0 --secure-port 0
}

# An image that waits, for the network of a pod.
pause_image() {
  # shellcheck source=/dev/null
  . "$project/deploy/images/lib/archive.sh"
  mkdir -p "$work/pause"
  base_root "$work/pause"
  copy_program "$work/pause" sleep /usr/bin/sleep
  write_archive "$work/pause" "$work/pause.tar.gz" pause:1 '{"User": "65535:65535", "Entrypoint": ["/usr/bin/sleep", "infinity"]}' >/dev/null
}

start_node() { # number
  local n=$1 home=$work/node-$1 pods=${subnet%.*}.$((200 + $1)).0/24
  start_machine "$n"
  ip route replace "$pods" via "$subnet.$n" dev "$bridge"
  for other in 1 2 3; do
    [ "$other" = "$n" ] || ip -n "$machines$n" route replace "${subnet%.*}.$((200 + other)).0/24" via "$subnet.$other"
  done
  mkdir -p "$home"/{kubelet,dockershim,cni,cni-cache,pods,containers}
  cat >"$home/cni/10-pods.conflist" <<CONF
{"cniVersion": "0.3.1", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "pods0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$home/cni-addresses", "ranges": [[{"subnet": "$pods"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}]}
CONF
  on "$n" docker load --quiet --input "$work/pause.tar.gz" >/dev/null
  # Folders that are a node's own have fixed places.
  on "$n" bash -c 'mkdir -p /var/lib/kubelet /var/lib/dockershim /var/log/pods /var/log/containers
    mount --bind "$1/kubelet" /var/lib/kubelet; mount --make-shared /var/lib/kubelet; mount --bind "$1/dockershim" /var/lib/dockershim; mount --bind "$1/pods" /var/log/pods
    mount --bind "$1/containers" /var/log/containers
    sysctl -qw net.ipv4.ip_forward=1' - "$home"
  start_on "$n" "kubelet-$n" "$programs/kubelet" --kubeconfig "$work/kubeconfig" --hostname-override "node-$n" --node-ip "$subnet.$n" --docker-endpoint "unix://$home/docker.sock" \
    --container-runtime-endpoint "unix://$home/dockershim.sock" --network-plugin cni --cni-conf-dir "$home/cni" --cni-bin-dir /usr/lib/cni --cni-cache-dir "$home/cni-cache" \
    --pod-infra-container-image pause:1 --cgroup-driver cgroupfs --cgroups-per-qos=false --enforce-node-allocatable= --fail-swap-on=false \
    --cluster-dns "$api" --cluster-domain cluster.local --resolv-conf "$home/resolv.conf" --cert-dir "$home/kubelet-certificates" --read-only-port 0 --healthz-port 0 \
    --eviction-hard 'memory.available<1Mi' --image-gc-high-threshold 100 --v 1
  start_on "$n" "proxy-$n" "$programs/kube-proxy" --kubeconfig "$work/kubeconfig" --hostname-override "node-$n" --proxy-mode iptables --cluster-cidr "${subnet%.*}.0.0/16" \
    --conntrack-max-per-core 0 --healthz-bind-address "$subnet.$n:10256" --metrics-bind-address "$subnet.$n:10249"
}
nodes_are_ready() { [ "$(kube get nodes --no-headers 2>/dev/null | awk '$2 == "Ready"' | wc -l)" = 3 ]; }

# Names of services and of the pods of headless ones, as the cluster's own name service gives them.
start_names() {
  : >"$work/names"
  start names dnsmasq --keep-in-foreground --no-resolv --no-hosts --addn-hosts "$work/names" --local-ttl 1 --listen-address "$api" --bind-interfaces --port 53 --user=root \
    --pid-file="$work/dnsmasq.pid" --local=/cluster.local/
  start names-writer write_names
}
ask_api() { curl --silent --insecure --max-time 5 --header "authorization: Bearer $(cut -d, -f1 "$work/tokens.csv")" "https://$api:16443/api/v1/$1"; }
write_names() {
  while sleep 1; do
    {
      ask_api services | jq -r '.items[] | select(.spec.clusterIP != "None") | "\(.spec.clusterIP) \(.metadata.name).\(.metadata.namespace).svc.cluster.local"'
      ask_api endpoints | jq -r '.items[] | . as $e | select(.metadata.labels["service.kubernetes.io/headless"] != null) | .subsets[]? | (.addresses[]?, .notReadyAddresses[]?)
        | "\(.ip) \($e.metadata.name).\($e.metadata.namespace).svc.cluster.local", (select(.hostname) | "\(.ip) \(.hostname).\($e.metadata.name).\($e.metadata.namespace).svc.cluster.local")'
    } 2>/dev/null | sort -u >"$work/names.new"
    if [ -s "$work/names.new" ] && ! cmp -s "$work/names.new" "$work/names"; then
      cat "$work/names.new" >"$work/names"
      kill -HUP "$(cat "$work/dnsmasq.pid")" 2>/dev/null || true
    fi
  done
}
