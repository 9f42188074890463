#!/usr/bin/env bash
# images.sh [NAME...]: images of operator, router, engine-cpu, tools (all without a NAME) and engine-cuda, as OCI archives in
# the cache's folder `images`. LPS_IMAGES_BIN names a folder with built programs; otherwise release ones are built.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=$(scripts/cache-dir.sh)
if [ -z "${LPS_IMAGES_BIN:-}" ]; then
  scripts/build-release.sh -p lps-operator -p lps-router
fi
revision=$(git rev-parse HEAD 2>/dev/null || true)
[ -z "$revision" ] || git diff --quiet HEAD || revision+=-changed
[ $# -gt 0 ] || set -- operator router engine-cpu tools
images/oci.py --out "${LPS_IMAGES_OUT:-$cache/images}" --bin "${LPS_IMAGES_BIN:-$cache/target/release}" \
  --libtorch "${LPS_LIBTORCH:-$(sed -n 's|^LIBTORCH = "\(.*\)/torch"$|\1|p' .cargo/config.toml)}" \
  --version "$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml)" --revision "$revision" "$@"
