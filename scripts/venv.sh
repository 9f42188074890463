#!/usr/bin/env bash
# venv.sh NAME REQUIREMENTS: makes the cache's virtual environment NAME have what the file lists; prints its path.
set -euo pipefail
cd "$(dirname "$0")/.."
venv="$(scripts/cache-dir.sh)/$1"
wanted=$(sha256sum "$2" | cut -d' ' -f1)
if [ "$(cat "$venv/.complete" 2>/dev/null)" != "$wanted" ]; then
  echo "python packages of $2 from PyPI into $venv" >&2
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$2" >&2
  echo "$wanted" > "$venv/.complete"
fi
echo "$venv"
