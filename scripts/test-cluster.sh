#!/usr/bin/env bash
# Runs the tests on a real one-node Kubernetes; it is built once, started for this run, and gone afterwards.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=$(scripts/cache-dir.sh)
venv="$cache/venv-cluster"
if [ ! -e "$venv/.complete" ]; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/cluster/requirements.txt
  touch "$venv/.complete"
fi
cargo build --locked -p lps-cli -p lps-engine -p lps-operator --bins
trap 'tests/cluster/down.sh > /dev/null' EXIT
LPS_TEST_BIN="$cache/target/debug" "$venv/bin/pytest" tests/cluster "$@"
