#!/usr/bin/env bash
# Makes a fresh machine able to build: says what is missing and how to get it, installs libtorch from PyPI into the
# cache, and tells cargo where it is. Running it again costs a moment.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=$(scripts/cache-dir.sh)
torch_version=2.11.0
libtorch="$cache/libtorch-$torch_version"

missing=0
need() { # COMMAND HOW-TO-GET-IT
  if ! eval "$1" >/dev/null 2>&1; then
    echo "setup: missing: $2" >&2
    missing=1
  fi
}
need "command -v cargo" "Rust; install it with rustup (rustup.rs), it picks the version of rust-toolchain.toml"
need "command -v c++" "a C++ compiler; Debian, Ubuntu: apt-get install g++   Fedora: dnf install gcc-c++"
need "command -v cc" "a C compiler; Debian, Ubuntu: apt-get install gcc   Fedora: dnf install gcc"
need "python3 -c 'import venv, ensurepip'" "Python 3 with venv; Debian, Ubuntu: apt-get install python3 python3-venv"
[ "$missing" -eq 0 ] || exit 1

mkdir -p "$cache"
if [ ! -f "$libtorch/.complete" ]; then
  echo "setup: libtorch $torch_version from PyPI into $libtorch (about 1.3 GB on disk, 40 s)"
  tools="$cache/venv-setup"
  [ -x "$tools/bin/pip" ] || python3 -m venv "$tools"
  rm -rf "$libtorch.partial"
  # libtorch_cpu links the two small CUDA libraries even where there is no GPU; the other dependencies are not needed.
  "$tools/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-compile --progress-bar on \
    --target "$libtorch.partial" \
    "torch==$torch_version" "nvidia-cuda-runtime==13.0.*" "nvidia-cuda-cupti==13.0.*"
  touch "$libtorch.partial/.complete"
  rm -rf "$libtorch"
  mv "$libtorch.partial" "$libtorch"
fi

# cargo reads this file wherever it is called from inside the clone, so editors and plain `cargo test` work too.
config=$(cat <<TOML
# Written by scripts/setup.sh.
[build]
target-dir = "$cache/target"

[env]
LIBTORCH = "$libtorch/torch"
TOML
)
mkdir -p .cargo
if [ ! -f .cargo/config.toml ] || [ "$(cat .cargo/config.toml)" != "$config" ]; then
  printf '%s\n' "$config" > .cargo/config.toml
fi
