# What the scripts here share. The cluster writes below $T only; the scripts lie in $R.
R=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
T=${LPS_CLUSTER_DIR:-$("$R/../../scripts/cache-dir.sh")/cluster}
BIN=$T/bin                           # every Go program
ROOTFS=$T/root                       # Debian packages, unpacked: runc, containerd, CNI plugins, nft
NAME=${LPS_CLUSTER_NAME:-test}       # clusters of different names run beside each other
RUN=$T/$NAME/run LOG=$T/$NAME/log PKI=$T/$NAME/pki
NODE=node1 NODE_IP=10.99.0.1
POD_CIDR=10.244.0.0/24 SVC_CIDR=10.96.0.0/16 SVC_IP=10.96.0.1
CGROOT=lps-cluster-$NAME             # our own cgroup folder, in every v1 hierarchy
LIBS=$ROOTFS/usr/lib/x86_64-linux-gnu:$ROOTFS/lib/x86_64-linux-gnu
CTD=$ROOTFS/usr/bin                  # containerd, its shim and ctr
