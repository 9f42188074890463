#!/usr/bin/env bash
# What does not need running: formatting, lints, the CUDA half, licences, bans and sources.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=$(scripts/cache-dir.sh)
deny_version=0.20.2

cargo fmt --all --check
cargo clippy --locked --workspace --all-targets -- -D warnings
cargo clippy --locked -p lps-engine --no-default-features --all-targets -- -D warnings

# Compiles for CUDA and links against libtorch_cuda; what the kernels compute is tested on a processor.
scripts/cuda.sh

if ! "$cache/bin/cargo-deny" --version 2>/dev/null | grep -qF " $deny_version"; then
  echo "check: cargo-deny $deny_version from crates.io into $cache (some minutes, once)"
  CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
    cargo install --quiet --locked --root "$cache" --target-dir "$cache/target-tools" "cargo-deny@$deny_version"
fi
"$cache/bin/cargo-deny" --locked check --hide-inclusion-graph licenses bans sources
echo "check: formatting, lints, CUDA, licences, bans and sources are fine"
