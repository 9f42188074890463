#!/usr/bin/env bash
# Fetches the few Debian packages (unpacked, not installed) and builds every Go program from the module proxy.
# Needs: go, gcc (libc6-dev for the static pause), python3, curl, openssl, util-linux, iproute2. Root.
set -euo pipefail
. "$(dirname "$0")/env.sh"
wanted=$(cat "$R"/prep.sh "$R"/pause.c "$R"/mkimage.py "$R"/gomod/*/go.* "$R"/gomod/coredns/main.go | sha256sum | cut -d' ' -f1)
[ "$(cat "$T/.complete" 2>/dev/null)" != "$wanted" ] || exit 0
echo "cluster: building Kubernetes from source into $T (about 8 minutes, once)"
mkdir -p "$T"/{debs,root,bin,build,img} ; chmod 777 "$T/debs"
if [ ! -x "$ROOTFS/usr/sbin/runc" ]; then
  apt-get update -qq; (cd "$T/debs" && apt-get download -qq runc containerd containernetworking-plugins \
     nftables libnftables1 libnftnl11 libjansson4 libxtables12 libedit2 libbsd0)
  for f in "$T"/debs/*.deb; do dpkg -x "$f" "$ROOTFS"; done
fi
export GOBIN=$BIN GOFLAGS=-buildvcs=false CGO_ENABLED=0
V=v1.36.3
LD="-s -w -X k8s.io/component-base/version.gitVersion=$V -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36 -X k8s.io/component-base/version.gitTreeState=clean -X k8s.io/client-go/pkg/version.gitVersion=$V -X helm.sh/helm/v4/internal/version.version=v4.2.4"
mkdir -p "$T/build/k8s" "$T/build/coredns"
cp "$R"/gomod/k8s/go.* "$T/build/k8s/"; cp "$R"/gomod/coredns/* "$T/build/coredns/"
(cd "$T/build/k8s" && go install -trimpath -tags providerless -ldflags "$LD" tool)   # etcd server, 3 control plane, kubelet, kube-proxy, kubectl, helm
(cd "$T/build/coredns" && go build -trimpath -ldflags "-s -w" -o "$BIN/coredns" .)
# What every pod sandbox runs.
mkdir -p "$T/build/pause"
gcc -Os -static -s -o "$T/build/pause/pause" "$R/pause.c"
"$R/mkimage.py" "$T/img/pause.tar" localhost/pause:1 "$T/build/pause" /pause
echo "$wanted" > "$T/.complete"
