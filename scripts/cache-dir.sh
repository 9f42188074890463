#!/usr/bin/env bash
# Prints where builds and downloads live: outside the clone, so that a fresh clone is fast.
echo "${LPS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lps}"
