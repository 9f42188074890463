#!/usr/bin/env bash
# Decode and prefill of the engine beside transformers' eager CPU path: same weights, same token ids, same run.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=$(scripts/cache-dir.sh)
venv="$cache/venv-parity"
model="$cache/models/${SIZE:=qwen3-0.6b}"

wanted=$(sha256sum tests/goldens/requirements.txt | cut -d' ' -f1)
if [ "$(cat "$venv/.complete" 2>/dev/null)" != "$wanted" ]; then
  echo "bench: transformers from PyPI into $venv (some GB, once)"
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/goldens/requirements.txt
  echo "$wanted" > "$venv/.complete"
fi
cargo build --release --locked -p lps-cli --bins
cargo build --release --locked -p lps-engine --example bench_model
[ -d "$model" ] || "$cache/target/release/lps" model make --size "$SIZE" "$model"
exec "$venv/bin/python" scripts/bench_transformers.py "$model" --engine "$cache/target/release/examples/bench_model"
