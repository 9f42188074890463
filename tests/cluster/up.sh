#!/usr/bin/env bash
# Starts a one-node Kubernetes inside its own mount, network, pid, ipc, uts and cgroup
# namespaces: bridges, nft rules, sysctls, mounts and processes all vanish with its PID 1.
set -euo pipefail
. "$(dirname "$0")/env.sh"
mkdir -p "$RUN" "$LOG"
[ -s "$RUN/pid1" ] && kill -0 "$(cat "$RUN/pid1")" 2>/dev/null && { echo "already up"; exit 0; }
rm -f "$RUN"/ready "$RUN"/*.pid
t0=$(date +%s.%N)
[ -s "$PKI/coredns.kubeconfig" ] || bash "$R/pki.sh" "$PKI" $NODE $NODE_IP $SVC_IP
setsid unshare --mount --net --pid --ipc --uts --cgroup --propagation private --fork --kill-child \
   bash "$R/inner.sh" >"$LOG/inner.log" 2>&1 </dev/null &
echo $! >"$RUN/unshare.pid"
for _ in $(seq 3000); do [ -e "$RUN/ready" ] && break; kill -0 "$(cat "$RUN/unshare.pid")" || { tail "$LOG/inner.log"; exit 1; }; sleep 0.1; done
[ -e "$RUN/ready" ] || { echo "cluster: not ready after 5 minutes; see $LOG"; cat "$LOG/timing"; exit 1; }
# PID 1 of the new namespaces, as seen from here: the only child of unshare
cat "/proc/$(cat "$RUN/unshare.pid")/task/$(cat "$RUN/unshare.pid")/children" | tr -d ' ' >"$RUN/pid1"
awk -v a="$t0" -v b="$(date +%s.%N)" 'BEGIN { printf "cluster: up after %.1f s\n", b - a }'
