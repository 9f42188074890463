#!/usr/bin/env bash
# Writes charts/install.yaml (or $1): the chart with its defaults as one file, for those without Helm.
# Helm is the one on the path or the one that tests/cluster/prep.sh builds.
set -euo pipefail
cd "$(dirname "$0")/.."
helm="${LPS_CLUSTER_DIR:-$(scripts/cache-dir.sh)/cluster}/bin/helm"
[ -x "$helm" ] || helm=$(command -v helm) || {
  echo "render_install: no helm: install it, or let tests/cluster/prep.sh build it" >&2
  exit 1
}
out=${1:-charts/install.yaml}
new=$(mktemp "$out.XXXXXX")
trap 'rm -f "$new"' EXIT
{
  cat <<'YAML'
# Generated from charts/lps by `make generate`; a test fails when it is out of date.
#   kubectl apply --server-side -f install.yaml
# To remove it: first `kubectl delete lps --all -A`, which the operator still has to see, then `kubectl delete -f` this.
apiVersion: v1
kind: Namespace
metadata:
  name: lps-system
  labels:
    app.kubernetes.io/part-of: lps
    pod-security.kubernetes.io/enforce: restricted
YAML
  # What only Helm looks at is left out; nobody should take these objects for a release's.
  "$helm" template lps charts/lps --namespace lps-system --no-hooks |
    grep -vE '^ *(helm\.sh/chart|app\.kubernetes\.io/managed-by|helm\.sh/resource-policy): |^# Source: ' |
    sed -e '/^  annotations:$/{N;/\n  name: /s/^  annotations:\n//}' -e '/^$/d'
} > "$new"
chmod 644 "$new"
mv "$new" "$out"
