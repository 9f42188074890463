"""The release's end: what it used of its rights, and what it leaves. The last file of those that use it."""

import json

import pytest

from cluster import wait_for
from release import SYSTEM


def granted(release, account):
    """What its roles allow, as (group, resource, verb)."""
    all_over = [release.cluster.get("clusterrole", account)]
    own = json.loads(release.system("get", "role", f"{account}-own", "-o", "json").stdout)
    rules = [rule for role in [*all_over, own] for rule in role["rules"]]
    return {(group, resource, verb) for rule in rules for group in rule["apiGroups"]
            for resource in rule["resources"] for verb in rule["verbs"]}


def asked(release, account):
    """What it asked the API server for until now, by the server's own book, and what it was refused."""
    used, refused = set(), set()
    # One that is refused while the API server starts is granted a second later.
    for line in release.cluster.file("log/audit.log").read_text().splitlines():
        entry = json.loads(line)
        target = entry.get("objectRef", {})
        if entry["user"]["username"] != f"system:serviceaccount:{SYSTEM}:{account}" or "resource" not in target:
            continue
        resource = "/".join(filter(None, [target["resource"], target.get("subresource")]))
        right = (target.get("apiGroup", ""), resource, entry["verb"])
        (refused if entry["responseStatus"]["code"] == 403 else used).add(right)
    return used, refused - used


# Rights that no request of these tests shows.
UNSEEN = {
    # Asked for by an admission plugin that not every cluster has: OwnerReferencesPermissionEnforcement.
    ("llmprogram.dev", "llmprogramservings/finalizers", "update"),
    # A warning that comes again within minutes is counted in its event.
    ("events.k8s.io", "events", "patch"),
    # Asked for beside `patch` where a server-side apply makes what is not there.
    ("", "serviceaccounts", "create"), ("", "services", "create"), ("networking.k8s.io", "networkpolicies", "create"),
    ("policy", "poddisruptionbudgets", "create"),
}


@pytest.mark.parametrize("account", ["lps-operator", "lps-router"])
def test_every_right_was_used_and_none_was_missing(release, account):
    rights, (used, refused) = granted(release, account), asked(release, account)
    print(f"\n{account}: {len(rights)} rights, {len(used)} used")
    for right in sorted(rights | used):
        print(("  " if right in rights and right in used else "! "), *right)
    assert not refused
    assert rights - used <= UNSEEN


def test_resources_first_then_the_release_and_only_the_definition_is_left(release):
    # The node's own programs may still wait to look again, after a test in which the API server was away.
    release.cluster.kubectl("delete", "lps", "--all", "-A", "--timeout=150s")
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
