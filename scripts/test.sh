#!/usr/bin/env bash
# Runs every test. The end-to-end level drives the built programs with the official OpenAI client.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=$(scripts/cache-dir.sh)
venv=$(scripts/venv.sh venv-tests tests/e2e/requirements.txt)
cargo test --locked --workspace "$@"

# The end-to-end tests start these two, built as the tests were.
cargo build --locked -p lps-cli -p lps-engine --bins
LPS_TEST_BIN="$cache/target/debug" "$venv/bin/pytest" tests/e2e
