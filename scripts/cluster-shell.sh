#!/usr/bin/env bash
# cluster-shell.sh [COMMAND…]: a shell, or one command, inside the cluster that `make cluster` started: kubectl, helm, ctr.
set -euo pipefail
cd "$(dirname "$0")/.."
export LPS_CLUSTER_NAME=${LPS_CLUSTER_NAME:-demo}
run=$(. tests/cluster/env.sh && echo "$RUN")
if ! [ -s "$run/pid1" ] || ! kill -0 "$(cat "$run/pid1")" 2>/dev/null; then
  echo "cluster-shell: no cluster of the name $LPS_CLUSTER_NAME runs: make cluster" >&2
  exit 1
fi
[ $# -gt 0 ] || set -- env PS1='lps cluster \w \$ ' bash --norc
exec tests/cluster/kin "$@"
