#!/usr/bin/env bash
# Builds the two programs that `lps up` needs, and what else is named (`-p lps-operator`). Shows cargo's own progress
# where there is something to build.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked -p lps-cli -p lps-engine "$@" --bins
