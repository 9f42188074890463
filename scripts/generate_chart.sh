#!/usr/bin/env bash
# Rewrites what is generated under charts/; tests/cluster/test_chart.py compares.
set -euo pipefail
cd "$(dirname "$0")/.."
cp crds/llmprogramservings.yaml charts/lps/files/crd.yaml
scripts/chart_readme.py
scripts/dashboards.py
scripts/render_install.sh
