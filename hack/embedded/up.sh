# shellcheck shell=bash
# Starts the embedded cluster: state and certificates, the node's namespaces, its link to the host, then waits for each part.

up() {
  local pid nodes=${TIDEMILL_NODE:-one}
  case $nodes in one | none) ;; *) die "TIDEMILL_NODE=$nodes: it can be none, for a control plane without a node, or one" ;; esac
  if pid=$(alive); then
    [ "$nodes" = none ] || has_node || die "cluster $name is up without a node (TIDEMILL_NODE=none): end it by 'hack/cluster down' first"
    network; say "already up (pid $pid)"; return
  fi
  [ "$(id -u)" = 0 ] || die "the embedded cluster needs root (or set TIDEMILL_KUBECONFIG to a cluster of yours)"
  [ ${#dir} -lt 85 ] || die "$dir is too long a path for the sockets in it: set TIDEMILL_CACHE to a shorter one"
  mkdir -p "$cache"
  # shellcheck disable=SC2086
  if [ "$nodes" = none ]; then require $control_plane_programs; bin=$(build kube); else require $programs; bin=$(build); fi
  export bin install name PATH=$bin:$PATH TIDEMILL_CACHE=$cache TIDEMILL_CLUSTER=$name
  down
  rm -rf "$logs"
  mkdir -p "$logs" "$state"
  if [ "$nodes" = none ]; then touch "$state/no-node"; fi
  choose_network
  echo "$bin" > "$dir/programs"
  cd "$state" || die "cannot enter $state"
  pki 2> "$logs/openssl.log"
  configs
  if has_node; then mkdir -p "$store"; cgroups; fi
  step "starting the node ($host -> $node)"
  start_node
  export KUBECONFIG=$dir/kubeconfig
  wait_for 90 "the API server" curl -sf --cacert "$state/pki/ca.crt" "https://$node:6443/readyz"
  if has_node; then
    wait_for 30 "the addons" kubectl apply -f "$state/addons.yaml"
    wait_for 90 "the node" bash -c "kubectl get node node | grep -qw Ready"
    wait_for 30 "DNS" nsenter -t "$(node_init "$(alive)")" -n curl -sf http://127.0.0.1:8181/ready
  fi
  wait_for 30 "the default service account" kubectl get serviceaccount default
  step "cluster $name is up: Kubernetes $kubernetes"
}

choose_network() { # the first /30 from a start that depends on the folder, so that clusters lie beside each other
  local n try
  n=$(($(printf %s "$dir" | cksum | cut -d' ' -f1) % 250))
  for ((try = 0; try < 250; try++, n = (n + 1) % 250)); do
    if ! ip -4 -o addr | grep -qF " 10.200.$n."; then echo $n > "$dir/network"; network; return; fi
  done
  die "no free network in 10.200.0.0/16"
}

cgroups() { # one of our own below each hierarchy's root (version 1), or below the one root (version 2)
  local folder
  for folder in $(cgroup_roots); do
    mkdir -p "$folder/$id"
    if [ -f "$folder/cpuset.cpus" ]; then # version 1: empty means none
      cat "$folder/cpuset.cpus" > "$folder/$id/cpuset.cpus"
      cat "$folder/cpuset.mems" > "$folder/$id/cpuset.mems"
    fi
  done
}

cgroup_roots() {
  local file
  if [ -f /sys/fs/cgroup/cgroup.controllers ]; then echo /sys/fs/cgroup; return; fi
  for file in /sys/fs/cgroup/*/cgroup.procs; do
    [ "$(stat -fc %T "$file")" != cgroupfs ] || echo "${file%/cgroup.procs}"
  done
}

start_node() {
  setsid unshare --mount --net --pid --fork --mount-proc --kill-child bash "$embedded/node.sh" \
    > "$logs/node.log" 2>&1 < /dev/null &
  local pid=$! init=""
  echo "$pid $(started $pid)" > "$dir/pid"
  until [ -n "$init" ]; do
    [ -n "$(started $pid)" ] || die "the node did not start: $(tail -n 3 "$logs/node.log")"
    init=$(node_init $pid)
    sleep .05
  done
  until [ "$(readlink "/proc/$init/ns/net")" != "$(readlink /proc/self/ns/net)" ]; do sleep .05; done
  ip link add "$id" type veth peer name eth0 netns "$init"
  ip addr add "$host/30" dev "$id"
  ip link set "$id" up
}

wait_for() { # seconds, what, command…
  local end=$((SECONDS + $1)) what=$2; shift 2
  until "$@" > /dev/null 2>&1; do
    alive > /dev/null || die "the node died while waiting for $what; see $logs"
    [ $SECONDS -lt $end ] || die "$what: not ready in time; see $logs"
    sleep .2
  done
  step "ready: $what"
}
