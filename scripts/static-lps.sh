#!/usr/bin/env bash
# static-lps.sh [release|dev]: builds the user's tool `lps` as a static program, and says where it is. It builds in a
# folder of its own, so that other builds stay warm.
#
# glibc is linked in, and with it its resolver: /etc/hosts and DNS were seen to be asked in a root without any library.
# Other sources of names in /etc/nsswitch.conf (mdns, sss, systemd) are modules that glibc loads from the machine, and
# supports for its own version only; they are not tested.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${1:-release}
triple=x86_64-unknown-linux-gnu
target=$(scripts/cache-dir.sh)/target-dist
flags="-C target-feature=+crt-static"
folder=debug
if [ "$profile" = release ]; then
  folder=release
  # Paths of this machine are not in what is given away.
  flags+=" --remap-path-prefix=$PWD=/lps --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
  export CARGO_PROFILE_RELEASE_STRIP=debuginfo
fi
# With --target these flags are not for build scripts and macros.
RUSTFLAGS=$flags cargo build --profile "$profile" --locked --target "$triple" --target-dir "$target" -p lps-cli --bin lps
program=$target/$triple/$folder/lps
if readelf --program-headers --wide "$program" | grep -q INTERP; then
  echo "static-lps.sh: $program needs a dynamic linker" >&2
  exit 1
fi
echo "$program"
