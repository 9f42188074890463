#!/usr/bin/env bash
# images.sh [NAME...]: images of operator, router, engine-cpu, tools (all without a NAME) and engine-cuda, as OCI archives in
# the cache's folder `images`. LPS_IMAGES_BIN names a folder with built programs, for tests; otherwise release ones are
# built. The image tools has a static `lps`, which is built either way: it runs inside images of users.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=$(scripts/cache-dir.sh)
profile=dev
if [ -z "${LPS_IMAGES_BIN:-}" ]; then
  profile=release
  scripts/build-release.sh -p lps-operator -p lps-router
fi
revision=$(git rev-parse HEAD 2>/dev/null || true)
[ -z "$revision" ] || git diff --quiet HEAD || revision+=-changed
[ $# -gt 0 ] || set -- operator router engine-cpu tools
# A folder of the caller's has what goes beside the programs too.
case " $* " in *" engine-cuda "*) [ -n "${LPS_IMAGES_BIN:-}" ] || scripts/cuda.sh ;; esac
static=
case " $* " in *" tools "*) static=$(scripts/static-lps.sh $profile) ;; esac
images/oci.py --out "${LPS_IMAGES_OUT:-$cache/images}" --bin "${LPS_IMAGES_BIN:-$cache/target/release}" \
  --libtorch "${LPS_LIBTORCH:-$(sed -n 's|^LIBTORCH = "\(.*\)/torch"$|\1|p' .cargo/config.toml)}" \
  ${static:+--tools "$static"} --version "$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml)" --revision "$revision" "$@"
