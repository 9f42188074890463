#!/usr/bin/env bash
# Whether the cluster can be built and started on this machine: exit 0, or a line that says what is missing and exit 1.
set -euo pipefail
no() { echo "$1"; exit 1; }
[ "$(id -u)" = 0 ] || no "it needs root, for namespaces and mounts of its own"
for tool in go gcc python3 curl openssl unshare nsenter ip apt-get dpkg pgrep; do
  command -v "$tool" > /dev/null || no "it needs $tool"
done
inside='mount -t tmpfs tmpfs /sys/fs/cgroup && mkdir /sys/fs/cgroup/cpu && mount -t cgroup -o cpu cgroup /sys/fs/cgroup/cpu &&
  ip link add node0 type veth peer name node0p'
unshare --mount --net --pid --ipc --uts --cgroup --propagation private --fork sh -c "$inside" 2> /dev/null ||
  no "it needs to make namespaces, cgroup v1 mounts and veth interfaces, which is not allowed here"
