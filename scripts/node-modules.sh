#!/usr/bin/env bash
# node-modules.sh NAME FOLDER: makes the cache's folder NAME have what FOLDER's package-lock.json lists; prints the path
# of its node_modules. It needs node and npm in PATH: the tests' environment has them.
set -euo pipefail
cd "$(dirname "$0")/.."
folder="$(scripts/cache-dir.sh)/$1"
wanted=$(sha256sum "$2/package-lock.json" | cut -d' ' -f1)
if [ "$(cat "$folder/.complete" 2>/dev/null)" != "$wanted" ]; then
  echo "node packages of $2/package-lock.json into $folder" >&2
  rm -rf "$folder"
  mkdir -p "$folder"
  cp "$2/package.json" "$2/package-lock.json" "$folder"
  npm ci --prefix "$folder" --no-audit --no-fund --ignore-scripts --loglevel=error >&2
  echo "$wanted" > "$folder/.complete"
fi
echo "$folder/node_modules"
