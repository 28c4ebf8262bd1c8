#!/usr/bin/env bash
# Process 1 of the node's namespaces (mount, network, processes): sets them up, starts the node's programs, and takes in
# the processes that lose their parent. Ending it ends everything in it. Called by `hack/cluster up` with the variables
# of common.sh exported; bin is the programs' folder.
set -euo pipefail
# shellcheck source=hack/embedded/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
network
umask 022
cd "$state"

run() { local program=$1; shift; "$@" > "$logs/$program.log" 2>&1 < /dev/null & }

mounts() {
  mount --make-rshared / # among the node's own: mounts that kubelet makes reach the containers
  mount -t tmpfs run /run
  mkdir -p /run/containerd /run/netns var-log var-lib-kubelet var-lib-cni fake /var/lib/kubelet /var/lib/cni
  mount --bind var-log /var/log
  mount --bind var-lib-kubelet /var/lib/kubelet
  mount --bind var-lib-cni /var/lib/cni
  # kubelet writes these settings of the whole machine unless it finds them set: show it that they are
  local setting file
  for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
                 kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    file=fake/$(basename "${setting%=*}")
    echo "${setting#*=}" > "$file"
    mount --bind "$file" "/proc/sys/${setting%=*}"
  done
}

links() {
  until ip link show eth0 > /dev/null 2>&1; do sleep .05; done # `up` moves it in
  ip link set lo up
  ip addr add "$node/30" dev eth0
  ip link set eth0 up
  ip route add 10.96.0.0/16 via "$host" # never followed: kube-proxy rewrites the address first
  ip route add unreachable default
  echo 1 > /proc/sys/net/ipv4/ip_forward
}

api_server() {
  # shellcheck disable=SC2086
  run kube-apiserver kube kube-apiserver --etcd-servers=http://127.0.0.1:2379 --advertise-address="$node" --secure-port=6443 \
    --tls-cert-file=pki/apiserver.crt --tls-private-key-file=pki/apiserver.key --client-ca-file=pki/ca.crt \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged \
    --service-account-issuer=https://kubernetes.default.svc.cluster.local --service-account-signing-key-file=pki/sa.key \
    --service-account-key-file=pki/sa.key --service-cluster-ip-range=10.96.0.0/16 \
    --kubelet-certificate-authority=pki/ca.crt --kubelet-client-certificate=pki/apiserver-kubelet.crt \
    --kubelet-client-key=pki/apiserver-kubelet.key --kubelet-preferred-address-types=InternalIP \
    --requestheader-client-ca-file=pki/front-ca.crt --requestheader-allowed-names=front-proxy \
    --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
    --requestheader-extra-headers-prefix=X-Remote-Extra- --proxy-client-cert-file=pki/front.crt \
    --proxy-client-key-file=pki/front.key --enable-aggregator-routing \
    --audit-policy-file=audit-policy.yaml --audit-log-path="$logs/audit.log" --audit-log-maxsize=200 --audit-log-maxbackup=3 \
    ${APISERVER_ARGS:-}
}

controller() { # kube-controller-manager or kube-scheduler
  local c=$1 args
  args="--kubeconfig=pki/$c.conf --authentication-kubeconfig=pki/$c.conf --authorization-kubeconfig=pki/$c.conf"
  args+=" --leader-elect=false --bind-address=127.0.0.1 --kube-api-qps=500 --kube-api-burst=1000"
  [ "$c" = kube-scheduler ] || args+=" --use-service-account-credentials --service-account-private-key-file=pki/sa.key
    --root-ca-file=pki/ca.crt --cluster-signing-cert-file=pki/ca.crt --cluster-signing-key-file=pki/ca.key
    --allocate-node-cidrs --cluster-cidr=10.244.0.0/16 --service-cluster-ip-range=10.96.0.0/16 ${KCM_ARGS:-}"
  # shellcheck disable=SC2086
  run "$c" kube "$c" $args
}

tidy_store() { # containerd's store outlives `down`: what the last cluster's Pods left in it goes, the images stay
  containerd -c containerd-prepare.toml > "$logs/containerd-prepare.log" 2>&1 < /dev/null & local pid=$!
  local ctr=(ctr -a "$sock" -n k8s.io)
  until "${ctr[@]}" version > /dev/null 2>&1; do sleep .1; done
  "${ctr[@]}" containers ls -q | xargs -r -n 100 ctr -a "$sock" -n k8s.io containers rm
  "${ctr[@]}" images ls -q | grep -qxF localhost/tidemill/pause:1 || "${ctr[@]}" images import "$bin/pause.tar"
  kill "$pid"; wait "$pid" || true
  rm -rf "$store/io.containerd.grpc.v1.cri" "$sock"
}

start() { # program
  case $1 in
    etcd) run etcd kube etcd "$state/etcd" ;;
    kube-apiserver) api_server ;;
    kube-controller-manager | kube-scheduler) controller "$1" ;;
    containerd) run containerd containerd -c containerd.toml ;;
    kubelet) run kubelet kube kubelet --config=kubelet.yaml --kubeconfig=pki/kubelet.conf --hostname-override=node --node-ip="$node" ;;
    kube-proxy) run kube-proxy kube kube-proxy --config=kube-proxy.yaml ;;
    coredns) run coredns coredns -conf Corefile ;;
  esac
}

mkfifo control
exec 3<> control
if has_node; then mounts; fi
links
start etcd
start kube-apiserver
if has_node; then
  tidy_store > "$logs/tidy-store.log" 2>&1
  start containerd
fi
until curl -sf --cacert pki/ca.crt "https://$node:6443/readyz" > /dev/null; do sleep .05; done
for program in $(components); do
  case $program in etcd | kube-apiserver | containerd) ;; *) start "$program" ;; esac
done
while read -r program <&3; do start "$program"; done # what `hack/cluster start` asks for
