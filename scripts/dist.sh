#!/usr/bin/env bash
# dist.sh: the user's tool `lps` as a static program in an archive for releases, in the cache's folder `dist`. The same
# sources and compiler give the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(scripts/cache-dir.sh)/dist
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml)
name=lps-$version-linux-amd64

program=$(scripts/static-lps.sh)
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
