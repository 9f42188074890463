#!/usr/bin/env bash
# PID 1 of the cluster's namespaces. Started by up.sh only.
set -euo pipefail
. "$(dirname "$0")/env.sh"
[ $$ = 1 ] || { echo "not PID 1 of a new pid namespace: run up.sh"; exit 1; }
T0=$(date +%s.%N); : >"$LOG/timing"
mark() { awk -v a="$T0" -v b="$(date +%s.%N)" -v m="$1" 'BEGIN{printf "%5.1fs %s\n", b-a, m}' >>"$LOG/timing"; }
# --- mounts (private to this mount namespace)
mount -t proc proc /proc
mount -t sysfs sysfs /sys                       # sysfs of the new network namespace
mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup # fresh v1 mounts, rooted at our cgroup namespace
for c in cpu cpuacct cpuset memory devices freezer blkio pids; do
  mkdir -p /sys/fs/cgroup/$c; mount -t cgroup -o $c cgroup /sys/fs/cgroup/$c
  mkdir -p /sys/fs/cgroup/$c/$CGROOT
done
mkdir -p /sys/fs/cgroup/systemd; mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd; mkdir -p /sys/fs/cgroup/systemd/$CGROOT
for f in cpuset.cpus cpuset.mems; do cat /sys/fs/cgroup/cpuset/$f >/sys/fs/cgroup/cpuset/$CGROOT/$f; done
mount -t tmpfs -o mode=755 tmpfs /run
rm -rf "$RUN/state"; mkdir -p "$RUN"/state/{etcd,containerd,kubelet,pods-log,containers-log,cni,cnilib,empty}
mkdir -p "$RUN"/state/{varup,varwork}
mount -t overlay overlay -o lowerdir=/var,upperdir="$RUN/state/varup",workdir="$RUN/state/varwork" /var  # nothing new on the real /var
mkdir -p /var/lib/kubelet /var/log/pods /var/log/containers /var/lib/cni
mount --bind "$RUN/state/kubelet" /var/lib/kubelet
mount --bind "$RUN/state/pods-log" /var/log/pods
mount --bind "$RUN/state/containers-log" /var/log/containers
mount --bind "$RUN/state/cnilib" /var/lib/cni
# kubelet wants to set six machine-wide sysctls; show it the values it wants instead, so it writes nothing
fake() { echo "$2" >"$RUN/state/sysctl.${1//\//.}"; mount --bind "$RUN/state/sysctl.${1//\//.}" "/proc/sys/$1"; }
fake vm/overcommit_memory 1; fake vm/panic_on_oom 0; fake kernel/panic 10; fake kernel/panic_on_oops 1
fake kernel/keys/root_maxkeys 1000000; fake kernel/keys/root_maxbytes 25000000
mount --make-rshared /
# --- network (private): lo, a veth pair that carries the node address, no route to anywhere else
hostname $NODE
ip link set lo up
ip link add node0 type veth peer name node0p; ip link set node0 up; ip link set node0p up
ip addr add $NODE_IP/24 dev node0
ip route add $SVC_CIDR dev node0                # so that processes on the node can reach ClusterIPs
echo 1 >/proc/sys/net/ipv4/ip_forward
printf 'nameserver %s\nsearch default.svc.cluster.local svc.cluster.local cluster.local\n' $NODE_IP >"$RUN/state/resolv.conf"
mark "namespaces ready"
start() { local n=$1; shift; "$@" >"$LOG/$n.log" 2>&1 </dev/null & echo $! >"$RUN/$n.pid"; }
wait_for() { local n=$1; shift; for _ in $(seq 600); do "$@" >/dev/null 2>&1 && { mark "$n"; return; }; sleep 0.1; done; mark "$n TIMED OUT"; return 1; }
export KUBECONFIG=$PKI/admin.kubeconfig
# --- control plane
# What our release's accounts ask for, so that a test can hold it against what they may
cat >"$RUN/state/audit.yaml" <<C
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata, userGroups: ["system:serviceaccounts:lps-system"]}
- {level: None}
C
: >"$LOG/audit.log"
start etcd "$BIN/server" --data-dir "$RUN/state/etcd" --unsafe-no-fsync \
  --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
  --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 --initial-cluster default=http://127.0.0.1:2380
start apiserver "$BIN/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 --secure-port=6443 --bind-address=0.0.0.0 \
  --advertise-address=$NODE_IP --service-cluster-ip-range=$SVC_CIDR --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
  --client-ca-file="$PKI/ca.crt" --tls-cert-file="$PKI/apiserver.crt" --tls-private-key-file="$PKI/apiserver.key" \
  --kubelet-client-certificate="$PKI/apiserver-kubelet-client.crt" --kubelet-client-key="$PKI/apiserver-kubelet-client.key" \
  --kubelet-certificate-authority="$PKI/ca.crt" --kubelet-preferred-address-types=InternalIP \
  --service-account-issuer=https://kubernetes.default.svc.cluster.local --service-account-key-file="$PKI/sa.pub" --service-account-signing-key-file="$PKI/sa.key" \
  --requestheader-client-ca-file="$PKI/ca.crt" --requestheader-allowed-names=front-proxy-client --requestheader-username-headers=X-Remote-User \
  --requestheader-group-headers=X-Remote-Group --requestheader-extra-headers-prefix=X-Remote-Extra- \
  --proxy-client-cert-file="$PKI/front-proxy-client.crt" --proxy-client-key-file="$PKI/front-proxy-client.key" --allow-privileged=true --profiling=false \
  --audit-policy-file="$RUN/state/audit.yaml" --audit-log-path="$LOG/audit.log"
