#!/usr/bin/env bash
# browser.sh: makes the cache have a headless Chromium with the libraries and fonts that it needs, from npm, and prints
# its folder. It needs node and npm in PATH: the tests' environment has them.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$(uname -m)" != x86_64 ]; then
  echo "browser.sh: npm has a headless Chromium for x86_64 only; run the tests of the page there" >&2
  exit 1
fi
modules=$(scripts/node-modules.sh browser tests/e2e/browser)
folder="$(dirname "$modules")/unpacked"
if [ ! -f "$folder/.complete" ]; then
  rm -rf "$folder"
  node tests/e2e/browser/unpack.mjs "$modules" "$folder"
  touch "$folder/.complete"
fi
echo "$folder"
