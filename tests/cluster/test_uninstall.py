"""The release's end; the last file of those that use it."""

from cluster import wait_for
from release import SYSTEM


def test_resources_first_then_the_release_and_only_the_definition_is_left(release):
    release.cluster.kubectl("delete", "lps", "--all", "-A", "--timeout=60s")
    engines = ("get", "pods", "-A", "-l", "app.kubernetes.io/name=lps-engine", "-o", "name")
    wait_for("no engine", lambda: not release.cluster.kubectl(*engines).stdout)
    release.cluster.inside("helm", "uninstall", "lps", "-n", SYSTEM, "--wait", "--timeout", "2m")
    kinds = "deployments,pods,services,serviceaccounts,jobs,roles,rolebindings,netpol,pdb,leases"
    # A router ends when its last streams have.
    wait_for("no router", lambda: not release.system("get", "pods", "-o", "name").stdout)
    left = release.cluster.kubectl("get", kinds, "-A", "-o", "name").stdout.split()
    ours = [name for name in left if "lps" in name or "slow" in name]
    roles = release.cluster.kubectl("get", "clusterroles,clusterrolebindings,crds", "-o", "name").stdout.split()
    ours += [name for name in roles if "lps" in name or "llmprogram" in name]
    print(f"\nleft: {ours}")
    assert ours == ["customresourcedefinition.apiextensions.k8s.io/llmprogramservings.llmprogram.dev"]
