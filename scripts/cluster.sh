#!/usr/bin/env bash
# cluster.sh [FILE]: a real one-node Kubernetes on this machine, the chart in it, FILE's resources on engines, and a
# port of 127.0.0.1 that leads to the router. Stays until Ctrl-C; then nothing of it is left.
#   PORT=8080             the port here
#   HELM_ARGS=…           further arguments of helm install, such as --set router.replicas=1
#   LPS_IMAGES_BIN=DIR    programs to pack, instead of release builds
set -euo pipefail
cd "$(dirname "$0")/.."
export LPS_CLUSTER_NAME=${LPS_CLUSTER_NAME:-demo}
file=${1:-examples/quickstart.yaml}
port=${PORT:-8080}
namespace=lps-system
images=${LPS_IMAGES_OUT:-$(scripts/cache-dir.sh)/images}
step="the checks"

say() { printf 'cluster: %3d s  %s\n' "$SECONDS" "$*"; }
begin() {
  step=$1
  say "$1"
}
inside() { tests/cluster/kin "$@"; }
# Why it did not come up, before it goes.
diagnose() {
  echo "cluster: failed at: $step" >&2
  {
    inside kubectl get lps,pods -A -o wide
    inside kubectl get events -A --sort-by=.lastTimestamp | tail -15
    for one in operator router; do
      inside kubectl -n $namespace logs "deploy/lps-$one" --tail=15 --all-pods --prefix
    done
  } >&2 2>&1 || true
}
end() {
  local status=$?
  trap '' INT TERM
  [ "$status" -eq 0 ] || [ "$status" -ge 128 ] || [ -z "${started:-}" ] || diagnose
  say "removing the cluster"
  tests/cluster/down.sh --purge > /dev/null || true
  say "gone"
}

[ "$(id -u)" = 0 ] || { echo "cluster: needs root, for namespaces and mounts of its own" >&2; exit 1; }
[ -r "$file" ] || { echo "cluster: no file $file" >&2; exit 1; }
python3 -c 'import socket, sys; socket.create_server(("127.0.0.1", int(sys.argv[1]))).close()' "$port" 2>/dev/null ||
  { echo "cluster: port $port is taken: make cluster PORT=…" >&2; exit 1; }
# shellcheck source=tests/cluster/env.sh
run=$(. tests/cluster/env.sh && echo "$RUN")
if [ -s "$run/pid1" ] && kill -0 "$(cat "$run/pid1")" 2>/dev/null; then
  echo "cluster: one of the name $LPS_CLUSTER_NAME runs already: make cluster-shell, or end it with its Ctrl-C" >&2
  exit 1
fi

begin "building what is not built yet (Kubernetes: 8 minutes, once)"
tests/cluster/prep.sh
begin "building the programs (minutes, the first time) and packing images"
scripts/images.sh
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
begin "starting Kubernetes"
started=yes
tests/cluster/up.sh > /dev/null
begin "bringing the images to the node"
for one in operator router engine-cpu tools; do
  inside ctr -n k8s.io images import "$images/lps-$one.tar" > /dev/null
done
read -ra arguments <<< "${HELM_ARGS:-}"
begin "helm install lps charts/lps --wait${arguments[*]:+ ${arguments[*]}}"
inside helm install lps charts/lps --namespace $namespace --create-namespace --wait --timeout 3m "${arguments[@]}" > /dev/null
begin "kubectl apply -f $file"
inside kubectl apply -f "$file"
begin "waiting until the engines are ready"
inside kubectl wait --for=condition=Ready lps --all -A --timeout=5m
address=$(inside kubectl -n $namespace get service lps-router -o 'jsonpath={.spec.clusterIP}:{.spec.ports[0].port}')
model=$(inside kubectl get lps -A -o 'jsonpath={.items[0].spec.model.name}')
step="serving"
say "ready: http://127.0.0.1:$port/v1"
cat <<HELP

  curl -N http://127.0.0.1:$port/v1/chat/completions -H 'content-type: application/json' \\
    -d '{"model": "$model", "stream": true, "messages": [{"role": "user", "content": "What is a program?"}]}'

  make cluster-shell     from another terminal: a shell with kubectl and helm
  Ctrl-C                 removes the cluster

HELP
scripts/forward.py "$(cat "$run/pid1")" "$port" "$address"
