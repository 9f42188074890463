#!/usr/bin/env bash
# Decode and prefill of the engine beside transformers' eager CPU path: same weights, same token ids, same run.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=$(scripts/cache-dir.sh)
venv=$(scripts/venv.sh venv-parity tests/goldens/requirements.txt)
model="$cache/models/${SIZE:=qwen3-0.6b}"

cargo build --release --locked -p lps-cli --bins
cargo build --release --locked -p lps-engine --example bench_model
[ -d "$model" ] || "$cache/target/release/lps" model make --size "$SIZE" "$model"
exec "$venv/bin/python" scripts/bench_transformers.py "$model" --engine "$cache/target/release/examples/bench_model"
