# shellcheck shell=bash
# The other verbs of the embedded cluster: load, sigkill, stop, start, snapshot, restore, down, status.

must_be_up() { alive > /dev/null || die "not up: run 'hack/cluster up' first"; }
must_have_node() { must_be_up; has_node || die "cluster $name is a control plane without a node (TIDEMILL_NODE=none): it runs no containers"; }

load() { # IMAGE.tar…  or the names of images that `hack/images` built (none: all of them)
  must_have_node
  local argument names=()
  for argument; do
    if [ -f "$argument" ]; then
      ctr -a "$sock" -n k8s.io images import "$argument" > /dev/null
      step "loaded $argument"
    else
      names+=("$argument")
    fi
  done
  if [ $# -gt 0 ] && [ ${#names[@]} = 0 ]; then return; fi
  local have=$state/images-present missing
  ctr -a "$sock" -n k8s.io images ls -q > "$have"
  missing=$("$repo/hack/images" missing --present "$have" "${names[@]}")
  if [ -n "$missing" ]; then
    step "loading $(xargs <<< "$missing")"
    # shellcheck disable=SC2086
    "$repo/hack/images" archive --present-blobs "$store/io.containerd.content.v1.content/blobs/sha256" $missing |
      ctr -a "$sock" -n k8s.io images import - > "$logs/load.log"
  fi
  forget_old_images
  step "images are in the cluster"
}

forget_old_images() { # the project's images of earlier sources, unless a Pod may still use them
  local old
  old=$(ctr -a "$sock" -n k8s.io images ls -q | "$repo/hack/images" superseded)
  [ -z "$old" ] || kubectl_in_use "$old" | xargs -r ctr -a "$sock" -n k8s.io images rm > /dev/null
}

kubectl_in_use() { # image names  -- prints those that no Pod names
  local used; used=$("$(programs_folder)/kubectl" --kubeconfig "$dir/kubeconfig" get pods -A -o jsonpath='{..image}' | tr ' ' '\n')
  grep -vxF -f <(echo "$used"; echo none) <<< "$1" || true
}

down() { # ends the node: its processes, mounts and links are in its namespaces and go with it
  local pid init folder
  [ ! -f "$dir/network" ] || network
  if pid=$(alive); then
    init=$(node_init "$pid")
    kill -9 "$pid"
    while [ -n "$(started "$pid")" ] || { [ -n "$init" ] && [ -n "$(started "$init")" ]; }; do sleep .05; done
    step "the node has ended"
  fi
  if [ -n "${id:-}" ]; then
    ip link del "$id" 2> /dev/null || true # unless it has gone with its other end
    for folder in /sys/fs/cgroup/"$id" /sys/fs/cgroup/*/"$id"; do # runc makes one in a hybrid's version 2 tree too
      [ ! -d "$folder" ] || find "$folder" -depth -type d -exec rmdir {} +
    done
  fi
  if grep -q " $dir/" /proc/self/mountinfo; then die "something is still mounted under $dir"; fi
  rm -rf --one-file-system "$state"
  rm -f "$dir/pid" "$dir/kubeconfig" "$dir/network" "$dir/programs"
}

sigkill() { # container's id, as its pod's status has it  -- like the kernel's out-of-memory killer: no warning, no farewell
  [ $# = 1 ] || die "sigkill takes one container's id"
  must_have_node
  ctr -a "$sock" -n k8s.io tasks kill --signal SIGKILL "${1#containerd://}"
}

stop() { # PROGRAM…  -- ends programs of the cluster, as a machine that loses them would see it
  local program pid began; must_be_up
  for program; do
    must_be_component "$program"
    pid=$(program_pid "$program") || continue
    began=$(started "$pid")
    kill "$pid" 2> /dev/null || true
    for _ in {1..60}; do [ "$(started "$pid")" = "$began" ] || break; sleep .05; done
    kill -9 "$pid" 2> /dev/null || true # an API server waits a minute for its watchers to go
    while [ "$(started "$pid")" = "$began" ]; do sleep .05; done
    step "stopped $program"
  done
}

start() { # PROGRAM…  -- starts them again, and waits until they serve
  local program inside; must_be_up; network
  inside=(nsenter -t "$(node_init "$(alive)")" -n)
  for program; do
    must_be_component "$program"
    if program_pid "$program" > /dev/null; then continue; fi
    echo "$program" > "$state/control"
    case $program in
      etcd) wait_for 30 etcd "${inside[@]}" curl -sf http://127.0.0.1:2379/health ;;
      kube-apiserver) wait_for 60 "the API server" curl -sf --cacert "$state/pki/ca.crt" "https://$node:6443/readyz" ;;
      kube-controller-manager) wait_for 30 "the controllers" "${inside[@]}" curl -sfk https://127.0.0.1:10257/healthz ;;
      *) wait_for 30 "$program" program_pid "$program" ;;
    esac
  done
}

snapshot() { # FILE  -- what etcd holds now, as `etcdctl snapshot save` writes it
  [ $# = 1 ] || die "snapshot takes the file to write"
  must_be_up
  GRPC_GO_LOG_SEVERITY_LEVEL=fatal nsenter -t "$(node_init "$(alive)")" -n "$(programs_folder)/kube" etcd-save "$(realpath -m "$1")"
  step "etcd's snapshot is in $1"
}

restore() { # FILE [BUMP]  -- resource versions go back to the snapshot's, unless they are bumped by so many (etcdutl --bump-revision)
  [ -f "${1:-}" ] || die "restore takes a file that 'hack/cluster snapshot' wrote"
  must_be_up
  local controllers; controllers=$(components | tr ' ' '\n' | grep -E '^kube-(controller-manager|scheduler)$')
  # shellcheck disable=SC2086
  stop $controllers kube-apiserver etcd
  rm -rf "$state/etcd"
  "$(programs_folder)/kube" etcd-restore "$1" "$state/etcd" "${2:-0}"
  # shellcheck disable=SC2086
  start etcd kube-apiserver $controllers
  step "etcd is as $1 has it"
}

must_be_component() { # program
  components | tr ' ' '\n' | grep -qxF -- "$1" || die "$1 is none of cluster $name's programs: $(components | xargs)"
}

status() {
  local pid
  if ! pid=$(alive); then
    echo "cluster $name: down (state and images in $dir)"
    return 3
  fi
  network
  echo "cluster $name: up, embedded Kubernetes $kubernetes, pid $pid, since $(ps -o lstart= -p "$pid")"
  echo "kubeconfig: $dir/kubeconfig"
  echo "API server: https://$node:6443   logs: $logs"
  local program
  for program in $(components); do printf '  %-24s %s\n' "$program" "$(program_state "$program")"; done
  if has_node; then
    echo "images:"
    ctr -a "$sock" -n k8s.io images ls -q | grep '^localhost/' | sed 's/^/  /'
  else
    echo "no node: a control plane alone (TIDEMILL_NODE=none)"
  fi
}

program_state() { # program
  local pid
  if pid=$(program_pid "$1"); then echo "running, $(awk '/VmRSS/ {print int($2 / 1024)}' "/proc/$pid/status") MiB"
  else echo "NOT RUNNING (see $logs/$1.log)"
  fi
}

program_pid() { # program  -- prints the pid of the node's child that is this program
  local init pid children; init=$(node_init "$(alive)")
  read -r -a children < "/proc/$init/task/$init/children" || true
  for pid in "${children[@]}"; do
    if tr '\0' ' ' < "/proc/$pid/cmdline" 2> /dev/null | grep -qE "^([^ ]*/)?(kube )?$1( |$)"; then echo "$pid"; return; fi
  done
  return 1
}
