#!/usr/bin/env bash
# Runs the tests on a real one-node Kubernetes; it is built once, started for this run, and gone afterwards.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=$(scripts/cache-dir.sh)
venv=$(scripts/venv.sh venv-cluster tests/cluster/requirements.txt)
cargo build --locked -p lps-cli -p lps-engine -p lps-operator -p lps-router --bins
if [ "${1:-}" = --measure ]; then
  LPS_TEST_BIN="$cache/target/debug" "$venv/bin/python" tests/cluster/measure.py "${@:2}"
  exit
fi
trap 'tests/cluster/down.sh > /dev/null' EXIT
[ $# -gt 0 ] || set -- tests/cluster
LPS_TEST_BIN="$cache/target/debug" "$venv/bin/pytest" "$@"
