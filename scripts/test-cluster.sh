#!/usr/bin/env bash
# Runs the tests on a real one-node Kubernetes; it is built once, started for this run, and gone afterwards.
#   test-cluster.sh                all but the long ones, those of different clusters at the same time
#   test-cluster.sh -m long -s     the long ones; any other arguments are pytest's
#   test-cluster.sh --measure …    times, memory and writes instead: see measure.py
set -euo pipefail
cd "$(dirname "$0")/.."
tests/cluster/can.sh || { echo "test-cluster: not on this machine" >&2; exit 1; }
cache=$(scripts/cache-dir.sh)
venv=$(scripts/venv.sh venv-cluster tests/cluster/requirements.txt)
cargo build --locked -p lps-cli -p lps-engine -p lps-operator -p lps-router --bins
scripts/static-lps.sh dev > /dev/null # for the image tools
tests/cluster/prep.sh
export LPS_TEST_BIN="$cache/target/debug"
if [ "${1:-}" = --measure ]; then
  "$venv/bin/python" tests/cluster/measure.py "${@:2}"
  exit
fi
if [ $# -gt 0 ]; then
  case "$*" in *tests/cluster*) ;; *) set -- tests/cluster "$@" ;; esac
  exec "$venv/bin/pytest" "$@"
fi
# Much of the time is waiting. What the second one says comes when the first one has ended.
log=$(mktemp)
"$venv/bin/pytest" tests/cluster -m "release and not long" --durations 5 > "$log" 2>&1 &
second=$!
trap 'kill -INT $second 2> /dev/null || true; wait $second 2> /dev/null || true; rm -f "$log"' EXIT
first=0
"$venv/bin/pytest" tests/cluster -m "not release and not long" --durations 5 || first=$?
wait $second && status=0 || status=$?
cat "$log"
exit $((first > status ? first : status))
