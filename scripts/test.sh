#!/usr/bin/env bash
# Runs every test: test.sh [all|local]. The end-to-end level drives the built programs with the official clients;
# the last level, left out with `local`, runs the release on a real Kubernetes.
#   test.sh draws N   the tests by random draws with fresh ones, N times as many; says the seed that repeats them
#   test.sh fuzz      the API under schemathesis only; LPS_FUZZ_SEED and LPS_FUZZ_TIME say which run and how long
#   test.sh long …    the long end-to-end tests instead, with released programs; what follows is pytest's
set -euo pipefail
cd "$(dirname "$0")/.."
cache=$(scripts/cache-dir.sh)
venv=$(scripts/venv.sh venv-tests tests/e2e/requirements.txt)
if [ "${1:-all}" = long ]; then
  scripts/build-release.sh -p lps-router
  LPS_TEST_BIN="$cache/target/release" "$venv/bin/pytest" tests/e2e -m long -s "${@:2}"
  exit
fi
fuzz() {
  local venv
  venv=$(scripts/venv.sh venv-fuzz tests/fuzz/requirements.txt)
  LPS_TEST_BIN="$cache/target/debug" "$venv/bin/pytest" tests/fuzz
}
if [ "${1:-all}" = fuzz ]; then
  cargo build --locked -p lps-cli -p lps-engine --bins
  fuzz
  exit
fi
if [ "${1:-all}" = draws ]; then
  export PROPTEST_CASES=$((256 * $2)) PROPTEST_RNG_SEED="${PROPTEST_RNG_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}"
  echo "draws: PROPTEST_RNG_SEED=$PROPTEST_RNG_SEED"
  exec cargo test --locked --workspace --no-fail-fast
fi
# The same draws each time: a change is refused for what it does, and not for what a draw finds beside it.
PROPTEST_RNG_SEED="${PROPTEST_RNG_SEED:-1}" cargo test --locked --workspace

# The end-to-end tests start these, built as the tests were.
cargo build --locked -p lps-cli -p lps-router -p lps-engine --bins
cargo build --locked -p lps-client --examples
cargo build --locked -p lps-router --example bench_router
LPS_TEST_BIN="$cache/target/debug" "$venv/bin/pytest" tests/e2e
langchain=$(scripts/venv.sh venv-langchain tests/langchain/requirements.txt)
LPS_TEST_BIN="$cache/target/debug" "$langchain/bin/pytest" tests/langchain
fuzz

[ "${1:-all}" = all ] || exit 0
if why=$(tests/cluster/can.sh); then
  scripts/test-cluster.sh
else
  printf '\n%s\n' "test: the cluster level was NOT RUN on this machine: $why" >&2
fi
