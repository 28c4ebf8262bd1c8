# shellcheck shell=bash
# The other verbs of the embedded cluster: load, sigkill, down, status.

load() { # IMAGE.tar…  or the names of images that `hack/images` built (none: all of them)
  alive > /dev/null || die "not up: run 'hack/cluster up' first"
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
  alive > /dev/null || die "not up: run 'hack/cluster up' first"
  ctr -a "$sock" -n k8s.io tasks kill --signal SIGKILL "${1#containerd://}"
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
  local init program; init=$(node_init "$pid")
  for program in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy containerd coredns; do
    printf '  %-24s %s\n' "$program" "$(program_state "$init" "$program")"
  done
  echo "images:"
  ctr -a "$sock" -n k8s.io images ls -q | grep '^localhost/' | sed 's/^/  /'
}

program_state() { # the node's process 1, program
  local pid
  local children; read -r -a children < "/proc/$1/task/$1/children" || true
  for pid in "${children[@]}"; do
    if tr '\0' ' ' < "/proc/$pid/cmdline" | grep -qE "^([^ ]*/)?(kube )?$2( |$)"; then
      echo "running, $(awk '/VmRSS/ {print int($2 / 1024)}' "/proc/$pid/status") MiB"
      return
    fi
  done
  echo "NOT RUNNING (see $logs/$2.log)"
}
