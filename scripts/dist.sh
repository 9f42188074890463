#!/usr/bin/env bash
# dist.sh: the user's tool `lps` as a static program in an archive for releases, in the cache's folder `dist`. The same
# sources and compiler give the same bytes. It builds in a folder of its own, so that other builds stay warm.
#
# glibc is linked in, and with it its resolver: /etc/hosts and DNS were seen to be asked in a root without any library.
# Other sources of names in /etc/nsswitch.conf (mdns, sss, systemd) are modules that glibc loads from the machine, and
# supports for its own version only; they are not tested.
set -euo pipefail
cd "$(dirname "$0")/.."
triple=x86_64-unknown-linux-gnu
cache=$(scripts/cache-dir.sh)
out=$cache/dist
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml)
name=lps-$version-linux-amd64

# With --target these flags are not for build scripts and macros. Paths of this machine are not in the program.
RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=$PWD=/lps --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo" \
  CARGO_PROFILE_RELEASE_STRIP=debuginfo \
  cargo build --release --locked --target "$triple" --target-dir "$cache/target-dist" -p lps-cli --bin lps
program=$cache/target-dist/$triple/release/lps

if readelf --program-headers --wide "$program" | grep -q INTERP; then
  echo "dist.sh: $program needs a dynamic linker" >&2
  exit 1
fi
[ "$("$program" --version)" = "lps $version" ]

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/$name/completions" "$out"
install -m 755 "$program" "$work/$name/lps"
ln -s lps "$work/$name/kubectl-lps"
install -m 644 LICENSE README.md "$work/$name/"
"$program" completion bash > "$work/$name/completions/lps.bash"
"$program" completion zsh > "$work/$name/completions/_lps"
"$program" completion fish > "$work/$name/completions/lps.fish"
tar --create --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --format=ustar \
  --directory "$work" "$name" | gzip --no-name -9 > "$out/$name.tar.gz"
(cd "$out" && sha256sum "$name.tar.gz" > SHA256SUMS && cat SHA256SUMS)
echo "$out/$name.tar.gz"
