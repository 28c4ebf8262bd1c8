# shellcheck shell=bash
# What every part of the embedded cluster shares: where things lie, messages, and which Debian packages are needed.

embedded=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
repo=$(cd "$embedded/../.." && pwd -P)
cache=${TIDEMILL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidemill}
name=${TIDEMILL_CLUSTER:-tidemill}
dir=$cache/cluster/$name
state=$dir/state # thrown away by `down`
store=$dir/containerd # images: kept, so that the next `up` need not load them again
logs=$dir/logs
sock=$state/containerd.sock
started_at=${EPOCHREALTIME/./}

kubernetes=1.35.4
helm=3.22.0

say() { printf 'cluster: %s\n' "$*" >&2; }
die() { printf 'cluster: error: %s\n' "$*" >&2; exit 1; }

step() { # what  -- a progress line with the seconds since the command began
  local us=$((${EPOCHREALTIME/./} - started_at))
  printf 'cluster: [%3d.%d s] %s\n' $((us / 1000000)) $((us % 1000000 / 100000)) "$*" >&2
}

bin_folder() { # the programs' folder, named by what they are made of
  local hash
  hash=$( (cd "$embedded" && cat kube/* coredns/* pause.c pause_image.py build.sh && echo "$kubernetes $helm $(uname -m)") | sha256sum)
  echo "$cache/bin/${hash:0:16}"
}

programs_folder() { cat "$dir/programs" 2> /dev/null || bin_folder; } # the running cluster's, whatever the sources are now

# Each program that is called, and the Debian package that has it.
programs="cni:containernetworking-plugins containerd:containerd ctr:containerd runc:runc iptables:iptables nft:nftables conntrack:conntrack ip:iproute2
  curl:curl openssl:openssl nsenter:util-linux unshare:util-linux mount:mount"
control_plane_programs="ip:iproute2 curl:curl openssl:openssl nsenter:util-linux unshare:util-linux mount:mount"
build_programs="gcc:gcc gcc:libc6-dev python3:python3"

require() { # program:package…  -- installs what is missing if asked to, else says how
  local pair missing=""
  for pair; do
    case $pair in
      cni:*) [ -x /usr/lib/cni/ptp ] || missing+=" ${pair##*:}" ;; # not in the PATH
      *) command -v "${pair%%:*}" > /dev/null || missing+=" ${pair##*:}" ;;
    esac
  done
  missing=$(tr ' ' '\n' <<< "$missing" | sort -u | xargs)
  [ -n "$missing" ] || return 0
  if [ "${install:-no}" = yes ] || [ "${CI:-}" = true ]; then
    step "installing Debian packages: $missing"
    # shellcheck disable=SC2086
    if ! { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing; } \
      > "$cache/apt.log" 2>&1; then
      tail -n 5 "$cache/apt.log" >&2
      die "apt-get could not install: $missing (see $cache/apt.log)"
    fi
    return 0
  fi
  die "the embedded cluster needs Debian packages that are not installed: $missing
  install them:    apt-get install -y --no-install-recommends $missing
  or let it:       hack/cluster up --install"
}

started() { awk '$3 != "Z" {print $22}' "/proc/$1/stat" 2> /dev/null || true; } # when a process did, unless it has ended

alive() { # prints the pid of the node's outer process if it is still the one that `up` started
  local pid start
  [ -f "$dir/pid" ] || return 1
  read -r pid start < "$dir/pid" || return 1
  [ -n "$start" ] && [ "$(started "$pid")" = "$start" ] || return 1
  echo "$pid"
}

node_init() { tr -d ' ' < "/proc/$1/task/$1/children"; } # pid of the node's process 1, seen from here

has_node() { [ ! -f "$state/no-node" ]; } # or it is a control plane alone
components() { # the programs that the cluster is made of
  echo etcd kube-apiserver kube-controller-manager
  if has_node; then echo containerd kube-scheduler kubelet kube-proxy coredns; fi
}

network() { # sets id, host and node from the number that `up` chose
  local n
  n=$(cat "$dir/network")
  id=tidemill$n host=10.200.$n.1 node=10.200.$n.2 dns=10.96.0.10
  export id host node dns
}
