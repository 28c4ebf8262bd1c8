# shellcheck shell=bash
# Makes the cluster's programs from their Go modules, once for each state of the sources: kube, coredns, helm, pause.

build() { # nothing, or helm: that alone, for clusters that are not ours  -- prints the programs' folder
  local out wanted=("$@")
  out=$(bin_folder)
  [ ${#wanted[@]} -gt 0 ] || wanted=(kube coredns helm pause)
  if made "$out" "${wanted[@]}"; then echo "$out"; return; fi
  command -v go > /dev/null || die "building the cluster's programs needs Go (1.26 or newer) in the PATH"
  # shellcheck disable=SC2086
  require $build_programs
  mkdir -p "$out"
  (
    flock -w 3600 9 || die "another build has held $out/lock for an hour"
    made "$out" kube || step "building the cluster's programs (once; about 10 minutes on 2 cores if Go's cache is cold)"
    for program in "${wanted[@]}"; do
      made "$out" "$program" || "make_$program" "$out"
    done
    step "programs are in $out"
  ) 9> "$out/lock"
  echo "$out"
}

made() { # folder, programs…
  local out=$1 program; shift
  for program; do
    if [ "$program" = pause ]; then program=pause.tar; fi
    [ -f "$out/$program" ] || return 1
  done
}

make_kube() { go_program kube "$1"; ln -sf kube "$1/kubectl"; }
make_coredns() { go_program coredns "$1"; }
make_pause() {
  gcc -static -Os -s -o "$1/pause" "$embedded/pause.c"
  python3 "$embedded/pause_image.py" "$1/pause" "$1/pause.tar.tmp"
  mv "$1/pause.tar.tmp" "$1/pause.tar"
}

go_program() { # folder, output folder
  (cd "$embedded/$1" && CGO_ENABLED=0 heartbeat "$1" go build -trimpath -o "$2/$1.tmp" \
    -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=v$kubernetes" .)
  mv "$2/$1.tmp" "$2/$1"
}

make_helm() { # output folder  -- the flags keep `helm template` from believing in Kubernetes 1.20
  local chartutil=helm.sh/helm/v3/pkg/chartutil version=helm.sh/helm/v3/internal/version.version minor=${kubernetes#1.}
  GOBIN=$1 CGO_ENABLED=0 heartbeat helm go install -trimpath \
    -ldflags "-s -w -X $chartutil.k8sVersionMajor=1 -X $chartutil.k8sVersionMinor=${minor%%.*} -X $version=v$helm" \
    "helm.sh/helm/v3/cmd/helm@v$helm"
}

heartbeat() { # what, command…  -- runs it and says every 30 s that it still goes on
  local what=$1 begin=$SECONDS next=$((SECONDS + 30)) pid; shift
  mkdir -p "$cache/log"
  "$@" > "$cache/log/build-$what.log" 2>&1 & pid=$!
  while kill -0 "$pid" 2> /dev/null; do
    sleep .5
    if [ $SECONDS -ge $next ]; then next=$((SECONDS + 30)); step "… still building $what"; fi
  done
  if ! wait "$pid"; then
    tail -n 20 "$cache/log/build-$what.log" >&2
    die "building $what failed; all of its output: $cache/log/build-$what.log"
  fi
  step "built $what in $((SECONDS - begin)) s"
}
