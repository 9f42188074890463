#!/usr/bin/env bash
# Runs every test. The end-to-end level drives the built programs with the official OpenAI client.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=$(scripts/cache-dir.sh)
venv="$cache/venv-tests"
wanted=$(sha256sum tests/e2e/requirements.txt | cut -d' ' -f1)
if [ "$(cat "$venv/.complete" 2>/dev/null)" != "$wanted" ]; then
  echo "test: the OpenAI client from PyPI into $venv"
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/e2e/requirements.txt
  echo "$wanted" > "$venv/.complete"
fi
cargo test --locked --workspace "$@"

# The end-to-end tests start these two, built as the tests were.
cargo build --locked -p lps-cli -p lps-engine --bins
LPS_TEST_BIN="$cache/target/debug" "$venv/bin/pytest" tests/e2e