# --- containerd + CNI (while the control plane starts)
export LD_LIBRARY_PATH=$LIBS
cat >"$RUN/state/containerd.toml" <<C
version = 2
root = "$RUN/state/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true      # no CAP_SYS_RESOURCE here: scores can't go below the parent's
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$ROOTFS/usr/lib/cni"
    conf_dir = "$RUN/state/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "$ROOTFS/usr/sbin/runc"
      SystemdCgroup = false
C
cat >"$RUN/state/cni/10-ptp.conflist" <<C
{"cniVersion":"0.4.0","name":"pods","plugins":[
 {"type":"ptp","mtu":1500,"ipMasq":false,"ipam":{"type":"host-local","ranges":[[{"subnet":"$POD_CIDR"}]],"routes":[{"dst":"0.0.0.0/0"}]}}]}
C
start containerd env PATH="$CTD:$ROOTFS/usr/bin:$ROOTFS/usr/sbin:$PATH" "$CTD/containerd" -c "$RUN/state/containerd.toml"
wait_for "containerd" "$CTD/ctr" version
for i in "$T"/img/*.tar; do "$CTD/ctr" -n k8s.io images import "$i" >>"$LOG/import.log" 2>&1; done
mark "images imported"
# --- kubelet
cat >"$RUN/state/kubelet.yaml" <<C
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /$CGROOT
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: "$PKI/ca.crt"}}
authorization: {mode: Webhook}
tlsCertFile: $PKI/kubelet.crt
tlsPrivateKeyFile: $PKI/kubelet.key
address: 0.0.0.0
clusterDNS: ["$NODE_IP"]
clusterDomain: cluster.local
resolvConf: $RUN/state/resolv.conf
oomScoreAdj: 0
maxOpenFiles: 20000
failSwapOn: false
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: "100Mi", nodefs.available: "1%", imagefs.available: "1%", nodefs.inodesFree: "1%", imagefs.inodesFree: "1%"}
volumePluginDir: $RUN/state/empty
runtimeRequestTimeout: 30s
shutdownGracePeriod: 0s
C
wait_for "apiserver /readyz" kubectl get --raw /readyz
# only now: before the RBAC bootstrap both would be refused (and controller-manager exits)
start controller-manager "$BIN/kube-controller-manager" --kubeconfig="$PKI/controller-manager.kubeconfig" --leader-elect=false \
  --authentication-kubeconfig="$PKI/controller-manager.kubeconfig" --authorization-kubeconfig="$PKI/controller-manager.kubeconfig" \
  --use-service-account-credentials=true --service-account-private-key-file="$PKI/sa.key" --root-ca-file="$PKI/ca.crt" \
  --cluster-signing-cert-file="$PKI/ca.crt" --cluster-signing-key-file="$PKI/ca.key" --flex-volume-plugin-dir="$RUN/state/empty" --allocate-node-cidrs=false --profiling=false
start scheduler "$BIN/kube-scheduler" --kubeconfig="$PKI/scheduler.kubeconfig" --leader-elect=false \
  --authentication-kubeconfig="$PKI/scheduler.kubeconfig" --authorization-kubeconfig="$PKI/scheduler.kubeconfig" --profiling=false
start kubelet env PATH="$ROOTFS/usr/bin:$ROOTFS/usr/sbin:$PATH" "$BIN/kubelet" --config="$RUN/state/kubelet.yaml" --kubeconfig="$PKI/kubelet.kubeconfig" \
  --hostname-override=$NODE --node-ip=$NODE_IP --root-dir=/var/lib/kubelet
# --- kube-proxy (nftables)
cat >"$RUN/state/kube-proxy.yaml" <<C
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: ${PROXY_MODE:-nftables}
clientConnection: {kubeconfig: "$PKI/kube-proxy.kubeconfig"}
clusterCIDR: $POD_CIDR
hostnameOverride: $NODE
oomScoreAdj: 0
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
C
start kube-proxy env PATH="$ROOTFS/usr/sbin:$PATH" "$BIN/kube-proxy" --config="$RUN/state/kube-proxy.yaml"
# --- DNS (optional): CoreDNS as a plain process on the node address
if [ -x "$BIN/coredns" ]; then
  cat >"$RUN/state/Corefile" <<C
.:53 {
  bind $NODE_IP
  errors
  ready 127.0.0.1:8181
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $PKI/coredns.kubeconfig
    pods insecure
    ttl 5
  }
}
C
  kubectl apply -f "$R/coredns-rbac.yaml" >/dev/null
  start coredns "$BIN/coredns" -conf "$RUN/state/Corefile"
fi
wait_for "node Ready" sh -c "kubectl wait --for=condition=Ready node/$NODE --timeout=1s"
wait_for "default ServiceAccount" kubectl -n default get sa default
touch "$RUN/ready"
# Stay as PID 1 and reap what is re-parented here (containerd shims)
trap 'exit 0' TERM INT
while :; do wait -n || true; sleep 0.2; done
